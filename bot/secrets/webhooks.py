"""What webhooks of ours are known by: each one's address and secret, sealed in its row."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from sqlmodel import select

from bot.secrets.vault import Vault
from bot.store.database import Store
from bot.store.tables import Webhook

PREFIX = "btw_"  # so that people, and programs that look for secrets in files, know one when they see it
_BYTES = 32


@dataclass(frozen=True)
class Opened:
    """Where a webhook is, and what its requests are signed with."""

    url: str = field(repr=False)
    secret: str = field(repr=False)


def shown(url: str) -> str:
    """An address without what may be secret: what follows its path."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


class WebhookSecrets:
    """Those of all webhooks."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store = store
        self._vault = vault

    async def make(self, row: Webhook, url: str) -> str:
        """Keep `row` with its address and a new secret, which nobody can tell again. Raises ConfigError."""
        secret = f"{PREFIX}{secrets.token_urlsafe(_BYTES)}"
        row.shown = shown(url)
        row.sealed = await self._vault.sealed(_place(row), json.dumps({"url": url, "secret": secret}))
        async with self._store.transaction() as session:
            session.add(row)
        return secret

    async def open(self, row: Webhook) -> Opened:
        """Raises ConfigError where no key opens it."""
        return Opened(**json.loads(await self._vault.opened(_place(row), row.sealed)))

    async def reseal(self) -> None:
        """Seal anew, with the newest key, what an older one sealed. Raises ConfigError."""
        async with self._store.reading() as session:
            rows = (await session.exec(select(Webhook))).all()
        for row in rows:
            if await self._vault.newest(_place(row), row.sealed):
                continue
            sealed = await self._vault.sealed(_place(row), await self._vault.opened(_place(row), row.sealed))
            async with self._store.transaction() as session:
                if (mine := await session.get(Webhook, row.id)) is not None:
                    mine.sealed = sealed


def _place(row: Webhook) -> str:
    """What it is sealed together with: one that was moved elsewhere does not open."""
    return f"webhook:{row.mark}"
