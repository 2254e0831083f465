"""What an environment's containers print and use, for programs (below /api/v1) and for people.

Both ask for the same: `?process=`, `?search=` and `?since=` choose lines, `?from=` goes on from a line's
`place`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlmodel import col
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from bot.fleet import usage
from bot.log_drains.wanted import OWN
from bot.routing import visits
from bot.store.database import Store
from bot.store.outputs import Kept, Outputs, Wanted
from bot.store.tables import Environment, LogDrainRow
from bot.web.access import number
from bot.web.pages import figures, places
from bot.web.pages.live import Live
from bot.web.pages.render import Pages
from bot.web.pages.stream import Line, Stream, last_event, lasting
from bot.web.places import found
from config import durations
from workers.contract.messages import now

SHOWN = 60  # lines on an environment's own page
_LINES, _MOST = 1000, 10_000
_LOOK = 1.0  # seconds between two looks at what other bots may have written
_BEAT = 15.0  # seconds of silence, after which a comment says that the line is open
_SPAN, _DAY = "1h", "1d"
_FIRST = datetime.fromtimestamp(0, UTC)
_BILLION = 1_000_000_000
_PLAIN = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


@dataclass(frozen=True)
class Runtime:
    """The routes."""

    pages: Pages
    store: Store
    outputs: Outputs
    live: Live

    def routes(self) -> list[Route]:
        """For people: with a page for the lines."""
        return [
            Route("/environments/{id:int}/output", self.page),
            Route("/environments/{id:int}/output/follow", self.follow),
        ]

    async def logs(self, request: Request) -> Response:
        """Lines as JSON, one each; as events where those are asked for.

        The last `?tail=` ones (1,000), or all since `?since=`, or from the place `?from=` on.
        """
        if "text/event-stream" in request.headers.get("accept", "") or "follow" in request.query_params:
            return await self.follow(request)
        environment, wanted = await self._environment(request), _wanted(request)
        params = request.query_params
        if params.get("from") or (wanted.since and not params.get("tail")):
            lines = self._from(environment, _place(request), wanted)
        else:
            tail = min(number(request, "tail", _LINES), _MOST)
            lines = _these(await self.outputs.tail(environment, tail, wanted))
        return StreamingResponse(lines, media_type="application/jsonl", headers=_PLAIN)

    async def follow(self, request: Request) -> Response:
        """The same as events, each with the place where it ends, and on as they come."""
        environment, wanted = await self._environment(request), _wanted(request)
        tail = min(number(request, "tail", SHOWN), _MOST)
        last = _last(request)
        return Stream(
            lambda line: self._follow(line, environment, last, tail, wanted),
            self.live.stopping,
            lasting(request),
        )

    async def usage(self, request: Request) -> dict[str, Any]:
        """What each container used, since `?since=` (an hour), oldest first."""
        environment = await self._environment(request)
        rows = await usage.of(self.store, environment, _moment(request.query_params.get("since") or _SPAN))
        return figures.told(rows)

    async def visits(self, request: Request) -> dict[str, Any]:
        """How often it was asked for in each hour since `?since=` (a day), oldest first."""
        environment = await self._environment(request)
        since = _moment(request.query_params.get("since") or _DAY)
        rows = await visits.of(self.store, environment, since)
        return {"hours": [row.model_dump(include={"at", "requests"}) for row in rows]}

    async def page(self, request: Request) -> Response:
        """Lines to read and to search, without a script too."""
        environment, wanted = await self._environment(request), _wanted(request)
        async with self.store.reading() as session:
            (place,) = await places.places(session, col(Environment.id) == environment)
        lines = await self.outputs.tail(environment, _LINES, wanted)
        return self.pages.shown(
            request,
            "output",
            place=place,
            output=await self.shown(environment, lines),
            most=_LINES,
            asked={name: request.query_params.get(name, "") for name in ("process", "search", "since")},
            asking=f"&{request.url.query}" if request.url.query else "",
        )

    async def shown(self, environment: int, lines: Sequence[Kept] | None = None) -> dict[str, Any]:
        """What a template shows of an environment's lines, the last ones unless others are given."""
        if lines is None:
            lines = await self.outputs.tail(environment, SHOWN)
        place = lines[-1].place if lines else await self.outputs.end(environment)
        async with self.store.reading() as session:
            drain = await session.get(LogDrainRow, (environment, OWN))
        return {"lines": [told(one) for one in lines], "place": place, "drain": drain}

    async def _environment(self, request: Request) -> int:
        async with self.store.reading() as session:
            return (await found(session, Environment, request)).id or 0

    async def _from(self, environment: int, start: int, wanted: Wanted) -> AsyncIterator[bytes]:
        """What there is now: who reads slowly is not told for hours what is printed meanwhile."""
        end = await self.outputs.end(environment)
        while True:
            lines, reached = await self.outputs.read(environment, start, wanted)
            for one in lines:
                yield _json(one)
            if reached == start or reached >= end:
                return
            start = reached

    async def _follow(
        self, line: Line, environment: int, last: int | None, tail: int, wanted: Wanted
    ) -> AsyncIterator[bytes]:
        silent = 0.0
        with self.outputs.following(environment) as grown:
            yield b"retry: 1000\n\n"
            start = 0 if last is None else last
            if last is None and not wanted.since:
                start = await self.outputs.end(environment)
                lines = await self.outputs.tail(environment, tail, wanted)
                start = lines[-1].place if lines else start
                yield b"".join(map(_event, lines))
            while line.open:
                grown.clear()
                lines, reached = await self.outputs.read(environment, start, wanted)
                if lines:
                    yield b"".join(map(_event, lines))
                silent = 0.0 if lines else silent + _LOOK
                if silent >= _BEAT:
                    silent = 0.0
                    yield b": here\n\n"
                if reached == start:
                    await line.heard(_LOOK, grown)
                start = reached


async def _these(lines: Sequence[Kept]) -> AsyncIterator[bytes]:
    for one in lines:
        yield _json(one)


def told(kept: Kept) -> dict[str, Any]:
    """A line as JSON has it."""
    said = asdict(kept.said)
    seconds, rest = divmod(said.pop("at"), _BILLION)
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)
    said["container"] = said.pop("container")[:12]
    return {"place": kept.place, "at": moment.isoformat(timespec="microseconds"), **said}


def _json(kept: Kept) -> bytes:
    return json.dumps(told(kept), ensure_ascii=False).encode() + b"\n"


def _event(kept: Kept) -> bytes:
    return b"id: %d\nevent: line\ndata: %s\n" % (kept.place, _json(kept))


def _last(request: Request) -> int | None:
    """The place that whoever asks has already. Raises HTTPException."""
    if (last := last_event(request, digits=18)) is not None:
        return last
    return _place(request) if request.query_params.get("from") else None


def _place(request: Request) -> int:
    given = request.query_params.get("from") or "0"
    if not given.isdecimal() or len(given) > 18:
        raise HTTPException(422, "from must be the place of a line")
    return int(given)


def _wanted(request: Request) -> Wanted:
    asked = request.query_params
    since = int(_moment(asked["since"]).timestamp() * _BILLION) if asked.get("since") else 0
    return Wanted(asked.get("process", ""), since, asked.get("search", "")[:200])


def _moment(text: str) -> datetime:
    """A time as people write it: how long ago it was, or when. Raises HTTPException."""
    try:
        return now() - timedelta(seconds=durations.seconds(text))
    except ValueError:
        pass
    try:
        # A plus in a query is a space.
        moment = datetime.fromisoformat(text.strip().replace(" ", "+") if "T" in text else text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return min(max(moment, _FIRST), now())  # what was further away no database could be asked
    except (ValueError, OverflowError):
        raise HTTPException(422, "since must be a time such as 10m, 2h, or 2026-11-28T09:30:00Z") from None
