"""What all parts have in common: a folder, a port, a start that waits until it serves, ways to break it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.parts.child import Child
from tests.parts.waiting import free_port, wait_for

_START = 300.0  # seconds, on a machine that is busy with what goes before it


class PartMissing(AssertionError):
    """The machine lacks a part; says what to run."""


class NotOurs(RuntimeError):
    """A part that the environment named is not started, stopped or killed by the tests."""


class Part(ABC):
    """One real program on a free port of 127.0.0.1 with its data in a temporary folder.

    `stop` and `kill` keep port and data, `start` brings it up again; leaving the context removes all.
    These block; inside a test use `await part.restart()` and `async with part.down():`.
    """

    name: str
    user: str | None = None  # whom it runs as, if not as the tests do
    farewell = signal.SIGTERM  # what ends it in order

    def __init__(self, external: str | None = None) -> None:
        """`external`: the address of one that runs already, which is used as it is."""
        self.external = external
        self.port = 0
        self._child: Child | None = None
        self._folder: Path | None = None

    @abstractmethod
    def prepare(self, folder: Path) -> None:
        """Make the data folder ready; once, before the first start."""

    @abstractmethod
    def command(self) -> Sequence[str]:
        """The program and its arguments; it stays in the foreground."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether it serves: asked of the part itself, not of its process."""

    def environment(self) -> Mapping[str, str]:
        return {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": str(self.folder)}

    @property
    def folder(self) -> Path:
        if self._folder is None:
            raise RuntimeError(f"{self.name} has no folder before its first start")
        return self._folder

    @property
    def log(self) -> Path:
        return self.folder / "output.log"

    @property
    def pid(self) -> int | None:
        """The number of the running program itself; None when it is down."""
        return self._child.pid if self._child and self._child.returncode is None else None

    def start(self) -> None:
        """Start it and return when it serves."""
        self._ours("start")
        if self.pid is not None:
            return
        if self._folder is None:
            self._folder = _folder(self.name)
            self.port = free_port()
            self.prepare(self._folder)
        self._child = child = Child(self.command(), self.environment(), self._folder, self.log, self.user)

        def up() -> bool:
            if child.returncode is not None:
                raise AssertionError(
                    f"{self.name} ended with {child.returncode} while it started:\n{self.tail()}"
                )
            return self.ready()

        try:
            wait_for(up, f"{self.name} starts", _START)
        except TimeoutError as error:
            child.kill()
            raise AssertionError(f"{error}; its output ends with:\n{self.tail()}") from error

    def stop(self) -> None:
        """End it in order."""
        self._ours("stop")
        if self._child:
            self._child.terminate(self.farewell)
            self._child = None

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would."""
        self._ours("kill")
        if self._child:
            self._child.kill()
            self._child = None

    async def restart(self, *, kill: bool = False) -> None:
        """Stop (or kill) it and start it again: same port, same data."""
        async with self.down(kill=kill):
            pass

    @asynccontextmanager
    async def down(self, *, kill: bool = False) -> AsyncIterator[None]:
        """It is down inside this context, and serves again after it."""
        await asyncio.to_thread(self.kill if kill else self.stop)
        try:
            yield
        finally:
            await asyncio.to_thread(self.start)

    def tail(self, lines: int = 20) -> str:
        """The end of its output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def close(self) -> None:
        """Gone, with its data."""
        if self._child:
            self._child.kill()
            self._child = None
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def __enter__(self) -> Self:
        if self.external is None:
            try:
                self.start()
            except BaseException:
                self.close()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    def _ours(self, deed: str) -> None:
        if self.external is not None:
            raise NotOurs(f"the environment named this {self.name} for the tests: they do not {deed} it")


def require(path: str | None, part: str) -> str:
    """The path of a program that was looked for, or the sentence that helps."""
    if path is None:
        raise PartMissing(f"{part} is not installed: run tests/machine/install {part}")
    return path


def _folder(name: str) -> Path:
    """A folder that other users may enter; those of tests that were killed are removed on the way."""
    for old in Path(tempfile.gettempdir()).glob(f"blacktree-{name}-*-*"):
        if not Path("/proc", old.name.split("-")[2]).exists():
            shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"blacktree-{name}-{os.getpid()}-"))
    folder.chmod(0o755)
    return folder
