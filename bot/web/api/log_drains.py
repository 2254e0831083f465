"""Log drains: which there are, how far each is, and a test of one. Files and settings say where they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field
from sqlalchemy import ColumnElement
from sqlmodel import col
from starlette.exceptions import HTTPException

from bot.log_drains.forms import Source
from bot.log_drains.sink import Target
from bot.log_drains.standing import Standing, standings
from bot.log_drains.trial import tried
from bot.log_drains.wanted import INSTANCE, OWN, Key, Wanted, instances, wanted
from bot.secrets.repositories import Secrets
from bot.store.database import Store
from bot.store.outputs import Outputs
from bot.store.tables import Environment
from bot.web.api.fields import Listed
from bot.web.api.models import Shown
from bot.web.api.operation import Call, Operation, Part
from bot.web.api.rows import most, number_of, part, repository
from bot.web.guard import changed
from bot.web.places import found
from bot.web.rights import Right
from bot.web.rules import INSTANCE as ADMINISTRATORS
from bot.web.rules import PRINTED, Of, Rule, administers
from config.errors import ConfigError
from config.settings import Settings

_ALL, _OF, _ONE = "/drains", "/repositories/{owner}/{name}/drains", "/environments/{id:int}/drain"


class DrainsQuery(Listed):
    """Which part of them."""


class LogDrainShown(Shown):
    """A log drain of one environment. Its path and its headers are shown to nobody."""

    environment_id: int
    repository: str
    environment: str
    whose: Annotated[
        Literal["instance", "repository"], Field(description="LOG_DRAIN's, or what the live release names")
    ]
    address: str
    sent_at: Annotated[datetime | None, Field(description="when it last took lines")]
    behind: Annotated[int, Field(description="bytes of lines that it has not, as they are kept")]
    waiting_since: Annotated[datetime | None, Field(description="when the oldest of these was printed")]
    dropped: Annotated[int, Field(description="lines that were left out, ever")]
    problem: Annotated[str, Field(description="why it takes nothing; empty if it is well")]
    failing_since: datetime | None


class DrainTried(Shown):
    """What came of a test."""

    state: Literal["sent", "failed"]
    reason: Annotated[str, Field(description="why it did not take it")]


@dataclass(frozen=True)
class LogDrains:
    """The operations: of all drains for the instance's administrators, of its own for a repository."""

    store: Store
    secrets: Secrets
    settings: Settings
    outputs: Outputs

    def operations(self) -> list[Operation]:
        everywhere, here = Rule(Of.INSTANCE, audited=True), Rule(Of.REPOSITORY, Right.DEPLOY)
        admin, shown = administers(Of.ENVIRONMENT), list[LogDrainShown]
        test, whole = (f"Send {to} a line, and say what came of it" for to in ("it", "LOG_DRAIN"))
        return [
            Operation(
                "GET", _ALL, ADMINISTRATORS, "Log drains, and how they do", self.listed, shown, DrainsQuery
            ),
            Operation("POST", f"{_ALL}/test", everywhere, whole, self.test_instances, DrainTried),
            Operation("GET", _OF, here, "Log drains that its files name", self.theirs, shown, DrainsQuery),
            Operation("GET", _ONE, PRINTED, "The log drain that its file names", self.one, LogDrainShown),
            Operation("POST", f"{_ONE}/test", admin, test, self.test, DrainTried),
        ]

    async def listed(self, call: Call) -> Part:
        return await self._part(call, await self._wanted())

    async def theirs(self, call: Call) -> Part:
        """Where the instance's drain is, its administrators alone are told."""
        async with self.store.reading() as session:
            owner = await repository(session, call.path)
        drains = await self._wanted(col(Environment.repository_id) == owner.id)
        return await self._part(call, {key: one for key, one in drains.items() if key[1] == OWN})

    async def one(self, call: Call) -> LogDrainShown:
        [standing] = await standings(self.store, self.outputs, dict([await self._own(call)]))
        return _shown(standing)

    async def test_instances(self, call: Call) -> DrainTried:
        target = instances(self.settings)
        if target is None:
            raise HTTPException(422, "the instance has no log drain: LOG_DRAIN is not set")
        changed(call.request, f"tested the log drain {target.address.shown}")
        return await _tried(target, Source("blacktree/test", "test"))

    async def test(self, call: Call) -> DrainTried:
        _, drain = await self._own(call)
        changed(call.request, f"tested the log drain {drain.shown} of {drain.source.environment}")
        if drain.target is None:
            return DrainTried(state="failed", reason=drain.problem)
        return await _tried(drain.target, drain.source)

    async def _part(self, call: Call, drains: Mapping[Key, Wanted]) -> Part:
        query: DrainsQuery = call.query
        limit, after = most(query.limit), number_of(query.cursor) or 0
        keys = sorted(key for key in drains if _number(key) > after)[: limit + 1]
        shown = await standings(self.store, self.outputs, {key: drains[key] for key in keys})
        cut = part(shown, limit, lambda one: str(_number(one.key)))
        return Part([_shown(one) for one in cut.items], cut.after)

    async def _own(self, call: Call) -> tuple[Key, Wanted]:
        """Of the environment that the path names. Raises HTTPException."""
        async with self.store.reading() as session:
            place = await found(session, Environment, call.request)
        own = (place.id or 0, OWN)
        drains = await self._wanted(col(Environment.id) == place.id)
        if own not in drains:
            raise HTTPException(404, f"{place.name} has no log drain: its live release names none in `logs`")
        return own, drains[own]

    async def _wanted(self, *of: ColumnElement[bool]) -> Mapping[Key, Wanted]:
        try:
            return await wanted(self.store, self.secrets, self.settings, *of)
        except ConfigError as error:
            raise HTTPException(422, str(error)) from None


async def _tried(target: Target, source: Source) -> DrainTried:
    wrong = await tried(target, source)
    return DrainTried(state="failed" if wrong else "sent", reason=wrong)


def _number(key: Key) -> int:
    """Where one stands among all: a list goes on behind it."""
    return key[0] * 2 + (key[1] == OWN)


def _shown(one: Standing) -> LogDrainShown:
    source, row = one.wanted.source, one.row
    return LogDrainShown(
        environment_id=one.key[0],
        repository=source.repository,
        environment=source.environment,
        whose=INSTANCE if one.key[1] == INSTANCE else OWN,
        address=one.wanted.shown,
        sent_at=row.sent_at if row else None,
        behind=one.behind,
        waiting_since=one.waiting_since,
        dropped=row.dropped if row else 0,
        problem=one.problem,
        failing_since=row.failing_since if row else None,
    )
