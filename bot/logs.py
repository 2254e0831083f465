"""The log store: the log lines of every attempt."""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from collections import OrderedDict
from pathlib import Path
from typing import Protocol

_LENGTHS_KEPT = 1024
_JUST_NOW = 3600.0  # seconds: a job may have begun since somebody looked
_JOB = re.compile(r"^\d{1,18}-\d{1,6}$")


class LogStore(Protocol):
    """Keeps and gives back attempts' logs."""

    async def append(self, job: str, attempt: int, offset: int, text: str) -> None:
        """Add `text` after `offset` characters; what is there already is not added twice."""

    async def read(self, job: str, attempt: int) -> str:
        """All there is of an attempt's log."""

    async def keep_only(self, jobs: set[str]) -> None:
        """Forget the logs of all other jobs."""


class FileLogs:
    """A file for each attempt, below `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = asyncio.Lock()
        self._lengths: OrderedDict[Path, int] = OrderedDict()

    async def append(self, job: str, attempt: int, offset: int, text: str) -> None:
        file = self._file(job, attempt)
        async with self._lock:
            if file not in self._lengths:
                self._lengths[file] = await asyncio.to_thread(lambda: len(_read(file)))
            there = self._lengths.pop(file)
            new = _missing(offset, there) + text[max(0, there - offset) :]
            await asyncio.to_thread(_append, file, new)
            self._lengths[file] = there + len(new)
            while len(self._lengths) > _LENGTHS_KEPT:
                self._lengths.popitem(last=False)

    async def read(self, job: str, attempt: int) -> str:
        return await asyncio.to_thread(_read, self._file(job, attempt))

    async def keep_only(self, jobs: set[str]) -> None:
        async with self._lock:
            await asyncio.to_thread(_keep_only, self._folder, jobs)
            self._lengths.clear()

    def _file(self, job: str, attempt: int) -> Path:
        if not _JOB.fullmatch(job):
            raise ValueError(f"{job!r} is no job's id")
        return self._folder / job / f"{attempt}.log"


def _missing(offset: int, there: int) -> str:
    """What stands for characters that never came, exactly as many, so that offsets stay true."""
    gap = offset - there
    return f"[{gap} characters of the log are lost]\n".rjust(gap)[:gap] if gap > 0 else ""


def _append(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8", newline="") as opened:
        opened.write(text)


def _keep_only(folder: Path, jobs: set[str]) -> None:
    untouched = time.time() - _JUST_NOW
    for place in folder.glob("*-*"):
        if place.name not in jobs and place.stat().st_mtime < untouched:
            shutil.rmtree(place)


def _read(file: Path) -> str:
    try:
        with file.open(encoding="utf-8", errors="replace", newline="") as opened:
            return opened.read()
    except FileNotFoundError:
        return ""
