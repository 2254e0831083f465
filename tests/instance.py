"""Blacktree's own processes as a user starts them: the console script, with settings in the environment."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import httpx2

from bot.fleet import enrolment
from bot.secrets import api_token
from bot.secrets.vault import Vault
from bot.start import main
from bot.store.database import Store
from config.sources import load
from config.trust import trusted
from tests.github import GitHub
from tests.parts.waiting import free_port
from tests.warm import Fork, cold

BLACKTREE = Path(sys.executable).parent / "blacktree"
T = TypeVar("T")


class Process:
    """One process of Blacktree's."""

    def __init__(self, command: str, env: Mapping[str, str], log: Path, program: Path = BLACKTREE) -> None:
        self.command = command
        self._program = program
        self.log = log
        self.env = env
        self._child: asyncio.subprocess.Process | Fork | None = None

    async def start(self) -> None:
        environ = _environment(self.env)
        if self._program == BLACKTREE and not cold(environ):
            argv = [str(BLACKTREE), self.command]
            self._child = await asyncio.to_thread(Fork, main, argv, environ, self.log, self.log)
            return
        with self.log.open("ab") as output:
            self._child = await asyncio.create_subprocess_exec(
                "setpriv", "--pdeathsig", "KILL", "--", str(self._program), self.command,
                env=environ, stdout=output, stderr=output, stdin=asyncio.subprocess.DEVNULL,
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

    async def ended(self) -> int:
        """Wait until it ends by itself; returns its exit code."""
        assert self._child is not None
        async with asyncio.timeout(120):
            return await self._child.wait()

    async def _end(self, number: int) -> int:
        assert self._child is not None
        if self._child.returncode is None:
            with suppress(ProcessLookupError):  # it ended just now
                self._child.send_signal(number)
        async with asyncio.timeout(120):
            return await self._child.wait()

    async def run(self, *command: str) -> str:
        """What a command prints that is run where this process runs; it must succeed."""
        return await _printed(command, self.env)

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
            "BLACKTREE_FIREWALL": "false",  # which outlives what is killed
            **settings,
        }
        github.app.hook_url = f"{self.url}/webhooks/github"
        self.processes: list[Process] = []
        self._http = httpx2.AsyncClient(verify=trusted(), timeout=30)  # a bot may have no turn for seconds

    def turn_to(self, bot: Process) -> None:
        """Ask this one of several bots from now on."""
        self.port = int(bot.env["BLACKTREE_PORT"])
        self.url = f"http://127.0.0.1:{self.port}"

    def token(self) -> str:
        """The API's: what is set, or what a bot of ours made at its start."""
        if "BLACKTREE_API_TOKEN" in self.settings:
            return self.settings["BLACKTREE_API_TOKEN"]
        bots = (Path(one.env["BLACKTREE_DATA_DIR"]) for one in self.processes if self._is_at(one))
        made = (folder / api_token.FILE for folder in bots)
        return next(file for file in made if file.exists()).read_text().strip()

    def _is_at(self, process: Process) -> bool:
        """Whether it is a bot at `url`: another one, at another port, has a token of its own."""
        return process.command in ("serve", "up") and process.env["BLACKTREE_PORT"] == str(self.port)

    @property
    def headers(self) -> dict[str, str]:
        """What the API wants."""
        return {"authorization": f"Bearer {self.token()}"}

    async def start(
        self, command: str, name: str = "", environ: Mapping[str, str] | None = None, **settings: str
    ) -> Process:
        """Start `blacktree COMMAND` with a data folder of its own, `name` or the command's."""
        return await self.start_of(BLACKTREE, command, name, environ, **settings)

    async def start_of(
        self,
        program: Path,
        command: str,
        name: str = "",
        environ: Mapping[str, str] | None = None,
        **settings: str,
    ) -> Process:
        """The same, of another program than ours. `environ` is what else is in its environment."""
        name = name or command
        here = {"BLACKTREE_DATA_DIR": str(self.folder / name), "BLACKTREE_WORKER_NAME": name}
        upper = {f"BLACKTREE_{key.upper()}": value for key, value in settings.items()}
        if command == "worker":
            if program != BLACKTREE:  # only the bot's own version may touch its store
                await self._added_by(program, name)
            here["BLACKTREE_WORKER_CREDENTIAL"] = await self.credential(name)
        env = self.settings | here | upper | dict(environ or {})
        process = Process(command, env, self.folder / f"{name}.log", program)
        self.processes.append(process)
        await process.start()
        return process

    async def _added_by(self, program: Path, worker: str) -> None:
        file = self.folder / f"{worker}.credential"
        if not file.exists():
            added = await _printed(("workers", "add", worker), self._where_the_bot_runs(), program)
            file.write_text(added.strip())

    async def credential(self, worker: str, pool: str = "default") -> str:
        """What the bot knows a worker by, as `blacktree workers add` makes it: one for each name."""
        file = self.folder / f"{worker}.credential"
        if not file.exists():
            settings = load(self._where_the_bot_runs())
            settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            async with Store.opened(settings.store_url) as store:
                made = await enrolment.add(store, Vault(store, settings), worker, pool)
            file.write_text(made.text)
        return file.read_text()

    async def run(self, *command: str) -> str:
        """What a command prints that is run where the bot runs; it must succeed."""
        return await _printed(command, self._where_the_bot_runs())

    def _where_the_bot_runs(self) -> Mapping[str, str]:
        bots = (process.env for process in self.processes if process.command == "serve")
        return next(bots, self.settings | {"BLACKTREE_DATA_DIR": str(self.folder / "serve")})

    async def ready(self, limit: float = 120) -> None:
        """Wait until the bot answers that store and queue do."""
        await self.until(self._is_ready, "the bot to be ready", limit)

    async def _is_ready(self) -> bool:
        try:
            return (await self._http.get(f"{self.url}/readyz")).status_code == 200
        except httpx2.HTTPError:
            return False

    async def api(self, path: str) -> Any:
        answer = await self._http.get(f"{self.url}/api/v1{path}", headers=self.headers)
        answer.raise_for_status()
        return answer.json()

    async def text(self, path: str) -> str:
        return (await self._http.get(f"{self.url}/api/v1{path}", headers=self.headers)).text

    async def jobs(self) -> list[dict[str, Any]]:
        """All jobs of all runs, whole, oldest run first."""
        runs = [await self.api(f"/runs/{run['id']}") for run in reversed(await self.api("/runs"))]
        return [job for run in runs for job in run["jobs"]]

    async def job(self, kind: str, state: str, limit: float = 120) -> dict[str, Any]:
        """Wait for a job of this kind in this state."""

        async def look() -> dict[str, Any] | None:
            return next(
                (job for job in await self.jobs() if (job["kind"], job["state"]) == (kind, state)), None
            )

        return await self.until(look, f"a {kind} job that is {state}", limit)

    async def until(self, look: Callable[[], Awaitable[T | None]], what: str, limit: float = 120) -> T:
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
        await self._http.aclose()
        for process in reversed(self.processes):
            await process.stop()
        # A bot that was killed and never started again leaves its Caddy running, as it should.
        for notes in self.folder.glob("*/caddy/process.json"):
            _end_caddy(notes)


def _end_caddy(notes: Path) -> None:
    """End the process of these notes, and nobody who has got its number since."""
    pid = json.loads(notes.read_text())["pid"]
    with suppress(FileNotFoundError, ProcessLookupError):
        if str(notes.parent).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGTERM)


async def _printed(command: Sequence[str], settings: Mapping[str, str], program: Path = BLACKTREE) -> str:
    environ = _environment(settings)
    with TemporaryDirectory() as folder:
        output, errors = Path(folder) / "output", Path(folder) / "errors"
        child: asyncio.subprocess.Process | Fork
        if program == BLACKTREE:
            child = await asyncio.to_thread(Fork, main, [str(program), *command], environ, output, errors)
        else:
            with output.open("wb") as one, errors.open("wb") as other:
                child = await asyncio.create_subprocess_exec(
                    str(program), *command, env=environ, stdout=one, stderr=other
                )
        async with asyncio.timeout(120):
            code = await child.wait()
        assert code == 0, errors.read_text()
        return output.read_text()


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    """A child's: ours, but with these settings only."""
    ours = {key: value for key, value in os.environ.items() if not key.startswith("BLACKTREE_")}
    return ours | dict(settings)


@asynccontextmanager
async def instance(folder: Path, github: GitHub, **settings: str) -> AsyncIterator[Instance]:
    """An instance without processes yet; those that a test starts are stopped at its end."""
    here = Instance(folder, github, {f"BLACKTREE_{key.upper()}": value for key, value in settings.items()})
    try:
        yield here
    finally:
        await here.close()
