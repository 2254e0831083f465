"""A log on its way, in bounded memory: its start goes at once, its end is kept, the middle gives way."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

MEMORY = 8 * 1024 * 1024  # bytes that may wait here, compressed
_BLOCK = 64 * 1024  # bytes, of what gives way at once
_FRESH = 1024 * 1024  # bytes that wait uncompressed, as they will go in a moment


@dataclass(frozen=True, slots=True)
class _Block:
    size: int  # bytes of text
    lines: int
    kept: bytes
    packed: bool = False

    @property
    def text(self) -> bytes:
        return zlib.decompress(self.kept) if self.packed else self.kept

    def smaller(self) -> _Block:
        return self if self.packed else _Block(self.size, self.lines, zlib.compress(self.kept, 1), True)


class _Row:
    """Text, first in, first out, in blocks that are compressed once more than `fresh` bytes wait."""

    def __init__(self, most: int, fresh: int = 0) -> None:
        self.size = 0  # bytes of text
        self.memory = 0
        self.blocks: deque[_Block] = deque()
        self._most = most
        self._fresh = fresh

    def put(self, text: bytes) -> None:
        """At most one block's worth."""
        if self.blocks and not self.blocks[-1].packed:
            last = self._out(self.blocks.pop())
            if last.size + len(text) <= self._most:
                text = last.text + text
            else:
                self.add(last.smaller() if self.memory >= self._fresh else last)
        self.add(_Block(len(text), text.count(b"\n"), text))

    def add(self, block: _Block) -> None:
        self.blocks.append(block)
        self.size += block.size
        self.memory += len(block.kept)

    def take(self) -> _Block:
        return self._out(self.blocks.popleft())

    def _out(self, block: _Block) -> _Block:
        self.size -= block.size
        self.memory -= len(block.kept)
        return block


class Bounded:
    """UTF-8 of which `budget` bytes are given: the first half as it comes, the second from the end.

    What waits for too long gives way too, in the middle. Each time a line says how much is left out.
    """

    def __init__(self, budget: int, memory: int = MEMORY) -> None:
        self._budget = budget
        self._memory = memory
        self._block = max(1, min(_BLOCK, budget // 8))
        self._live = budget // 2  # bytes that may still be given as they come
        self._head = _Row(self._block, _FRESH)
        self._tail = _Row(self._block)
        self._lines = 0
        self._lines_marked = 0
        self._lost = 0  # bytes
        self._lost_lines = 0

    @property
    def waiting(self) -> int:
        """Bytes that can be taken."""
        return self._head.size

    def put(self, text: bytes) -> None:
        self._lines += text.count(b"\n")
        for piece in _pieces(text, self._block):
            if self._tail.blocks or not self._may_go(len(piece)) or self._head.memory >= self._memory // 2:
                self._tail.put(piece)
                self._drop(self._budget // 2)
            else:
                self._live -= len(piece)
                self._head.put(piece)

    def take(self, most: int, *, last: bool = False) -> bytes:
        """The next text, about `most` bytes, empty if there is none; the end only if it is the `last`."""
        if not self._head.blocks and (told := self._move(last)):
            return told
        taken: list[bytes] = []
        while self._head.blocks and most > 0:
            block = self._head.take()
            taken.append(block.text)
            most -= block.size
        return b"".join(taken)

    def mark(self) -> bytes:
        """A sign of life for whoever follows, when what comes now can be told later only."""
        if self._head.blocks or not self._tail.blocks or self._lines == self._lines_marked:
            return b""
        self._lines_marked = self._lines
        return f"… {self._lines:,} lines so far; the last ones follow at the end …\n".encode()

    def shorten(self, most: int) -> None:
        """Keep about the last `most` bytes of what waits."""
        for block in reversed(self._head.blocks):
            self._tail.blocks.appendleft(block)
        self._tail.size += self._head.size
        self._tail.memory += self._head.memory
        self._head = _Row(self._block, _FRESH)
        self._drop(most)

    def _may_go(self, size: int) -> bool:
        """Whether so much may be given now. The first that may not ends it."""
        if size > self._live:
            self._live = 0
        return size <= self._live

    def _move(self, last: bool) -> bytes:
        """The end to where it is taken from; gives the line that tells what is left out before it."""
        tail, told = self._tail, b""
        while tail.blocks and (last or self._may_go(tail.blocks[0].size)):
            told = told or self._left_out()
            block = tail.take()
            self._live = max(0, self._live - block.size)
            self._head.add(block)
        return told

    def _drop(self, most: int) -> None:
        tail = self._tail
        while len(tail.blocks) > 1 and (tail.size > most or tail.memory > self._memory // 2):
            dropped = tail.take()
            self._lost += dropped.size
            self._lost_lines += dropped.lines

    def _left_out(self) -> bytes:
        if not self._lost:
            return b""
        much = f"{self._lost_lines:,} lines ({_megabytes(self._lost)})"
        self._lost = self._lost_lines = 0
        if self._live:
            return f"\n… {much} are lost: the bot did not take them in time …\n".encode()
        kept = f"its start and its end, {_megabytes(self._budget)}"
        return f"\n… {much} are left out: a log keeps {kept} …\n".encode()


def _megabytes(size: int) -> str:
    return f"{size / 1024**2:,.1f} MB"


def _pieces(text: bytes, most: int) -> Iterator[bytes]:
    """Pieces of at most `most` bytes that end where lines do, or at least characters."""
    start = 0
    while len(text) - start > most:
        end = text.rfind(b"\n", start, start + most) + 1
        if not end:
            end = start + most
            while end > start + 1 and 0x80 <= text[end] < 0xC0:
                end -= 1
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]
