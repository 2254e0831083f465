"""What one build may use of the machine, and how its builder is held to it.

BuildKit runs a Dockerfile's steps in control groups below `docker/buildkit`. From Docker 23 on (BuildKit
0.10) a build by buildx may name another place (`--cgroup-parent`): here each has a group of its own. BuildKit
asks systemd for nothing, whatever Docker's driver is; but where systemd owns the groups, it makes ours. Older
engines, and the CLI's own BuildKit with any engine, have one place for all builds: it is limited to the sum
of what those that run may use, so an engine has one worker. Tried with Docker 20.10 and 26.1.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from config.fields import size_bytes
from config.settings import Settings
from workers.contract.failure import ours
from workers.engine.cgroups import Limit, Tree
from workers.process import process

log = structlog.get_logger()

SHARED = "docker/buildkit"  # of a dockerd without --cgroup-parent
_ASKING = 10.0  # seconds for systemctl
_SHARE = 0.75  # of the machine's memory, where nothing is set


@dataclass(frozen=True)
class Held:
    """How one build is held to its limit while it runs."""

    arguments: Sequence[str] = ()  # for the builder
    out_of_memory: Callable[[], bool] = lambda: False  # whether it met the limit


class Limits(Protocol):
    """Holds builds to limits, or says why it does not."""

    description: str  # for people
    enforced: bool

    def held(self, limit: Limit) -> AbstractAsyncContextManager[Held]:
        """Inside, one build runs. Nothing of it runs afterwards, where that is in our hands."""


def own_limit(settings: Settings) -> Limit:
    """The worker's limit of one build."""
    memory = size_bytes(settings.build_memory) if settings.build_memory else _machines_memory()
    return Limit(memory, settings.build_cpus or None)


def within(limit: Limit, memory: int | None, cpus: float | None) -> Limit:
    """What a build gets that asks for so much: never more than the worker's own limit."""
    return Limit(
        min((size for size in (limit.memory, memory) if size), default=None),
        min((count for count in (limit.cpus, cpus) if count), default=None),
    )


def said(limit: Limit) -> str:
    """A limit for people."""
    memory = f"{_size(limit.memory)} of memory" if limit.memory else ""
    cpus = f"{limit.cpus:g} CPUs" if limit.cpus else ""
    return " and ".join(filter(None, (memory, cpus))) or "no limit"


class NotHeld:
    """Builds use what they like."""

    enforced = False

    def __init__(self, why: str) -> None:
        self.description = f"not enforced: {why}"

    @contextlib.asynccontextmanager
    async def held(self, limit: Limit) -> AsyncIterator[Held]:  # noqa: ARG002
        yield Held()


class ByArguments:
    """The classic builder's containers have limits of their own."""

    enforced = True
    description = "on each step's container"

    @contextlib.asynccontextmanager
    async def held(self, limit: Limit) -> AsyncIterator[Held]:
        memory = [f"--memory={limit.memory}"] if limit.memory else []
        yield Held([*memory, *([f"--cpus={limit.cpus:g}"] if limit.cpus else [])])


class OneGroup:
    """All builds of an engine run in one group."""

    enforced = True
    description = "on all builds together: what those that run may use in sum"

    def __init__(self, tree: Tree, path: str) -> None:
        self._tree = tree
        self._path = path
        self._running: dict[int, Limit] = {}
        self._begun = 0

    @contextlib.asynccontextmanager
    async def held(self, limit: Limit) -> AsyncIterator[Held]:
        self._begun = number = self._begun + 1
        self._running[number] = limit
        alone = len(self._running) == 1
        try:
            await self._apply()
            with self._tree.watched(self._path) as ran_out:
                # With another build beside it one cannot tell whose process was killed.
                yield Held(out_of_memory=lambda: alone and self._begun == number and ran_out())
        finally:
            del self._running[number]
            await self._apply()

    async def _apply(self) -> None:
        try:
            await asyncio.to_thread(self._tree.make, self._path)
            await asyncio.to_thread(self._tree.limit, self._path, _sum(list(self._running.values())))
        except OSError as error:  # version 1 lowers no limit below what is in use
            log.warning("the limit of builds stays as it was", group=self._path, error=str(error))


class OwnGroups:
    """Each build has a group, which is gone with whatever runs in it when the build has ended."""

    enforced = True
    description = "on each build"

    def __init__(self, tree: Tree, prefix: str) -> None:
        self._tree = tree
        self._prefix = prefix

    @contextlib.asynccontextmanager
    async def held(self, limit: Limit) -> AsyncIterator[Held]:
        path = self._name()
        try:
            try:
                await self._make(path, limit)
            except OSError as error:
                raise ours("limits_broken", f"The worker cannot limit this build: {error}") from None
            with self._tree.watched(path) as ran_out:
                yield Held([f"--cgroup-parent=/{path}"], ran_out)
        finally:
            await self._remove(path)

    async def try_out(self) -> None:
        """Make a group and remove it. Raises OSError if this process may not."""
        path = self._name()
        try:
            await self._make(path, Limit(2**30, 1))
        finally:
            await self._remove(path)

    async def sweep(self) -> None:
        """Remove what a killed worker left."""
        for path in self._tree.named(self._prefix):
            await self._remove(path)

    def _name(self) -> str:
        return f"{self._prefix}{secrets.token_hex(4)}"

    async def _make(self, path: str, limit: Limit) -> None:
        await asyncio.to_thread(self._tree.make, path)
        await asyncio.to_thread(self._tree.limit, path, limit)

    async def _remove(self, path: str) -> None:
        if not await asyncio.to_thread(self._tree.remove, path):
            log.warning("a build's control group cannot be removed", group=path)


class OwnSlices(OwnGroups):
    """The same where systemd owns the groups."""

    def __init__(self, tree: Tree, prefix: str) -> None:
        # man 5 systemd.slice: a dash in its name would put it into another slice.
        super().__init__(tree, prefix.replace("-", "_"))

    def _name(self) -> str:
        return f"{super()._name()}.slice"

    async def _make(self, path: str, limit: Limit) -> None:
        for argv in slice_made(path, limit):
            ended = await process.run(argv, env=_path(), timeout=_ASKING)
            if ended.code != 0:
                raise OSError(f"systemd makes no slice for builds: {ended.tail.strip()}")

    async def _remove(self, path: str) -> None:
        await asyncio.to_thread(self._tree.remove, path)  # ends what runs in it
        for argv in (["systemctl", "stop", path], ["systemctl", "revert", path]):
            await process.run(argv, env=_path(), timeout=_ASKING)


def slice_made(name: str, limit: Limit) -> list[list[str]]:
    """The commands that make a slice. https://www.freedesktop.org/software/systemd/man/systemd.resource-control"""
    properties = [f"MemoryMax={limit.memory}", "MemorySwapMax=0"] if limit.memory else []
    properties += [f"CPUQuota={limit.cpus * 100:g}%"] if limit.cpus else []
    setting = [["systemctl", "--runtime", "set-property", name, *properties]] if properties else []
    return [*setting, ["systemctl", "start", name]]


async def own_groups(tree: Tree, prefix: str) -> OwnGroups:
    """Groups of our own, once one has been made for trial. Raises OSError if this process may not."""
    booted = await asyncio.to_thread(Path("/run/systemd/system").is_dir)  # man 3 sd_booted
    groups = OwnSlices(tree, prefix) if booted else OwnGroups(tree, prefix)
    await groups.sweep()
    await groups.try_out()
    return groups


async def one_group(tree: Tree, path: str = SHARED) -> OneGroup:
    """The group of all builds. Raises OSError if this process may not limit it."""
    await asyncio.to_thread(tree.make, path)
    await asyncio.to_thread(tree.check, path)
    return OneGroup(tree, path)


def _sum(limits: Sequence[Limit]) -> Limit:
    memory = [limit.memory for limit in limits]
    cpus = [limit.cpus for limit in limits]
    return Limit(
        None if None in memory else sum(filter(None, memory)) or None,
        None if None in cpus else sum(filter(None, cpus)) or None,
    )


def _size(memory: int) -> str:
    return f"{memory / 2**30:.1f} GiB" if memory >= 2**30 else f"{memory / 2**20:.0f} MiB"


def _machines_memory() -> int:
    return int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * _SHARE)


def _path() -> dict[str, str]:
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
