"""Blacktree's own processes as a user starts them: the console script, with settings in the environment."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from tests.github import GitHub
from tests.parts.waiting import free_port

BLACKTREE = Path(sys.executable).parent / "blacktree"
T = TypeVar("T")


class Process:
    """One process of Blacktree's."""

    def __init__(self, command: str, env: Mapping[str, str], log: Path) -> None:
        self.command = command
        self.log = log
        self._env = {
            key: value for key, value in os.environ.items() if not key.startswith("BLACKTREE_")
        } | dict(env)
        self._child: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self.log.open("ab") as output:
            self._child = await asyncio.create_subprocess_exec(
                "setpriv", "--pdeathsig", "KILL", "--", str(BLACKTREE), self.command,
                env=self._env, stdout=output, stderr=output, stdin=asyncio.subprocess.DEVNULL,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    async def kill(self) -> None:
        """kill -9."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """SIGTERM; returns its exit code."""
        return await self._end(signal.SIGTERM)

    async def _end(self, number: int) -> int:
        assert self._child is not None
        if self._child.returncode is None:
            self._child.send_signal(number)
        async with asyncio.timeout(60):
            return await self._child.wait()

    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""


class Instance:
    """A bot and its workers, and what can be seen of them from outside."""

    def __init__(self, folder: Path, github: GitHub, settings: Mapping[str, str]) -> None:
        self.folder = folder
        self.github = github
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        first = free_port()
        self.settings = {
            "BLACKTREE_PORT": str(self.port),
            "BLACKTREE_GITHUB_API_URL": github.api_url,
            "BLACKTREE_GITHUB_WEBHOOK_SECRET": github.app.webhook_secret,
            "BLACKTREE_GITHUB_APP_ID": str(github.app.id),
            "BLACKTREE_GITHUB_APP_PRIVATE_KEY": github.app.private_key,
            "BLACKTREE_PROXY_PORTS": f"{first}-{first + 20}",
            "BLACKTREE_DRAIN": "1",
            "BLACKTREE_SHUTDOWN": "5",
            **settings,
        }
        github.app.hook_url = f"{self.url}/webhooks/github"
        self.processes: list[Process] = []

    async def start(self, command: str, name: str = "", **settings: str) -> Process:
        """Start `blacktree COMMAND` with a data folder of its own, `name` or the command's."""
        name = name or command
        here = {"BLACKTREE_DATA_DIR": str(self.folder / name), "BLACKTREE_WORKER_NAME": name}
        upper = {f"BLACKTREE_{key.upper()}": value for key, value in settings.items()}
        process = Process(command, self.settings | here | upper, self.folder / f"{name}.log")
        self.processes.append(process)
        await process.start()
        return process

    async def ready(self) -> None:
        """Wait until the bot answers that store and queue do."""
        await self.until(self._is_ready, "the bot to be ready")

    async def _is_ready(self) -> bool:
        async with httpx2.AsyncClient() as http:
            try:
                return (await http.get(f"{self.url}/readyz")).status_code == 200
            except httpx2.HTTPError:
                return False

    async def api(self, path: str) -> Any:
        async with httpx2.AsyncClient() as http:
            answer = await http.get(f"{self.url}/api/v1{path}")
        answer.raise_for_status()
        return answer.json()

    async def text(self, path: str) -> str:
        async with httpx2.AsyncClient() as http:
            return (await http.get(f"{self.url}/api/v1{path}")).text

    async def jobs(self) -> list[dict[str, Any]]:
        """All jobs of all runs, whole, oldest run first."""
        runs = [await self.api(f"/runs/{run['id']}") for run in reversed(await self.api("/runs"))]
        return [job for run in runs for job in run["jobs"]]

    async def job(self, kind: str, state: str, limit: float = 60) -> dict[str, Any]:
        """Wait for a job of this kind in this state."""

        async def look() -> dict[str, Any] | None:
            return next(
                (job for job in await self.jobs() if (job["kind"], job["state"]) == (kind, state)), None
            )

        return await self.until(look, f"a {kind} job that is {state}", limit)

    async def until(self, look: Callable[[], Awaitable[T | None]], what: str, limit: float = 60) -> T:
        """The first true thing that `look` sees, asked ten times a second for `limit` seconds."""
        deadline = asyncio.get_running_loop().time() + limit
        while asyncio.get_running_loop().time() < deadline:
            try:
                if found := await look():
                    return found
            except httpx2.HTTPError:
                pass
            await asyncio.sleep(0.1)
        logs = "\n".join(f"=== {process.log.name}\n{process.said()[-6000:]}" for process in self.processes)
        raise AssertionError(f"waited {limit} s in vain for {what}\n{logs}")

    async def close(self) -> None:
        for process in reversed(self.processes):
            await process.stop()
        # A bot that was killed and never started again leaves its Caddy running, as it should.
        for notes in self.folder.glob("*/caddy/process.json"):
            os.kill(json.loads(notes.read_text())["pid"], signal.SIGTERM)


@asynccontextmanager
async def instance(folder: Path, github: GitHub, **settings: str) -> AsyncIterator[Instance]:
    """An instance without processes yet; those that a test starts are stopped at its end."""
    here = Instance(folder, github, {f"BLACKTREE_{key.upper()}": value for key, value in settings.items()})
    try:
        yield here
    finally:
        await here.close()
