"""What open pages are told as it happens: that something changed, and a log's lines as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from sqlmodel import SQLModel
from starlette.responses import Response

from bot.store.database import Store
from bot.store.logs import LogStore
from bot.store.tables import (
    ContainerRow,
    Delivery,
    Environment,
    Job,
    Lock,
    Pull,
    Release,
    Run,
    StepRow,
    WorkerRow,
)
from bot.web.pages.ends import Ends
from bot.web.pages.stream import LAST, Line, Stream, told
from bot.web.pages.tails import Place, Tails

_BATCH = 0.04  # seconds between two events at least, so that a fast build is no flood of them
_LOOK = 1.0  # seconds between two looks at what other processes may have written, and at the job
_BEAT = 15.0  # seconds of silence, after which a comment says that the line is open
_CALM = 1.0  # seconds between two words that something changed
_LATE = 1.5  # seconds after a job's end in which lines may still come

_SHOWN: tuple[type[SQLModel], ...] = (
    ContainerRow, Delivery, Environment, Job, Lock, Pull, Release, Run, StepRow, WorkerRow,
)  # fmt: skip
_BEATS = b": here\n\n"


@dataclass(frozen=True)
class Live:
    """Streams, which all end when the bot does."""

    store: Store
    logs: LogStore
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    tails: Tails = field(init=False)
    ends: Ends = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tails", Tails(self.logs))
        object.__setattr__(self, "ends", Ends(self.store))

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """At the end of the block every stream ends, so that nobody waits for whoever looks on."""
        watching = asyncio.create_task(self.ends.watch())
        try:
            yield
        finally:
            self.stopping.set()
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    def changes(self, lasts: float = LAST) -> Response:
        """`changed`, once a second at most, when something that a page shows has changed."""
        return Stream(self._changes, self.stopping, lasts)

    def log(
        self, job: str, attempt: int, start: int, lasts: float = LAST, coloured: bool = False
    ) -> Response:
        """An attempt's log from byte `start` on, `job` when its state or step may have changed, and `end`.

        Before `log` there are the `times` of its lines: pairs of a line's number, from 0 on, and when it and
        those after it came, in milliseconds since 1970.
        """
        return Stream(lambda line: self._log(line, job, attempt, start, coloured), self.stopping, lasts)

    async def _changes(self, line: Line) -> AsyncIterator[bytes]:
        with self.store.changes(*_SHOWN) as changed:
            yield b"retry: 2000\n\n"
            while line.open:
                await line.heard(_BEAT, changed)
                if changed.is_set():
                    changed.clear()
                    yield told("changed", "")
                    await line.heard(_CALM)
                elif line.open:
                    yield _BEATS

    async def _log(
        self, line: Line, job: str, attempt: int, start: int, coloured: bool = False
    ) -> AsyncIterator[bytes]:
        place = Place(job, attempt, coloured, start, await self.logs.number(job, attempt, start))
        loop = asyncio.get_running_loop()
        spoke, looked, read, ended = loop.time(), 0.0, 0.0, False
        with self.logs.following(job) as grown, self.store.changes(Job, StepRow) as changed:
            yield b"retry: 1000\n\n"
            while line.open:
                began = loop.time()
                reads = grown.is_set() or ended or began >= read + _LOOK
                grown.clear()
                if changed.is_set():
                    changed.clear()
                    looked = 0.0
                    yield told("job", "")
                sent = False
                while reads and (piece := await self.tails.next(place, ended)) is not None:
                    if not line.open:  # a long log, read slowly: who reads on is asked who it is
                        return
                    yield piece.events
                    sent, spoke = True, loop.time()
                    place = replace(place, byte=piece.end, line=piece.line)
                    if piece.read_at >= began and not piece.more and not ended:
                        break  # what came since has set `grown`
                read = began if reads else read
                if ended and not sent:
                    yield told("end", "")
                    return
                if loop.time() >= spoke + _BEAT:
                    spoke = loop.time()
                    yield _BEATS
                if loop.time() >= looked + _LOOK:
                    ended, looked = await self.ends.over(job, attempt), loop.time()
                await line.heard(_LATE if ended else _LOOK, grown, changed)
                await asyncio.sleep(max(0.0, spoke + _BATCH - loop.time()))
