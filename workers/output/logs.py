"""An attempt's log: cleaned, masked, bounded, and told to the bot."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

import structlog

from workers.contract.messages import LogChunk
from workers.output.bounded import MEMORY, Bounded
from workers.output.cleaning import Cleaner, coloured
from workers.output.masking import Masker

log = structlog.get_logger()

CHUNK = 128 * 1024  # bytes, about, of one LogChunk: one is confirmed before the next goes
BUDGET = 32 * 1024 * 1024  # bytes of a whole log
_LEAST_BUDGET = 64 * 1024
_RAW = 64 * 1024  # characters that are cleaned and masked at once
_GATHER = 0.02  # seconds that the first line after a silence waits for more …
_FLUSH = 0.1  # … and that pass between two tellings
_MARK = 30.0  # seconds
_LAST = 4.0  # seconds that the end of a log may take to be told
_LAST_WORDS = 64 * 1024  # bytes of it that are told if that was not enough …
_LAST_WORDS_IN = 1.0  # … and the seconds for that

Tell = Callable[[LogChunk], Awaitable[None]]


class LogSink:
    """Takes text at any speed, without waiting; its pump tells the bot."""

    def __init__(
        self,
        tell: Tell,
        job: str,
        attempt: int,
        secrets: Iterable[str] = (),
        budget: int = BUDGET,
        memory: int = MEMORY,
    ) -> None:
        """`budget`: bytes that the whole log may have; `memory`: that may wait here, compressed."""
        self._tell = tell
        self._job = job
        self._attempt = attempt
        self._cleaner = Cleaner(coloured)
        self._masker = Masker(secrets)
        self._raw: list[str] = []
        self._raw_size = 0
        self._line_open = False
        self._waiting = Bounded(max(budget, _LEAST_BUDGET), memory)
        self._offset = 0
        self._written = asyncio.Event()
        self._due = asyncio.Event()
        self._closing = False

    def write(self, text: str) -> None:
        """Text as it came, newlines included."""
        self._line_open = not text.endswith("\n") if text else self._line_open
        if not self._raw:
            self._written.set()
        self._raw.append(text)
        self._raw_size += len(text)
        if self._raw_size >= _RAW:
            self._digest()

    def line(self, text: str) -> None:
        """A line of its own, whatever was written before."""
        self.write(f"\n{text}\n" if self._line_open else f"{text}\n")

    def mask(self, secret: str) -> None:
        """Mask what became known only now, too."""
        self._masker.learn(secret)

    def masked(self, text: str) -> str:
        """A text that leaves the worker by another way, as the log would show it."""
        return self._masker.masked(text)

    @contextlib.asynccontextmanager
    async def pumped(self, last: float = _LAST) -> AsyncIterator[LogSink]:
        """Tell the bot what is written inside; at the end wait for the rest, `last` seconds and a little."""
        pump = asyncio.create_task(self._pump(last))
        try:
            yield self
        finally:
            self._closing = True
            self._written.set()
            self._due.set()
            try:
                await asyncio.wait({pump}, timeout=last + _LAST_WORDS_IN)
            finally:
                if not pump.done():
                    pump.cancel()
                    log.warning("the end of a log is lost", job=self._job, attempt=self._attempt)
                [ended] = await asyncio.gather(pump, return_exceptions=True)
                if isinstance(ended, Exception):
                    log.error("a log was not told", job=self._job, attempt=self._attempt, error=repr(ended))

    async def _pump(self, last: float) -> None:
        loop = asyncio.get_running_loop()
        marked, told = loop.time(), -_FLUSH
        while not self._closing:
            await _heard(self._written, _MARK)
            await _heard(self._due, max(_GATHER, told + _FLUSH - loop.time()))
            self._written.clear()
            self._due.clear()
            self._digest()
            while not self._closing and (text := self._waiting.take(CHUNK)):
                await self._told(text)
            told = loop.time()
            if loop.time() > marked + _MARK:
                marked = loop.time()
                await self._told(self._waiting.mark())
        await self._finish(loop.time() + last)

    async def _finish(self, deadline: float) -> None:
        """Tell the rest; of what is not told by the deadline, its end."""
        self._digest()
        self._waiting.put(self._masker.feed(self._cleaner.end()) + self._masker.end())
        loop = asyncio.get_running_loop()
        while text := self._waiting.take(CHUNK, last=True):
            await self._told(text)
            if loop.time() > deadline:
                self._waiting.shorten(_LAST_WORDS)
                deadline = float("inf")

    async def _told(self, text: bytes) -> None:
        """Never given up midway: whether the bot has it would not be known."""
        if text:
            told = text.decode(errors="replace")
            await self._tell(LogChunk(job=self._job, attempt=self._attempt, offset=self._offset, text=told))
            self._offset += len(told)

    def _digest(self) -> None:
        raw, self._raw, self._raw_size = "".join(self._raw), [], 0
        self._waiting.put(self._masker.feed(self._cleaner.feed(raw.encode(errors="replace"))))
        if self._waiting.waiting >= CHUNK:
            self._due.set()


async def _heard(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
