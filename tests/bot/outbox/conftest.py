"""An outbox that works, on a real store, and somebody who is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, select

from bot.outbox.sending import Outbox
from bot.secrets.repositories import Secrets
from bot.secrets.vault import Vault
from bot.store.database import Store
from bot.store.tables import Outgoing, Repository, Webhook
from config.settings import Settings
from tests.bot.conftest import REPOSITORY, Rows
from tests.bot.outbox.receiver import Receiver


@dataclass
class House:
    """An instance, of which only the outbox runs."""

    store: Store
    folder: Path
    receiver: Receiver
    rows: Rows

    def settings(self, **more: Any) -> Settings:
        known = {"data_dir": self.folder, "secret_key": "k", "public_url": "https://bot.test"}
        return Settings(**{**known, **more})

    def secrets(self, settings: Settings) -> Secrets:
        return Secrets(self.store, Vault(self.store, settings))

    @asynccontextmanager
    async def sending(self, **more: Any) -> AsyncIterator[None]:
        """The outbox runs, until the end of the block."""
        settings = self.settings(**more)
        working = asyncio.create_task(Outbox(self.store, self.secrets(settings), settings).run())
        try:
            yield
            assert not working.done(), working
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    async def webhook(self, repository: int | None = None, events: tuple[str, ...] = ("*",)) -> str:
        """A webhook to the receiver; its secret."""
        row = Webhook(repository_id=repository, events=list(events), shown="", sealed="")
        url = f"http://127.0.0.1:{self.receiver.port}/hook?x=1"
        return await self.secrets(self.settings()).webhooks.make(row, url)

    async def channels(self, said: dict[str, Any]) -> None:
        """What the repository's file says of channels."""
        async with self.store.transaction() as session:
            (await session.get_one(Repository, REPOSITORY)).channels = said

    async def outgoing(self, state: str = "") -> list[Outgoing]:
        """All that was owed, oldest first, or what is in this state."""
        async with self.store.reading() as session:
            found = (await session.exec(select(Outgoing).order_by(col(Outgoing.id)))).all()
        return [one for one in found if state in ("", one.state.value)]

    async def hook(self) -> Webhook:
        async with self.store.reading() as session:
            return (await session.exec(select(Webhook))).one()


@pytest.fixture
async def house(store: Store, rows: Rows, tmp_path: Path) -> AsyncIterator[House]:
    async with Receiver.listening() as receiver:
        yield House(store, tmp_path, receiver, rows)
