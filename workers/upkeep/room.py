"""Room for a job: slots look for it before they take one, and the janitor makes it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path

import structlog

from workers.engine.engine import Engine, EngineDown
from workers.upkeep import disk
from workers.upkeep.disk import Disk

log = structlog.get_logger()


class Room:
    """Whether this machine can do one more job: its engine answers, and its disks are not full."""

    def __init__(self, engine: Engine, data_dir: Path, least: int) -> None:
        self.problem = ""  # why no job is taken, for people
        self._engine = engine
        self._data_dir = data_dir
        self._root: Path | None = None
        self._least = least
        self._filled = False
        self._wanted = asyncio.Event()
        self._closed = asyncio.Event()

    async def open(self) -> bool:
        """Whether a job may be taken now. Where space is short the janitor sees to it."""
        try:
            await self._engine.about()
            short = await self.short()
        except EngineDown as error:
            return self._say(str(error))
        if not short and not self._filled:
            return self._say("")
        self._wanted.set()
        self._closed.set()
        return False

    async def closed(self) -> None:
        """Wait until somebody finds that no job may be taken."""
        await self._closed.wait()

    def filled(self) -> None:
        """A job has just run out of space: the next one waits until the janitor has made twice the usual."""
        self._filled = True
        self._wanted.set()

    async def short(self) -> list[Disk]:
        """The places that lack space for a job. Raises EngineDown."""
        return disk.short(await self.places(), self._least * (2 if self._filled else 1))

    async def places(self) -> list[Disk]:
        """Where the engine's data is, if on this machine, and where the worker's is. Raises EngineDown."""
        self._root = self._root or await self._engine.root()
        return await self._measured()

    async def free(self) -> int:
        """Bytes, where there are fewest, as far as the engine has said where its data is."""
        return min(place.free for place in await self._measured())

    async def _measured(self) -> list[Disk]:
        return await asyncio.to_thread(_measured, self._root, self._data_dir)

    async def wanted(self, timeout: float) -> None:
        """Wait until space is short, or `timeout` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._wanted.wait()

    def tried(self) -> None:
        """The janitor has been here, whatever it could do."""
        self._filled = False
        self._wanted.clear()

    async def judge(self) -> None:
        """All that may go is gone: what is short now stays so until something happens. Raises EngineDown."""
        self._say(disk.problem(await self.short(), self._least))

    def _say(self, problem: str) -> bool:
        if problem and not self.problem:
            log.warning("no job is taken", problem=problem)
        elif self.problem and not problem:
            log.info("jobs are taken again")
        self.problem = problem
        (self._closed.set if problem else self._closed.clear)()
        return not problem


def _measured(root: Path | None, data_dir: Path) -> list[Disk]:
    """An engine whose folder cannot be seen, as from a container, is taken to be on the worker's disk."""
    own = Disk(data_dir, shutil.disk_usage(data_dir).free, engine=root is None, worker=True)
    return [own] if root is None else [Disk(root, shutil.disk_usage(root).free, engine=True), own]
