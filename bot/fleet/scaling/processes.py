"""Workers as child processes of the bot's. They outlive a bot that ends; the next one takes them over.

Each has a folder. Its file `alive` is locked by the process itself, by a descriptor that it got from us: so
whether it runs is known whoever started it, and a bot that is killed while it starts one leaves no doubt.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from bot.fleet.scaling.provider import Found, Listed, Machine, Newcomer, ProviderDown

_HURRY = 10.0  # seconds between SIGTERM and SIGKILL for a worker without jobs
_SAID = 300  # characters of what one said last
_START = 'echo $$ >"$0" && exec "$@"'

log = structlog.get_logger()


def command() -> list[str]:
    """Which `blacktree worker` is run. Raises ProviderDown."""
    beside = Path(sys.executable).parent / "blacktree"
    found = str(beside) if beside.exists() else shutil.which("blacktree")
    if found is None:
        raise ProviderDown("there is no program blacktree on this machine: pip install 'blacktree[worker]'")
    return [found, "worker"]


class Processes:
    """Those of one pool, in `folder`; `argv` is run for each, this machine's worker if empty."""

    every = 2.0

    def __init__(self, folder: Path, host: str, environ: Mapping[str, str], argv: Sequence[str] = ()) -> None:
        self._folder = folder
        self._environ = {name: value for name, value in environ.items() if not name.startswith("BLACKTREE_")}
        self._argv = argv
        self._children: list[subprocess.Popen[bytes]] = []
        self._told: dict[str, float] = {}  # when one was told to end
        self.places = (f"processes:{host}",)

    async def list(self) -> Found:
        return Found(await asyncio.to_thread(self._list), frozenset(self.places))

    async def bring(self, newcomers: Sequence[Newcomer]) -> None:
        for one in newcomers:
            home = self._folder / one.name
            settings = await one.settings({"data_dir": str(home / "data")})
            try:
                await asyncio.to_thread(self._start, home, settings)
            except OSError as error:
                raise ProviderDown(f"a process cannot be started: {error}") from None
            log.info("worker process started", worker=one.name)

    async def end(self, machine: Listed) -> None:
        await asyncio.to_thread(self._end, machine)

    async def protect(self, machines: Collection[Listed]) -> None:
        """Nobody else ends them."""

    def _list(self) -> tuple[Listed, ...]:
        self._children = [child for child in self._children if child.poll() is None]
        homes = sorted(self._folder.iterdir()) if self._folder.is_dir() else []
        return tuple(found for home in homes if (found := self._look(home)) is not None)

    def _look(self, home: Path) -> Listed | None:
        pid = _pid(home)
        if pid is None:
            return None
        if _locked(home):
            return Listed(str(pid), home.name, self.places[0])
        return Listed(str(pid), home.name, self.places[0], Machine.ENDED, _last_words(home / "log"))

    def _start(self, home: Path, settings: str) -> None:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        argv = self._argv or command()
        descriptor = os.open(home / "alive", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _write(home / "worker.toml", settings)
            self._told.pop(home.name, None)
            with (home / "log").open("wb") as output:
                child = subprocess.Popen(
                    ["/bin/sh", "-c", _START, str(home / "alive"), *argv],
                    env={**self._environ, "BLACKTREE_CONFIG": str(home / "worker.toml")},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=(descriptor,),
                    start_new_session=True,
                )
            self._children.append(child)
        finally:
            os.close(descriptor)

    def _end(self, machine: Listed) -> None:
        """SIGTERM, and later SIGKILL; what is left of one that is gone is removed, but for its mirrors."""
        home = self._folder / machine.worker
        if _locked(home):
            began = self._told.setdefault(machine.worker, time.monotonic())
            hurried = time.monotonic() - began > _HURRY
            _signal(home, signal.SIGKILL if hurried else signal.SIGTERM)
            return
        for name in ("worker.toml", "alive"):  # `alive` last: until then it is listed
            (home / name).unlink(missing_ok=True)
        self._told.pop(machine.worker, None)


def _pid(home: Path) -> int | None:
    """0 where it has not said it yet; None where nobody was started."""
    try:
        return int((home / "alive").read_text() or 0)
    except (OSError, ValueError):
        return None


def _locked(home: Path) -> bool:
    """Whether its process runs."""
    try:
        descriptor = os.open(home / "alive", os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _signal(home: Path, number: signal.Signals) -> None:
    """To the process that has the lock, and to no other that has its number by now."""
    pid = _pid(home)
    if not pid:
        return
    with suppress(ProcessLookupError):
        process = os.pidfd_open(pid)
        try:
            if _locked(home):
                signal.pidfd_send_signal(process, number)
        finally:
            os.close(process)


def _last_words(file: Path) -> str:
    try:
        lines = file.read_text(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1][-_SAID:] if lines else ""


def _write(file: Path, text: str) -> None:
    """For its owner alone, from the first byte on."""
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as output:
        output.write(text)
