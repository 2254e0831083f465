"""What is told next of a log that grows, worked out once for all who look on at the same place."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from bot.store import colours
from bot.store.logs import PART, LogStore
from bot.web.pages.clock import Clock
from bot.web.pages.stream import told

_LONGEST = 256 * 1024  # bytes of a line without an end that are told at once
_KEPT = 32  # pieces: those who look on are about as far


@dataclass(frozen=True)
class Piece:
    """Some lines as events; `line` is the number of the one that comes next, at byte `end`."""

    events: bytes = field(repr=False)
    end: int
    line: int
    more: bool
    read_at: float = 0.0  # by the loop's clock: what came later is not in it


@dataclass(frozen=True)
class Place:
    """How far somebody is: at a byte, in this line, the first one being 0."""

    job: str
    attempt: int
    coloured: bool
    byte: int
    line: int


class Tails:
    """Pieces of logs."""

    def __init__(self, logs: LogStore) -> None:
        self._logs = logs
        self._kept: OrderedDict[Place, Piece] = OrderedDict()
        self._locks: WeakValueDictionary[tuple[str, int], asyncio.Lock] = WeakValueDictionary()

    async def next(self, place: Place, whole: bool) -> Piece | None:
        """What there is from a place on; the last line, if it is unfinished, only when the log is `whole`."""
        lock = self._locks.setdefault((place.job, place.attempt), asyncio.Lock())
        async with lock:  # one works it out, the others find it
            if (known := self._kept.get(place)) is not None:
                return known
            found = await self._read(place, whole)
            if found is not None and not whole:
                self._kept[place] = found
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
            return found

    async def _read(self, place: Place, whole: bool) -> Piece | None:
        at = asyncio.get_running_loop().time()
        async with aclosing(parts(self._logs, place.job, place.attempt, place.byte, whole)) as some:
            found = await anext(some, None)
        if found is None:
            return None
        data, end, read = found
        clock = Clock(self._logs.times(place.job, place.attempt), place.line, place.byte)
        await clock.look()
        times = clock.passed(data, end)
        text = (colours.only if place.coloured else colours.plain)(data).decode(errors="replace")
        events = (told("times", times) if times else b"") + told("log", text, end)
        return Piece(events, end, place.line + data.count(b"\n"), read % PART == 0, at)


async def parts(
    logs: LogStore, job: str, attempt: int, start: int, whole: bool
) -> AsyncGenerator[tuple[bytes, int, int], None]:
    """What there is of a log from byte `start` on, in whole lines, each part with the byte that it ends at.

    And with the byte up to which was read for it. The last line may be unfinished: it is kept back, unless
    the log is `whole`. Who reads the same log from different places comes to the same parts soon.
    """
    kept, read = b"", start
    async for data in logs.read(job, attempt, start):
        kept, read = kept + data, read + len(data)
        cut = kept.rfind(b"\n") + 1
        if not cut and len(kept) >= _LONGEST:
            cut = _boundary(kept)
        if cut:
            start += cut
            yield kept[:cut], start, read
            kept = kept[cut:]
    if kept and whole:
        yield kept, start + len(kept), read


def _boundary(text: bytes) -> int:
    """Where the last whole character of this UTF-8 ends."""
    end = len(text)
    while end > len(text) - 4 and text[end - 1] & 0xC0 == 0x80:
        end -= 1
    return end - 1 if text[end - 1] & 0xC0 == 0xC0 else end
