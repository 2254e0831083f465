"""A bot's own process: its first words, and how it stops while people look on."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from bot.store.database import Store
from bot.store.tables import JobState
from bot.web import server
from tests.bot.conftest import Rows
from tests.bot.web.pages.test_live import stream_at, until
from tests.bot.web.test_server import SECRET, alone
from tests.github import GitHub
from tests.warm import Fork

PROMPT = 60.0  # seconds
GRACE = 45.0  # seconds, of the sixty that open requests would get of `unhurried`


def unhurried() -> None:
    """As `alone`, but what it waits for at its end is told from a busy machine."""
    server._GRACE = 60
    alone()


@dataclass
class Process:
    url: str
    said: str  # until it listened and was greeted
    running: Fork

    async def stop(self) -> float:
        """Seconds that it took to stop."""
        began = time.monotonic()
        self.running.send_signal(signal.SIGTERM)
        assert await self.running.wait() == 0
        return time.monotonic() - began


@asynccontextmanager
async def started(folder: Path, github: GitHub, until_said: str) -> AsyncIterator[Process]:
    settings = {
        "DATA_DIR": str(folder), "PORT": "0", "PROXY": "none", "GITHUB_API_URL": github.api_url,
        "GITHUB_WEBHOOK_SECRET": SECRET, "GITHUB_APP_ID": str(github.app.id),
        "GITHUB_APP_PRIVATE_KEY": github.app.private_key,
    }  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BLACKTREE_")}
    environment |= {f"BLACKTREE_{name}": value for name, value in settings.items()}
    output = folder.parent / f"said-{secrets.token_hex(3)}"
    process = Fork(unhurried, [], environment, output, output)
    try:
        url = (await process.prints(r"^http://\S+$", limit=60)).group()
        await process.prints(re.escape(until_said), limit=60)
        yield Process(url, output.read_text(), process)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()


async def test_the_first_start_names_a_link_that_signs_in_and_the_second_none(
    tmp_path: Path, github: GitHub
) -> None:
    async with started(tmp_path / "data", github, "/sign-in?code=") as bot:
        [code] = re.findall(r"/sign-in\?code=([\w-]+)", bot.said)
        async with httpx2.AsyncClient(base_url=bot.url, timeout=PROMPT) as http:
            done = await http.post("/sign-in", data={"code": code}, headers={"origin": bot.url})
            page = await http.get("/", headers={"accept": "text/html"})
        await bot.stop()
    async with started(tmp_path / "data", github, "leading") as again:
        await again.stop()

    assert (done.status_code, page.status_code) == (303, 200)
    assert "code=" not in again.said


@pytest.mark.parametrize("viewers", [1, 20])
async def test_a_bot_stops_at_once_though_people_look_on(
    tmp_path: Path, github: GitHub, viewers: int
) -> None:
    async with started(tmp_path / "data", github, "/sign-in?code=") as bot:
        token = (tmp_path / "data" / "api.token").read_text().strip()
        async with Store.opened(f"sqlite:///{tmp_path / 'data' / 'blacktree.db'}") as store:
            rows = Rows(store)
            job = await rows.job(await rows.run(), attempt=1, state=JobState.RUNNING)
        log = tmp_path / "data" / "logs" / job.id / "1.log"
        log.parent.mkdir(parents=True)
        log.write_text("one line\n")
        async with httpx2.AsyncClient(
            base_url=bot.url, headers={"authorization": f"Bearer {token}"}, timeout=PROMPT
        ) as http:
            ready = [asyncio.Event() for _ in range(viewers)]

            async def looks(seen: asyncio.Event) -> None:
                async with stream_at(http, f"/jobs/{job.id}/follow?attempt=1") as told:
                    await until(told, "log")
                    seen.set()
                    async for _ in told:
                        pass

            async with asyncio.TaskGroup() as group:
                for seen in ready:
                    group.create_task(looks(seen))
                for seen in ready:
                    await seen.wait()
                took = await bot.stop()

    assert took < GRACE
