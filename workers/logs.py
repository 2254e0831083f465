"""An attempt's log: masked, batched, bounded while nobody takes it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

import structlog

from workers.contract.messages import LogChunk
from workers.masking import Masker

log = structlog.get_logger()

CHUNK = 32 * 1024  # characters of one LogChunk
_FLUSH = 0.3  # seconds
_ROOM = 4 * 1024 * 1024  # characters kept while the queue is down
_LAST = 5.0  # seconds that the end of a log may take to be told

Tell = Callable[[LogChunk], Awaitable[None]]


class LogSink:
    """Takes text at any speed, without waiting; its pump tells the bot."""

    def __init__(
        self, tell: Tell, job: str, attempt: int, secrets: Iterable[str] = (), room: int = _ROOM
    ) -> None:
        self._tell = tell
        self._job = job
        self._attempt = attempt
        self._masker = Masker(secrets)
        self._raw: list[str] = []
        self._raw_size = 0
        self._waiting = Bounded(room)
        self._offset = 0
        self._closing = asyncio.Event()

    def write(self, text: str) -> None:
        """Text as it came, newlines included."""
        self._raw.append(text)
        self._raw_size += len(text)
        if self._raw_size >= CHUNK:
            self._mask()

    def line(self, text: str) -> None:
        """One whole line."""
        self.write(text + "\n")

    @contextlib.asynccontextmanager
    async def pumped(self, last: float = _LAST) -> AsyncIterator[LogSink]:
        """Tell the bot what is written inside; at the end wait at most `last` seconds for the rest."""
        pump = asyncio.create_task(self._pump())
        try:
            yield self
        finally:
            self._closing.set()
            try:
                await asyncio.wait({pump}, timeout=last)
            finally:
                if not pump.done():
                    pump.cancel()
                    log.warning("the end of a log is lost", job=self._job, attempt=self._attempt)
                await asyncio.gather(pump, return_exceptions=True)

    async def _pump(self) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FLUSH):
                    await self._closing.wait()
            await self._flush()
        self._mask(final=True)
        await self._flush()

    async def _flush(self) -> None:
        self._mask()
        while text := self._waiting.take(CHUNK):
            await self._tell(LogChunk(job=self._job, attempt=self._attempt, offset=self._offset, text=text))
            self._offset += len(text)

    def _mask(self, *, final: bool = False) -> None:
        raw, self._raw, self._raw_size = "".join(self._raw), [], 0
        self._waiting.put(self._masker.feed(raw) + (self._masker.end() if final else ""))


class Bounded:
    """Text of at most `room` characters: the middle goes first, and a line says how much of it."""

    def __init__(self, room: int) -> None:
        self._half = room // 2
        self._head: deque[str] = deque()
        self._head_size = 0
        self._tail: deque[str] = deque()
        self._tail_size = 0
        self._lost = 0

    def put(self, text: str) -> None:
        if not text:
            return
        if not self._tail and self._head_size + len(text) <= self._half:
            self._head.append(text)
            self._head_size += len(text)
            return
        self._tail.append(text)
        self._tail_size += len(text)
        while self._tail_size > self._half and len(self._tail) > 1:
            dropped = self._tail.popleft()
            self._tail_size -= len(dropped)
            self._lost += dropped.count("\n")

    def take(self, most: int) -> str:
        """The next text, at most `most` characters; empty if there is none."""
        if not self._head:
            if self._lost:
                self._head.append(f"\n… {self._lost} lines are lost: the bot could not be reached …\n")
            self._head.extend(self._tail)
            self._tail.clear()
            self._head_size, self._tail_size, self._lost = sum(map(len, self._head)), 0, 0
        taken: list[str] = []
        size = 0
        while self._head and size < most:
            text = self._head.popleft()
            if len(text) > most - size:
                self._head.appendleft(text[most - size :])
                text = text[: most - size]
            taken.append(text)
            size += len(text)
        self._head_size -= size
        return "".join(taken)
