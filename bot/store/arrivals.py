"""Deliveries on their way into the store: one writer commits all that came since its last commit, at once.

On SQLite with `synchronous=FULL`, on PostgreSQL with `synchronous_commit`: whoever was told that a delivery
is kept may rely on that after a power cut.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Protocol

import structlog

_MOST = 64  # deliveries in one commit
_WAIT = 8.0  # seconds: GitHub waits 10 for its answer

log = structlog.get_logger()


class Arrival(NamedTuple):
    """A delivery, as it came."""

    guid: str
    event: str
    action: str | None
    repository_id: int | None
    payload: str
    at: datetime


class NotKept(Exception):
    """The store did not take it; the text says why, for the log."""


class Writer(Protocol):
    """One connection of its own, used by one thread at a time."""

    def write(self, arrivals: Sequence[Arrival]) -> list[bool]:
        """Commit them; for each whether it was there before. One that failed then is received anew.

        Raises NotKept, after which nothing of them is there that was not before.
        """

    def close(self) -> None:
        """Let go of the connection."""


@dataclass
class Arrivals:
    """What all of them pass. `turn` is held while one writes; `written` is told what each commit had."""

    writer: Writer
    turn: AbstractAsyncContextManager[Any]
    written: Callable[[Sequence[Arrival]], None]
    _waiting: list[tuple[Arrival, asyncio.Future[bool]]] = field(default_factory=list)
    _writing: asyncio.Task[None] | None = None
    # A thread, since a commit waits for the disk. One, so that it is never in the way of itself.
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "arrivals"))

    async def keep(self, arrival: Arrival) -> bool:
        """Wait until it is on the disk; whether it was before. Raises NotKept."""
        kept: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((arrival, kept))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        try:
            async with asyncio.timeout(_WAIT):
                return await kept
        except TimeoutError:
            raise NotKept(f"the store took longer than {_WAIT:.0f} s") from None

    async def calm(self, seconds: float) -> None:
        """Wait until none waits to be kept, `seconds` at most."""
        if self._writing is not None and not self._writing.done():
            await asyncio.wait((self._writing,), timeout=seconds)

    async def close(self) -> None:
        """Commit what waits, and let go of the connection."""
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(self._thread, self.writer.close)
        self._thread.shutdown()

    async def _write(self) -> None:
        while self._waiting:
            async with self.turn:
                batch, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
                if here := [(arrival, kept) for arrival, kept in batch if not kept.done()]:
                    await self._commit(here)

    async def _commit(self, batch: list[tuple[Arrival, asyncio.Future[bool]]]) -> None:
        """All of a batch; where that fails for another reason than the store, each of it alone."""
        arrivals = [arrival for arrival, _ in batch]
        loop = asyncio.get_running_loop()
        try:
            known = await loop.run_in_executor(self._thread, self.writer.write, arrivals)
        except Exception as error:
            if len(batch) > 1 and not isinstance(error, NotKept):
                for one in batch:
                    await self._commit([one])
                return
            if not isinstance(error, NotKept):
                log.exception("a delivery broke the store", delivery=arrivals[0].guid)
                error = NotKept(f"{type(error).__name__}: {error}")
            for _, kept in batch:
                if not kept.done():
                    kept.set_exception(error)
            return
        for (_, kept), was in zip(batch, known, strict=True):
            if not kept.done():
                kept.set_result(was)
        self.written(arrivals)
        _tell(arrivals, known)


def _tell(arrivals: Sequence[Arrival], known: Sequence[bool]) -> None:
    """One line for those that came together: it costs as much as the rest of what is done for one."""
    for was, word in ((False, "received"), (True, "known")):
        those = [arrival for arrival, it_was in zip(arrivals, known, strict=True) if it_was is was]
        if len(those) == 1:
            log.info(f"delivery {word}", delivery=those[0].guid, github_event=those[0].event)
        elif those:
            log.info(f"deliveries {word}", deliveries={one.guid: one.event for one in those})
