"""When the lines of a log came, for who reads it from some byte on: a log knows bytes, people know lines."""

from __future__ import annotations

import asyncio

from bot.store.logs import LogStore
from bot.store.times import Times


class Clock:
    """Counts the lines that are read."""

    def __init__(self, times: Times, line: int = 0, start: int = 0) -> None:
        """It begins at byte `start`, in this line, the first one being 0."""
        self._times = times
        self._line = line
        self._start = start

    async def look(self) -> None:
        """At what is new of the times."""
        await asyncio.to_thread(self._times.refresh)

    def passed(self, data: bytes, end: int) -> list[tuple[int, int]]:
        """What is read next, to byte `end`: its first line and each one that came later, and when.

        In milliseconds since 1970.
        """
        found, line, at = [], self._line, self._start
        for byte, moment in self._times.within(self._start, end):
            line += data.count(b"\n", at - self._start, byte - self._start)
            at = byte
            found.append((line, moment))
        self._line += data.count(b"\n")
        self._start = end
        return found


async def of(logs: LogStore, job: str, attempt: int) -> list[tuple[int, int]]:
    """Of a whole log."""
    clock, end = Clock(logs.times(job, attempt)), 0
    found: list[tuple[int, int]] = []
    await clock.look()
    async for data in logs.read(job, attempt):
        end += len(data)
        found += [pair for pair in clock.passed(data, end) if not found or pair[1] != found[-1][1]]
    return found
