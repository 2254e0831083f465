"""The log store: the log lines of every attempt."""

from __future__ import annotations

import asyncio
import codecs
import os
import re
import shutil
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from bot.store import colours, times
from bot.store.times import Times

log = structlog.get_logger()

BUDGET = 32 * 1024 * 1024  # bytes of one log, which its worker keeps to
_ENDS_KEPT = 1024
_BLOCK = 256 * 1024  # bytes that are read at once
PART = 64 * 1024  # bytes that wait for a reader, who may be slow and one of many; see `LogStore.read`
_LONGEST_TAIL = 1024 * 1024  # bytes
_JUST_NOW = 3600.0  # seconds: a job may have begun since somebody looked
_JOB = re.compile(r"^\d{1,18}-\d{1,6}$")
_FULL = "\n[The rest of this log is not kept: it is larger than LOG_BUDGET allows]\n"


class LogStore(Protocol):
    """Keeps and gives back attempts' logs."""

    async def append(self, job: str, attempt: int, offset: int, text: str) -> None:
        """Add `text` after `offset` characters; what is there already is not added twice."""

    def read(self, job: str, attempt: int, start: int = 0) -> AsyncIterator[bytes]:
        """The UTF-8 that is there now of an attempt's log, from byte `start` on, in parts, coloured.

        Each part but the last one ends at a multiple of PART, wherever its reader began.
        """

    async def tail(self, job: str, attempt: int, lines: int) -> str:
        """The last `lines` lines of an attempt's log, plain, as far as they are no longer than a megabyte."""

    async def place(self, job: str, attempt: int, line: int) -> Place:
        """Where a line begins, the first one being 0; with a negative number of the last ones."""

    async def number(self, job: str, attempt: int, byte: int) -> int:
        """Of the line that a byte is in, the first one being 0."""

    def times(self, job: str, attempt: int) -> Times:
        """When which byte came: empty until it is refreshed."""

    def following(self, job: str) -> AbstractContextManager[asyncio.Event]:
        """An event that is set when a log of this job has grown, here; whoever waits on it clears it."""

    async def keep_only(self, jobs: set[str]) -> None:
        """Forget the logs of all other jobs."""


@dataclass(frozen=True)
class Place:
    """Where a line of a log begins."""

    line: int
    byte: int
    lines: int  # that there are


@dataclass(frozen=True)
class _End:
    characters: int
    size: int  # bytes
    moment: int = 0  # milliseconds since 1970, of the last record of times


class FileLogs:
    """A file for each attempt, below `folder`; each of little more than `budget` bytes, whatever is sent.

    Several bots may have the folder in common: one hears log lines at a time, and sees what others added.
    """

    def __init__(self, folder: Path, budget: int = BUDGET) -> None:
        self._folder = folder
        self._most = budget + budget // 8 + 1024 * 1024
        self._lock = asyncio.Lock()
        self._ends: OrderedDict[Path, _End] = OrderedDict()
        self._followers: dict[str, set[asyncio.Event]] = {}

    async def append(self, job: str, attempt: int, offset: int, text: str) -> None:
        file = self._file(job, attempt)
        async with self._lock:
            end = self._ends.pop(file, None)
            self._ends[file] = await asyncio.to_thread(_append, file, end, offset, text, self._most)
            while len(self._ends) > _ENDS_KEPT:
                self._ends.popitem(last=False)
        for grown in self._followers.get(job, ()):
            grown.set()

    @contextmanager
    def following(self, job: str) -> Iterator[asyncio.Event]:
        grown = asyncio.Event()
        self._followers.setdefault(job, set()).add(grown)
        try:
            yield grown
        finally:
            self._followers[job].discard(grown)
            if not self._followers[job]:
                del self._followers[job]

    async def read(self, job: str, attempt: int, start: int = 0) -> AsyncIterator[bytes]:
        file = self._file(job, attempt)
        size = await asyncio.to_thread(_size, file)
        while start < size and (part := await asyncio.to_thread(_part, file, start, min(size, _stop(start)))):
            yield part
            start += len(part)

    async def tail(self, job: str, attempt: int, lines: int) -> str:
        return await asyncio.to_thread(_tail, self._file(job, attempt), lines)

    async def place(self, job: str, attempt: int, line: int) -> Place:
        return await asyncio.to_thread(_place, self._file(job, attempt), line)

    async def number(self, job: str, attempt: int, byte: int) -> int:
        return await asyncio.to_thread(_newlines, self._file(job, attempt), byte)

    def times(self, job: str, attempt: int) -> Times:
        return Times(_times(self._file(job, attempt)))

    async def keep_only(self, jobs: set[str]) -> None:
        async with self._lock:
            await asyncio.to_thread(_keep_only, self._folder, jobs)
            self._ends.clear()

    def _file(self, job: str, attempt: int) -> Path:
        if not _JOB.fullmatch(job):
            raise ValueError(f"{job!r} is no job's id")
        return self._folder / job / f"{attempt}.log"


def files(folder: Path) -> list[Path]:
    """The files of every attempt whose log is below `folder`: its lines, and when they came."""
    found = [*folder.glob("*-*/*.log"), *folder.glob("*-*/*.times")]
    return [file for file in sorted(found) if _JOB.fullmatch(file.parent.name)]


def _append(file: Path, known: _End | None, offset: int, text: str, most: int) -> _End:
    end = known
    if end is None or end.size != _size(file):  # the first time, or another bot has added to it
        times.mended(_times(file))
        end = _end(file)
    if end.size >= most or offset > most:
        log.warning("log lines refused", file=file.name, job=file.parent.name, offset=offset)
        return end
    new = _missing(offset, end.characters) + text[max(0, end.characters - offset) :]
    data = new.encode(errors="replace")
    if end.size + len(data) > most:
        data = data[: most - end.size].decode(errors="ignore").encode() + _FULL.encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    moment = time.time_ns() // 1_000_000
    if not data or end.moment <= moment < end.moment + times.STEP:
        moment = end.moment
    else:  # before the text: whoever sees that knows its time, too
        times.written(_times(file), end.size, moment)
    with file.open("ab") as opened:
        opened.write(data)
    return _End(end.characters + len(new), end.size + len(data), moment)


def _times(file: Path) -> Path:
    return file.with_suffix(".times")


def _end(file: Path) -> _End:
    """Where a file ends that an earlier process may have been killed at writing, within a character even."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    characters = 0
    try:
        with file.open("rb") as opened:
            while part := opened.read(_BLOCK):
                characters += len(decoder.decode(part))
    except FileNotFoundError:
        return _End(0, 0)
    size = file.stat().st_size
    if torn := len(decoder.getstate()[0]):
        os.truncate(file, size - torn)
    return _End(characters, size - torn)


def _missing(offset: int, there: int) -> str:
    """What stands for characters that never came, exactly as many, so that offsets stay true."""
    gap = offset - there
    return f"[{gap} characters of the log are lost]\n".rjust(gap)[:gap] if gap > 0 else ""


def _stop(start: int) -> int:
    return (start // PART + 1) * PART


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _part(file: Path, start: int, stop: int) -> bytes:
    try:
        with file.open("rb") as opened:
            opened.seek(start)
            return opened.read(min(_BLOCK, stop - start))
    except FileNotFoundError:  # its retention ended meanwhile
        return b""


def _tail(file: Path, lines: int) -> str:
    start = size = _size(file)
    text = b""
    while start > 0 and len(text) < _LONGEST_TAIL and text.count(b"\n") <= lines:
        stop, start = start, max(0, start - _BLOCK)
        text = _part(file, start, stop) + text
    body = colours.plain(text[-_LONGEST_TAIL:]).decode(errors="ignore")
    end = "\n" if body.endswith("\n") else ""
    return "\n".join(body.removesuffix("\n").split("\n")[-lines:]) + end if size and lines else ""


def _newlines(file: Path, stop: int) -> int:
    count, start = 0, 0
    while part := _part(file, start, stop):
        count += part.count(b"\n")
        start += len(part)
    return count


def _place(file: Path, line: int) -> Place:
    size = _size(file)
    ended = _newlines(file, size)
    lines = ended + (size > 0 and _part(file, size - 1, size) != b"\n")
    wanted = max(0, min(lines, line if line >= 0 else lines + line))
    start, left = 0, wanted
    while left and (part := _part(file, start, size)):
        if (many := part.count(b"\n")) < left:
            left -= many
            start += len(part)
            continue
        end = -1
        for _ in range(left):
            end = part.index(b"\n", end + 1)
        start, left = start + end + 1, 0
    return Place(wanted, start if not left else size, lines)


def _keep_only(folder: Path, jobs: set[str]) -> None:
    untouched = time.time() - _JUST_NOW
    for place in folder.glob("*-*"):
        if place.name not in jobs and place.stat().st_mtime < untouched:
            shutil.rmtree(place)
