"""`blacktree up` as a child process, and its JSON API."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx2

from tests.demo.texts import RunSeen
from tests.demo.waiting import DemoFailed, until
from tests.github import GitHub
from tests.parts.waiting import free_port, neighbours

_BLACKTREE = Path(sys.executable).parent / "blacktree"
_START = 120  # seconds until it is ready
_STOP = 60  # seconds to end after SIGTERM
_PORTS = 20  # for environments


class Bot:
    """One Blacktree on its embedded defaults, which only this demo uses."""

    def __init__(self, folder: Path, name: str, http: httpx2.AsyncClient) -> None:
        self.name = name
        self.data = folder / "data"
        self.log = folder / "blacktree.log"
        self.url = f"http://127.0.0.1:{free_port()}"
        self._folder = folder
        self._http = http
        self._child: asyncio.subprocess.Process | None = None
        self._ready = False
        self._over: dict[int, RunSeen] = {}

    async def start(self, github: GitHub) -> None:
        """Start it and wait until it is ready. Raises DemoFailed."""
        if not _BLACKTREE.exists():
            raise DemoFailed(f"{_BLACKTREE} is missing: run the demo with `make demo`")
        github.app.hook_url = f"{self.url}/webhooks/github"
        with self.log.open("ab") as output:
            # A session of its own: Ctrl-C is the demo's to handle. SIGTERM if the demo itself is killed.
            self._child = await asyncio.create_subprocess_exec(
                "setpriv", "--pdeathsig", "TERM", "--", str(_BLACKTREE), "up",
                env=self._environment(github), cwd=self._folder, start_new_session=True,
                stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
        await until(self._is_ready, "Blacktree to be ready", _START)
        self._ready = True

    def _environment(self, github: GitHub) -> dict[str, str]:
        places = neighbours(_PORTS)
        settings = {
            "GITHUB_API_URL": github.api_url,
            "GITHUB_APP_ID": str(github.app.id),
            "GITHUB_APP_PRIVATE_KEY_FILE": self._secret("app.pem", github.app.private_key),
            "GITHUB_WEBHOOK_SECRET_FILE": self._secret("webhook", github.app.webhook_secret),
            "DATA_DIR": str(self.data),
            "HOST": "127.0.0.1",
            "PORT": self.url.rpartition(":")[2],
            "PROXY_BIND": "127.0.0.1",
            "PROXY_PORTS": f"{places[0]}-{places[-1]}",
            "WORKER_NAME": self.name,
            "DRAIN": "3",
            "SHUTDOWN": "2",
            "FIREWALL": "false",
        }
        return _others(os.environ) | {f"BLACKTREE_{name}": value for name, value in settings.items()}

    def _secret(self, name: str, value: str) -> str:
        path = self._folder / "secrets" / name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(value)
        return str(path)

    async def ended(self) -> None:
        """Wait until it ends by itself, which is a failure. Raises DemoFailed."""
        assert self._child is not None
        code = await self._child.wait()
        raise DemoFailed(f"`blacktree up` ended by itself with exit code {code}")

    async def stop(self) -> str | None:
        """SIGTERM, then SIGKILL to what is left; what was wrong with its end."""
        child = self._child
        if child is None:
            return None
        if child.returncode is not None:
            return f"it had ended before, with exit code {child.returncode}"
        child.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP):
                code = await child.wait()
        except TimeoutError:
            os.killpg(child.pid, signal.SIGKILL)
            await child.wait()
            return f"it had not ended {_STOP} s after SIGTERM, and was killed"
        too_early = not self._ready and code == -signal.SIGTERM  # it had not got as far as heeding signals
        return f"its exit code was {code}" if code and not too_early else None

    async def runs(self) -> list[RunSeen]:
        """The newest runs with their jobs and steps, oldest first."""
        numbers = [run["id"] for run in (await self._get("/runs?limit=10")).json()]
        return [self._over.get(number) or await self._run(number) for number in reversed(numbers)]

    async def _run(self, number: int) -> RunSeen:
        run = RunSeen.model_validate_json((await self._get(f"/runs/{number}")).content)
        if run.over:
            self._over[number] = run
        return run

    async def _get(self, path: str) -> httpx2.Response:
        answer = await self._http.get(f"{self.url}/api/v1{path}", auth=("", self.token()))
        return answer.raise_for_status()

    def token(self) -> str:
        """The API's, which it made at its start."""
        return (self.data / "api.token").read_text().strip()

    def sign_in(self) -> str:
        """The link that it logged at its first start: it signs a browser in to the pages, once."""
        found = re.findall(r"http\S+/sign-in\?code=[\w-]+", self.log.read_text(errors="replace"))
        return found[0] if found else f"{self.url}/sign-in"

    async def _is_ready(self) -> bool:
        assert self._child is not None
        if self._child.returncode is not None:
            raise DemoFailed(f"`blacktree up` did not start (exit code {self._child.returncode})")
        return (await self._http.get(f"{self.url}/readyz")).status_code == 200

    def last_lines(self, count: int) -> list[str]:
        """The end of its log."""
        if not self.log.exists():
            return []
        return self.log.read_text(errors="replace").splitlines()[-count:]


def _others(environ: Mapping[str, str]) -> dict[str, str]:
    """What is not meant for a Blacktree that runs here besides."""
    return {name: value for name, value in environ.items() if not name.startswith("BLACKTREE_")}
