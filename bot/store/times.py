"""When a log grew: a record for each tenth of a second in which it did, in a file beside it."""

from __future__ import annotations

import os
import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

STEP = 100  # milliseconds that records are apart, so that no flood of small pieces is a flood of these
_RECORD = struct.Struct(
    "<QQ"
)  # the byte of the log that came then; milliseconds since 1970, by the bot's clock


class Times:
    """The records of one log, as far as they were read."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._starts = array("Q")
        self._moments = array("Q")

    def refresh(self) -> None:
        """Read what has come since. It blocks for a moment."""
        try:
            with self._file.open("rb") as opened:
                opened.seek(len(self._starts) * _RECORD.size)
                new = opened.read()
        except FileNotFoundError:  # a log of before, or its retention ended
            return
        for start, moment in _RECORD.iter_unpack(new[: len(new) // _RECORD.size * _RECORD.size]):
            self._starts.append(start)
            self._moments.append(moment)

    def at(self, byte: int) -> int | None:
        """When the log had this byte, in milliseconds since 1970."""
        found = bisect_right(self._starts, byte) - 1
        return self._moments[found] if found >= 0 else None

    def within(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """From `start` on each byte before `stop` at which another time begins, with that time."""
        if (first := self.at(start)) is not None:
            yield start, first
        for number in range(bisect_right(self._starts, start), len(self._starts)):
            if self._starts[number] >= stop:
                return
            yield self._starts[number], self._moments[number]


def written(file: Path, byte: int, moment: int) -> None:
    """Keep that the log has bytes from `byte` on at that `moment`."""
    with file.open("ab") as opened:
        opened.write(_RECORD.pack(byte, moment))


def mended(file: Path) -> None:
    """Cut off what an earlier process was killed at writing."""
    if file.exists() and (torn := file.stat().st_size % _RECORD.size):
        os.truncate(file, file.stat().st_size - torn)
