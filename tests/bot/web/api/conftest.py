"""The API of a bot that has no worker, over HTTP, with a store in which something has happened."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
from starlette.applications import Starlette

from bot.github.forge import GitHub
from bot.intake.receiver import Receiver
from bot.secrets.repositories import Secrets
from bot.secrets.tokens import Tokens
from bot.secrets.vault import Vault
from bot.store.database import Store
from bot.store.logs import FileLogs
from bot.web.access import Access
from bot.web.api import Api
from bot.web.api.mounted import RATES, Operated
from bot.web.api.operation import Operation
from bot.web.api.programs import programs
from bot.web.app import application
from bot.web.metrics import Metrics
from bot.web.orders import Orders
from bot.web.pages.site import Site
from bot.web.places import Places
from bot.web.pools import Pools
from bot.web.sessions import Sessions
from bot.web.visitors import Visitors
from config.settings import Settings
from tests.bot.intake.test_receiver import TOKEN
from tests.bot.web.pages import town
from tests.bot.web.pages.town import Town
from tests.github.server import listen, serving
from workers.contract.memory import MemoryQueue


@dataclass
class Asked:
    """A bot's API, asked by whoever has the token."""

    http: httpx2.AsyncClient
    url: str
    store: Store
    town: Town
    web: Starlette
    operations: list[Operation]

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        return await self.http.get(f"/api/v1{path}", headers=headers)

    async def json(self, path: str) -> Any:
        answer = await self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path: str, key: str = "", **body: Any) -> httpx2.Response:
        headers = {"idempotency-key": key} if key else {}
        return await self.http.post(f"/api/v1{path}", json=body, headers=headers)


@pytest.fixture
async def asked(store: Store, tmp_path: Path) -> AsyncIterator[Asked]:
    async with asked_of(store, Settings(data_dir=tmp_path)) as here:
        yield here


@contextlib.asynccontextmanager
async def asked_of(
    store: Store, settings: Settings, forge: GitHub | None = None, rates: tuple[int, int] = RATES
) -> AsyncIterator[Asked]:
    """The API on a port of its own; without a `forge` nothing can be asked of GitHub."""
    logs = FileLogs(settings.data_dir / "logs")
    sessions, orders = Sessions(store, TOKEN), Orders(store, cast(GitHub, forge), settings)
    site = Site.of(store, logs, settings, sessions, orders)
    secrets, queue = Secrets(store, Vault(store, settings)), MemoryQueue()

    async def woken(_environment: int) -> None: ...

    parts: tuple[Operated, ...] = (
        Api(store, logs),
        Places(store, "https://github.com"),
        orders,
        Pools(store, settings),
        *programs(store, settings, orders, secrets, sessions, Tokens(store), site),
    )
    web = application(
        Receiver(store, (b"secret",)),
        parts,
        store,
        queue,
        Visitors(store, settings, woken, b"key"),
        Access.of(settings, TOKEN, sessions, Tokens(store)),
        Metrics(store, queue, 60),
        site,
        rates,
    )
    operations = [operation for part in parts for operation in part.operations()]
    with contextlib.closing(listen("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        bearer = {"authorization": f"Bearer {TOKEN}"}
        async with (
            serving(web, listener),
            httpx2.AsyncClient(base_url=url, timeout=60, headers=bearer) as http,
            site.live.open(),
        ):
            yield Asked(http, url, store, await town.made(store, logs), web, operations)
