"""The API's view of what runs: the lines that containers print, and what they use."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import Field
from starlette.responses import Response

from bot.web.api.fields import Number, Query, Word
from bot.web.api.models import Shown
from bot.web.api.operation import Call, Operation
from bot.web.pages.runtime import Runtime
from bot.web.rules import PRINTED, Of, reads

_AT = "/environments/{id:int}"
_MEDIA = ("application/jsonl", "text/event-stream")

Since = Annotated[Word | None, Field(description="10m, 2h, 3d, or a time such as 2026-11-28T09:30:00Z")]


class PrintedQuery(Query):
    """Which lines."""

    process: Annotated[Word | None, Field(description="of this process, or service, alone")] = None
    search: Annotated[Word | None, Field(description="with this text, whatever its case")] = None
    since: Since = None
    start: Annotated[Word | None, Field(alias="from", description="after the line at this `place`")] = None
    tail: Annotated[Number | None, Field(description="only so many last lines")] = None
    follow: Annotated[Word | None, Field(description="as events, as `Accept: text/event-stream` does")] = None


class SinceQuery(Query):
    """How long back."""

    since: Since = None


class SampleShown(Shown):
    """A span of time; rates are by second, CPU in processors."""

    at: datetime
    span: Annotated[int, Field(description="seconds")]
    cpu: float
    memory: Annotated[int, Field(description="bytes")]
    memory_limit: int
    received: float
    sent: float
    restarts: int


class ContainerUse(Shown):
    """What a container used, the oldest first."""

    name: str
    process: str
    release: int | None
    samples: list[SampleShown]


class UsageShown(Shown):
    """What an environment's containers used."""

    containers: list[ContainerUse]


class Hour(Shown):
    """Requests that the proxy answered in an hour, for all processes of an environment."""

    at: Annotated[datetime, Field(description="when the hour begins")]
    requests: int


class VisitsShown(Shown):
    """How often an environment was asked for; an hour without a request is left out."""

    hours: list[Hour]


@dataclass(frozen=True)
class RunningApi:
    """The operations."""

    runtime: Runtime

    def operations(self) -> list[Operation]:
        lines, used = "What its containers print", "What its containers use"
        read, asked = reads(Of.ENVIRONMENT), "How often it is asked for"
        return [
            Operation("GET", f"{_AT}/logs", PRINTED, lines, self.logs, str, PrintedQuery, media=_MEDIA),
            Operation("GET", f"{_AT}/usage", read, used, self.usage, UsageShown, SinceQuery),
            Operation("GET", f"{_AT}/visits", read, asked, self.visits, VisitsShown, SinceQuery),
        ]

    async def logs(self, call: Call) -> Response:
        return await self.runtime.logs(call.request)

    async def usage(self, call: Call) -> UsageShown:
        return UsageShown.model_validate(await self.runtime.usage(call.request))

    async def visits(self, call: Call) -> VisitsShown:
        return VisitsShown.model_validate(await self.runtime.visits(call.request))
