"""Blacktree's processes as forks of one that has imported it: to import it is most of what a start costs.

What runs in them is the console script's own function, in a process of its own: it can be killed, and
nothing of it is this process's. Who needs a program of its own (another version, a library that is to be
loaded before all others) starts one.
"""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_MODULES = ["bot.start", "bot.cli", "bot.main", "workers.main", "alembic.command", "psycopg", "tests.warm"]
_ONE_AT_A_TIME = threading.Lock()


class Fork:
    """One running process, with what an asyncio subprocess offers."""

    def __init__(
        self,
        program: Callable[[], None],
        argv: Sequence[str],
        environ: Mapping[str, str],
        output: Path,
        errors: Path,
    ) -> None:
        """Start `program`, a module's function; what it prints is appended to these files."""
        self._process: ForkServerProcess = _context().Process(
            target=_run, args=(program, list(argv), dict(environ), str(output), str(errors)), daemon=True
        )
        self._output = output
        with _without_a_program():
            self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; the negative number of the signal that ended it."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    async def prints(self, pattern: str, limit: float = 90) -> re.Match[str]:
        """Wait, for `limit` seconds, until what it has printed has this."""
        async with asyncio.timeout(limit):
            while not (
                found := re.search(
                    pattern, said := self._output.read_text() if self._output.exists() else "", re.M
                )
            ):
                assert self.returncode is None, said
                await asyncio.sleep(0.02)
        return found

    async def wait(self) -> int:
        """Its exit code, once it has ended."""
        ended, loop = asyncio.Event(), asyncio.get_running_loop()
        loop.add_reader(self._process.sentinel, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self._process.sentinel)
        code = self._process.exitcode
        assert code is not None
        return code


_first: dict[str, str] = {}


def load_first(environ: Mapping[str, str]) -> None:
    """Have all forks load what this environment says before all else. To be called before the first fork."""
    with patch.dict(os.environ, environ):
        _context()
        forkserver.ensure_running()
    _first.update(environ)


def cold(environ: Mapping[str, str]) -> bool:
    """Whether this environment wants a start from nothing: it has else loaded first than forks have."""
    known = {**os.environ, **_first}
    return any(key.startswith(("LD_", "PYTHON")) and known.get(key) != environ[key] for key in environ)


@cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_MODULES)
    return context


@contextmanager
def _without_a_program() -> Iterator[None]:
    """multiprocessing would have each child import pytest, for a `main` that is not called."""
    with _ONE_AT_A_TIME:
        ours = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = ours


def _run(
    program: Callable[[], None], argv: list[str], environ: dict[str, str], output: str, errors: str
) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.environ.clear()
    os.environ.update(environ)
    time.tzset()
    for number, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, output, os.O_WRONLY | os.O_APPEND | os.O_CREAT),
        (2, errors, os.O_WRONLY | os.O_APPEND | os.O_CREAT),
    ):
        file = os.open(path, flags, 0o644)
        os.dup2(file, number)
        os.close(file)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.argv = argv
    program()
