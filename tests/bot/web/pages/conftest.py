"""The pages of a bot, over HTTP, with a store to look at."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import httpx2
import pytest
from playwright.async_api import Browser

from bot.github.forge import GitHub
from bot.intake.receiver import Receiver
from bot.store.database import Store
from bot.store.logs import FileLogs
from bot.web.access import Access
from bot.web.api import Api
from bot.web.api.events import Events
from bot.web.app import application
from bot.web.metrics import Metrics
from bot.web.orders import Orders
from bot.web.pages.live import Live
from bot.web.pages.site import Site
from bot.web.places import Places
from bot.web.running import RunningApi
from bot.web.sessions import Sessions
from bot.web.visitors import Visitors
from config.settings import Settings
from tests.bot.intake.test_receiver import TOKEN
from tests.browser import chromium
from tests.github.server import listen, serving
from workers.contract.memory import MemoryQueue

HTML = {"accept": "text/html"}


@dataclass
class Scene:
    """A bot's pages, seen from outside."""

    url: str
    store: Store
    logs: FileLogs
    sessions: Sessions
    live: Live
    http: httpx2.AsyncClient  # of somebody who is not signed in, until `sign_in`

    async def sign_in(self) -> None:
        answer = await self.post("/sign-in", token=TOKEN)
        assert answer.status_code == 303, answer.text

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        return await self.http.get(path, headers={**HTML, **headers})

    async def post(self, path: str, origin: str | None = None, **fields: str) -> httpx2.Response:
        """What a form of a page of ours sends, or of another `origin`."""
        sent = {**HTML, "origin": self.url if origin is None else origin}
        return await self.http.post(
            path, data=fields, headers={name: value for name, value in sent.items() if value}
        )

    async def csrf(self) -> str:
        """What a page tells whoever is signed in."""
        found = re.search(r'name="csrf" value="(\w+)"', (await self.get("/")).text)
        assert found
        return found[1]


@contextlib.asynccontextmanager
async def scene_of(store: Store, folder: Path, settings: Settings) -> AsyncIterator[Scene]:
    """The web application as bot/main.py puts it together, on a port of its own."""
    logs = FileLogs(folder / "logs")
    sessions = Sessions(store, TOKEN, settings.public_url)
    site = Site.of(store, logs, settings, sessions, Orders(store, cast(GitHub, None), settings))
    queue = MemoryQueue()
    web = application(
        Receiver(store, (b"secret",)),
        [
            Api(store, logs),
            Events(store, site.live),
            Places(store, settings.github_url),
            RunningApi(site.runtime),
        ],
        store,
        queue,
        Visitors(store, settings, lambda _environment: asyncio.sleep(0), b"key"),
        Access.of(settings, TOKEN, sessions),
        Metrics(store, queue, 60),
        site,
    )
    with contextlib.closing(listen("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with (
            serving(web, listener),
            httpx2.AsyncClient(base_url=url, timeout=60) as http,
            site.live.open(),
        ):
            yield Scene(url, store, logs, sessions, site.live, http)


@pytest.fixture
async def scene(store: Store, tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene_of(store, tmp_path, Settings(data_dir=tmp_path)) as here:
        yield here


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium.browser() as opened:
        yield opened
