"""A child process that cannot outlive the tests, and of which nothing stays after `terminate` or `kill`."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path

from tests.parts.waiting import wait_for

_LIMIT = 60.0  # seconds for a polite end
_HELPERS = 5.0  # seconds in which a program's own children follow it


@cache
def _spawner() -> ThreadPoolExecutor:
    """The one thread that starts children.

    Linux sends the parent-death signal when the starting *thread* ends; a thread of an event loop's pool
    ends with the loop, this one with the interpreter.
    """
    return ThreadPoolExecutor(1, "spawner")


class Child:
    """One running program, with all that it starts itself."""

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        log: Path,
        user: str | None = None,
    ) -> None:
        """Start `argv` in `folder`, its output appended to `log`, as `user` if one is named (needs root)."""
        become = ["--reuid", user, "--regid", user, "--init-groups"] if user else []
        command = ["setpriv", *become, "--pdeathsig", "KILL", "--", *argv]

        def spawn() -> subprocess.Popen[bytes]:
            with log.open("ab") as output:
                return subprocess.Popen(
                    command,
                    env=dict(environment),
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C is for the tests, which then stop it in order
                )

        self._process = _spawner().submit(spawn).result()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def terminate(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to end and wait; whatever is still there after a minute is killed."""
        self._end(how)

    def kill(self, patience: float = _HELPERS) -> None:
        """SIGKILL, as a crash would; returns when it and its own children are gone."""
        self._end(signal.SIGKILL, patience)

    def _end(self, how: signal.Signals, patience: float = _HELPERS) -> None:
        family = list(_descendants(self.pid))
        if self._process.poll() is None:
            self._process.send_signal(how)
        try:
            self._process.wait(_LIMIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        # Helpers see the end of their parent and follow by themselves; those that do not are ended here.
        with suppress(TimeoutError):
            wait_for(lambda: not any(_alive(one) for one in family), "its helpers end", patience)
            return
        for pid, _ in filter(_alive, family):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


_Identity = tuple[int, str]  # a process' number with its start time, since numbers are used again


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third (state) on; empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _alive(one: _Identity) -> bool:
    stat = _stat(one[0])
    return bool(stat) and stat[0] != "Z" and stat[19] == one[1]


def _descendants(pid: int) -> Iterator[_Identity]:
    children: dict[int, list[_Identity]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))):
            children.setdefault(int(stat[1]), []).append((int(entry.name), stat[19]))
    waiting = [pid]
    while waiting:
        for one in children.get(waiting.pop(), []):
            yield one
            waiting.append(one[0])
