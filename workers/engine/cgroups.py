"""Control groups as files, version 1 and 2.

https://docs.kernel.org/admin-guide/cgroup-v2.html, https://docs.kernel.org/admin-guide/cgroup-v1/memory.html
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_PERIOD = 100_000  # microseconds, the kernel's own
_PATIENCE = 3.0  # seconds that killed processes get to be gone
# PROC_CGROUP_INIT_INO of include/linux/proc_ns.h: the namespace in which paths are the machine's.
_MACHINES = "cgroup:[4026531835]"


@dataclass(frozen=True)
class Limit:
    """What a group may use; None: anything."""

    memory: int | None = None  # bytes, swap included
    cpus: float | None = None


@dataclass(frozen=True)
class Tree:
    """The groups of this machine. A path is that of a group below the root, without a slash before it."""

    version: int
    mounts: Mapping[str, Path]  # controller ▸ where its groups are; "" is version 2's one place

    def make(self, path: str) -> None:
        """The group, with what limits memory and processors. Raises OSError."""
        for controller in ("memory", "cpu"):
            mount = self._mount(controller)
            if self.version == 2:
                for above in reversed(Path(path).parents):
                    (mount / above).mkdir(exist_ok=True)
                    with contextlib.suppress(OSError):  # it is on already, or will be missed below
                        (mount / above / "cgroup.subtree_control").write_text(f"+{controller}")
            (mount / path).mkdir(parents=True, exist_ok=True)

    def check(self, path: str) -> None:
        """Raises OSError if this process may not limit the group."""
        file = "memory.max" if self.version == 2 else "memory.limit_in_bytes"
        with open(self._mount("memory") / path / file, "a"):
            pass

    def limit(self, path: str, limit: Limit) -> None:
        """Let the group use no more than `limit`. Raises OSError."""
        memory, cpu = self._mount("memory") / path, self._mount("cpu") / path
        quota = max(1000, round(limit.cpus * _PERIOD)) if limit.cpus else None
        if self.version == 2:
            _write(memory / "memory.max", limit.memory or "max")
            _write(cpu / "cpu.max", f"{quota or 'max'} {_PERIOD}")
            with contextlib.suppress(OSError):  # a kernel without swap
                _write(memory / "memory.swap.max", 0 if limit.memory else "max")
            return
        with_swap = memory / "memory.memsw.limit_in_bytes"
        # It may never be below the other one: raised before it, lowered after it. A kernel may have none.
        with contextlib.suppress(OSError):
            _write(with_swap, limit.memory or -1)
        _write(memory / "memory.limit_in_bytes", limit.memory or -1)
        with contextlib.suppress(OSError):
            _write(with_swap, limit.memory or -1)
        _write(cpu / "cpu.cfs_period_us", _PERIOD)
        _write(cpu / "cpu.cfs_quota_us", quota or -1)

    @contextlib.contextmanager
    def watched(self, path: str) -> Iterator[Callable[[], bool]]:
        """Inside, the function tells whether the group, or one in it, has run out of memory since."""
        folder = self._mount("memory") / path
        if self.version == 2:
            before = _kills(folder)
            yield lambda: _kills(folder) > before
            return
        # Version 1 counts a kill in the group of the process only, which is gone by then; but it tells.
        event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        control = os.open(folder / "memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _write(folder / "cgroup.event_control", f"{event} {control}")
            yield lambda: _told(event)
        finally:
            os.close(control)
            os.close(event)

    def remove(self, path: str) -> bool:
        """Kill what runs in the group and remove it; False if something of it is still there."""
        gone = True
        for mount in set(self.mounts.values()):
            gone &= _removed(mount / path)
        return gone

    def named(self, prefix: str) -> list[str]:
        """Groups right below the root whose names start with `prefix`."""
        found = (folder for mount in self.mounts.values() for folder in mount.glob(f"{prefix}*"))
        return sorted({folder.name for folder in found})

    def _mount(self, controller: str) -> Path:
        found = self.mounts.get("" if self.version == 2 else controller)
        if found is None:
            raise OSError(errno.ENOENT, f"this machine has no cgroup controller {controller}")
        return found


def tree(version: int) -> Tree | None:
    """The machine's groups of that version, None where this process does not see them as the machine does."""
    if os.readlink("/proc/self/ns/cgroup") != _MACHINES:
        return None
    mounts = dict(_mounts(version, Path("/proc/self/mountinfo").read_text()))
    return Tree(version, mounts) if mounts else None


def _mounts(version: int, mountinfo: str) -> Iterator[tuple[str, Path]]:
    # man 5 proc: … ROOT PLACE OPTIONS … - TYPE SOURCE SUPEROPTIONS
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        root, place = left.split()[3:5]
        kind, _, options = right.split(maxsplit=2)
        if root != "/":
            continue
        if kind == "cgroup2":  # beside version 1 it limits nothing, but has the groups all the same
            yield "", Path(place)
        elif version == 1 and kind == "cgroup":
            for option in options.split(","):
                yield option, Path(place)


def _write(file: Path, value: object) -> None:
    file.write_text(f"{value}")


def _kills(folder: Path) -> int:
    lines = (folder / "memory.events").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def _told(event: int) -> bool:
    """Whether the descriptor has been told something; that stays so."""
    try:
        told = os.eventfd_read(event)
    except BlockingIOError:
        return False
    os.eventfd_write(event, told)
    return True


def _removed(folder: Path) -> bool:
    deadline = time.monotonic() + _PATIENCE
    while folder.exists():
        for group, _, _ in os.walk(folder, topdown=False):
            _kill(Path(group))
            with contextlib.suppress(OSError):  # its processes are not gone yet
                os.rmdir(group)
        if folder.exists():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
    return True


def _kill(group: Path) -> None:
    with contextlib.suppress(OSError):
        for number in (group / "cgroup.procs").read_text().split():
            if int(number) > 0:  # 0: a process of another namespace
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(number), signal.SIGKILL)
