"""What containers printed, kept for a while: for each environment a stream of lines.

It is in files that follow each other, each named by where it begins in the stream, in bytes; a line of one is
JSON. So a place in the stream is one number, which stays true whatever is forgotten in front. Nothing is
remembered but in the files, and whoever writes has a lock on them: several bots may share the folder.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from config.fields import size_bytes
from config.settings import Settings

BUDGET = 64 * 1024 * 1024  # bytes of one environment
_FILES = 16  # that the budget is spread over: the oldest one goes as a whole
_LEAST = 64 * 1024  # bytes of a file
_BLOCK = 256 * 1024  # bytes that are read at once
_REACHED = "reached.json"
_LOCK = "lock"


@dataclass(frozen=True)
class Said:
    """A line, as it is kept."""

    at: int  # nanoseconds since 1970
    text: str
    process: str
    name: str  # of the container
    container: str  # its id
    release: int | None = None
    note: bool = False


@dataclass(frozen=True)
class Kept:
    """A line with the place in the stream where it ends: whoever has it goes on from there."""

    place: int
    said: Said


@dataclass(frozen=True)
class Wanted:
    """Which lines: all where nothing is said."""

    process: str = ""
    since: int = 0  # nanoseconds since 1970
    search: str = ""  # in the line's text, whatever its case

    def has(self, said: Said) -> bool:
        return (
            (not self.process or said.process == self.process)
            and said.at >= self.since
            and (not self.search or self.search.casefold() in said.text.casefold())
        )


EVERYTHING = Wanted()


@dataclass(frozen=True)
class Skipped:
    """Where whoever is too far behind goes on, and what lies between (lines that are there still)."""

    place: int
    lines: int = 0
    size: int = 0  # bytes


class Outputs:
    """Below `folder`, `budget` bytes for each environment."""

    def __init__(self, folder: Path, budget: int = BUDGET) -> None:
        self._folder = folder
        self._budget = budget
        self._followers: dict[int, set[asyncio.Event]] = {}

    @classmethod
    def of(cls, settings: Settings) -> Outputs:
        return cls(settings.data_dir / "outputs", size_bytes(settings.output_budget))

    async def append(self, environment: int, said: Sequence[Said]) -> dict[str, int]:
        """Add what is not there yet, in the order of its times; how far each container's lines reach now."""
        reached = await asyncio.to_thread(_append, self._place(environment), said, self._budget)
        for grown in self._followers.get(environment, ()) if said else ():
            grown.set()
        return reached

    async def reached(self, environment: int) -> Mapping[str, int]:
        """How far each container's lines reach."""
        return await self.append(environment, ())

    async def read(self, environment: int, start: int, wanted: Wanted = EVERYTHING) -> tuple[list[Kept], int]:
        """The next lines from that place in the stream on, and the place that was read to.

        That is the same place at the stream's end. Instead of one that is forgotten the stream's beginning
        is meant.
        """
        return await asyncio.to_thread(_read, self._place(environment), start, wanted)

    async def tail(self, environment: int, lines: int, wanted: Wanted = EVERYTHING) -> list[Kept]:
        """The last so many lines that are wanted."""
        return await asyncio.to_thread(_tail, self._place(environment), lines, wanted)

    async def end(self, environment: int) -> int:
        """Where the stream ends now."""
        return await asyncio.to_thread(_end, self._place(environment))

    async def ends(self) -> dict[int, int]:
        """Where each environment's stream ends now."""
        return await asyncio.to_thread(_ends, self._folder)

    async def skip(self, environment: int, start: int, most: int) -> Skipped:
        """From that place on to where `most` bytes, or a little less, are left."""
        return await asyncio.to_thread(_skip, self._place(environment), start, most)

    @contextmanager
    def following(self, environment: int) -> Iterator[asyncio.Event]:
        """An event that is set when its stream has grown, by this bot; whoever waits on it clears it."""
        grown = asyncio.Event()
        self._followers.setdefault(environment, set()).add(grown)
        try:
            yield grown
        finally:
            self._followers[environment].discard(grown)
            if not self._followers[environment]:
                del self._followers[environment]

    async def keep_only(self, environments: Collection[int], days: float) -> None:
        """Forget all others, and files whose last line is older than so many days."""
        await asyncio.to_thread(_keep_only, self._folder, set(environments), time.time() - days * 86_400)

    def _place(self, environment: int) -> Path:
        return self._folder / str(environment)


def _append(place: Path, said: Sequence[Said], budget: int) -> dict[str, int]:
    if not said and not place.exists():
        return {}
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # what visitors do may be in it
    place.mkdir(exist_ok=True)
    with _alone(place):
        reached, at = _known(place)
        new = sorted((one for one in said if one.at > reached.get(one.container, 0)), key=lambda one: one.at)
        if not new:
            return reached
        files = _files(place)
        if not files or files[-1].stat().st_size >= max(_LEAST, budget // _FILES):
            files.append(place / f"{at:020}.jsonl")
        data = b"".join(
            json.dumps(asdict(one), ensure_ascii=False).encode(errors="replace") + b"\n" for one in new
        )
        with files[-1].open("ab") as opened:
            opened.write(data)
        reached |= {one.container: one.at for one in new}
        _note(place, reached, at + len(data))
        _shorten(files, budget)
        return reached


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    with (place / _LOCK).open("w") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield


def _known(place: Path) -> tuple[dict[str, int], int]:
    """How far each container is, and where the stream ends. A writer may have been killed anywhere."""
    reached, noted = {}, 0
    with suppress(FileNotFoundError, ValueError):
        known = json.loads((place / _REACHED).read_text())
        reached, noted = dict(known["reached"]), int(known["end"])
    if (end := _end(place)) != noted:
        end = _mend(place)
    if noted < end:  # it was killed before it noted what it had written
        for kept in _lines(place, noted):
            reached[kept.said.container] = max(kept.said.at, reached.get(kept.said.container, 0))
    return reached, end


def _mend(place: Path) -> int:
    """Cut off a line that was not finished; where the stream ends."""
    files = _files(place)
    if not files:
        return 0
    data = files[-1].read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(files[-1], whole)
    return int(files[-1].stem) + whole


def _note(place: Path, reached: Mapping[str, int], end: int) -> None:
    latest = sorted(reached.items(), key=lambda one: one[1])[-1000:]
    new = place / f"{_REACHED}.new"
    new.write_text(json.dumps({"reached": dict(latest), "end": end}))
    new.replace(place / _REACHED)


def _shorten(files: Sequence[Path], budget: int) -> None:
    sizes = [file.stat().st_size for file in files]
    whole = sum(sizes)
    for file, size in zip(files[:-1], sizes, strict=False):
        if whole <= budget:
            return
        file.unlink()
        whole -= size


def _read(place: Path, start: int, wanted: Wanted) -> tuple[list[Kept], int]:
    found: list[Kept] = []
    end_now = _end(place)  # what is written from now on is read the next time
    if start > end_now:  # of a stream that was lost, after which another one began
        start = 0
    files = _files(place)
    later = [*(int(file.stem) for file in files[1:]), None]
    for file, end in zip(files, later, strict=False):  # there may be no file
        if end is not None and (end <= start or _older(file, wanted)):
            continue
        begin = max(start, int(file.stem))
        data = _block(file, begin - int(file.stem))
        if not data:
            continue
        found.extend(one for one in _kept(data, begin) if wanted.has(one.said))
        return found, begin + len(data)
    return found, end_now


def _ends(folder: Path) -> dict[int, int]:
    return {int(place.name): _end(place) for place in folder.glob("*") if place.name.isdecimal()}


def _skip(place: Path, start: int, most: int) -> Skipped:
    end, files = _end(place), _files(place)
    if start > end or not files:  # the stream is another one, or there is none
        return Skipped(start)
    kept = max(start, int(files[0].stem))
    target, lines = max(kept, end - most), 0
    while kept < target:
        found, reached = _read(place, kept, EVERYTHING)
        left = [one.place for one in found if one.place <= target]
        lines += len(left)
        if reached == kept or len(left) < len(found):
            kept = left[-1] if left else kept
            break
        kept = reached
    if kept < target:  # the line that the budget ends in
        found, reached = _read(place, kept, EVERYTHING)
        kept, lines = (found[0].place, lines + 1) if found else (reached, lines)
    return Skipped(kept, lines, kept - start)


def _older(file: Path, wanted: Wanted) -> bool:
    """Whether all of it was there before what is wanted was printed."""
    with suppress(FileNotFoundError):
        return file.stat().st_mtime_ns < wanted.since
    return True  # it was forgotten meanwhile


def _block(file: Path, start: int) -> bytes:
    """Whole lines from that byte on; at least one, if there is one."""
    with suppress(FileNotFoundError), file.open("rb") as opened:  # it may be forgotten meanwhile
        opened.seek(start)
        data = opened.read(_BLOCK)
        while data and b"\n" not in data and (more := opened.read(_BLOCK)):
            data += more
        return data[: data.rfind(b"\n") + 1]
    return b""


def _kept(data: bytes, begin: int) -> Iterator[Kept]:
    at = begin
    for line in data.splitlines(keepends=True):
        at += len(line)
        with suppress(ValueError, TypeError):
            yield Kept(at, Said(**json.loads(line)))


def _lines(place: Path, start: int) -> Iterator[Kept]:
    """Everything from that place on."""
    while True:
        found, reached = _read(place, start, EVERYTHING)
        yield from found
        if reached == start:
            return
        start = reached


def _tail(place: Path, lines: int, wanted: Wanted) -> list[Kept]:
    found: list[Kept] = []
    for file in reversed(_files(place)):
        if _older(file, wanted) or len(found) >= lines:
            break
        with suppress(FileNotFoundError):
            for data, begin in _backwards(file):
                found = [*(one for one in _kept(data, begin) if wanted.has(one.said)), *found]
                if len(found) >= lines:
                    break
    return found[-lines:] if lines else []


def _backwards(file: Path) -> Iterator[tuple[bytes, int]]:
    """Whole lines from the end, a block at a time, each with the place in the stream where it begins."""
    with file.open("rb") as opened:
        stop = opened.seek(0, os.SEEK_END)
        while stop > 0:
            start = max(0, stop - _BLOCK)
            opened.seek(start)
            data = opened.read(stop - start)
            first = data.find(b"\n") + 1 if start else 0
            last = data.rfind(b"\n") + 1
            yield data[first:last], int(file.stem) + start + first
            if first in (0, len(data)):  # the file begins here, or a line is longer than any that we write
                return
            stop = start + first


def _end(place: Path) -> int:
    files = _files(place)
    with suppress(FileNotFoundError):  # it may all be forgotten meanwhile
        return int(files[-1].stem) + files[-1].stat().st_size if files else 0
    return 0


def _files(place: Path) -> list[Path]:
    return sorted(place.glob("*.jsonl"))


def _keep_only(folder: Path, environments: Collection[int], before: float) -> None:
    for place in folder.glob("*"):
        if not place.name.isdecimal() or int(place.name) not in environments:
            shutil.rmtree(place, ignore_errors=True)
            continue
        with _alone(place):
            # The last one stays, and with it where the stream ends.
            for file in _files(place)[:-1]:
                if file.stat().st_mtime < before:
                    file.unlink()
