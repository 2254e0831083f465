"""One viewer's line, on which events go out: https://html.spec.whatwg.org/multipage/server-sent-events.html"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from bot.web.guard import who

LAST = 600.0  # seconds of a line: whoever is still there comes again, and is asked who it is
BRIEF = 60.0  # likewise, where what they may is GitHub's word: it is no older than that
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff"}


def lasting(request: Request) -> float:
    """Seconds of the line of who asks."""
    known = who(request)
    return LAST if known is not None and known.unasked else BRIEF


def last_event(request: Request, digits: int = 11) -> int | None:
    """The number of the last event that who asks has, of so many `digits` at most."""
    last = request.headers.get("last-event-id", "")
    return int(last) if last.isascii() and last.isdecimal() and len(last) <= digits else None


class Line:
    """Open until the viewer has gone, the bot stops, or it has lasted long enough."""

    def __init__(self, stopping: asyncio.Event, lasts: float = LAST) -> None:
        self.gone = asyncio.Event()
        self._stopping = stopping
        self._until = asyncio.get_running_loop().time() + lasts

    @property
    def open(self) -> bool:
        late = asyncio.get_running_loop().time() > self._until
        return not (late or self.gone.is_set() or self._stopping.is_set())

    async def heard(self, seconds: float, *events: asyncio.Event) -> None:
        """Wait for one of these, `seconds` at most, and no longer than the line is open."""
        waiting = [asyncio.create_task(one.wait()) for one in (self.gone, self._stopping, *events)]
        try:
            await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()


Events = Callable[[Line], AsyncIterator[bytes]]


class Stream(Response):
    """An answer that is `events`, for as long as its line is open."""

    def __init__(self, events: Events, stopping: asyncio.Event, lasts: float = LAST) -> None:
        super().__init__(headers=_HEADERS, media_type="text/event-stream")
        del self.headers["content-length"]
        self._events = events
        self._stopping = stopping
        self._lasts = lasts

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        line = Line(self._stopping, self._lasts)
        watching = asyncio.create_task(_watch(receive, line.gone))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async with aclosing(self._events(line)) as events:  # type: ignore[type-var]
                async for event in events:
                    await send({"type": "http.response.body", "body": event, "more_body": True})
                    if line.gone.is_set():
                        return
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


async def _watch(receive: Receive, gone: asyncio.Event) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    gone.set()


def told(kind: str, what: object, at: int | None = None) -> bytes:
    """One event; what it tells is JSON, so that it is one line whatever is in it."""
    number = f"id: {at}\n" if at is not None else ""
    return f"{number}event: {kind}\ndata: {json.dumps(what, ensure_ascii=False)}\n\n".encode()
