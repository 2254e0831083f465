"""Repositories' secrets: encrypted in the store, in scopes that never mix.

A scope is an environment's name, `preview` for all previews, or empty for every environment that is none.
What an environment gets is its own scope's over the empty one's; a preview gets `preview`'s and no other.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import update
from sqlmodel import col, select

from bot.secrets.services import ServiceSecrets
from bot.secrets.vault import Vault
from bot.secrets.webhooks import WebhookSecrets
from bot.store.database import Store
from bot.store.tables import Secret
from config.repository import PREVIEW
from workers.contract.messages import now


class Secrets:
    """The secrets of all repositories."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store = store
        self._vault = vault
        self.services = ServiceSecrets(store, vault)
        self.webhooks = WebhookSecrets(store, vault)

    async def set(self, repository_id: int, scope: str, name: str, value: str, by: str = "") -> None:
        """Keep a secret, over the one of that name and scope. Raises ConfigError without a key."""
        sealed = await self._vault.sealed(_place(repository_id, scope, name), value)
        told = {"value": sealed, "updated_at": now(), "set_by": by}
        row = Secret.model_validate({"repository_id": repository_id, "scope": scope, "name": name, **told})
        async with self._store.transaction() as session:
            await session.merge(row)

    async def remove(self, repository_id: int, scope: str, name: str) -> bool:
        """Forget a secret; whether there was one."""
        async with self._store.transaction() as session:
            row = await session.get(Secret, (repository_id, scope, name))
            if row is not None:
                await session.delete(row)
        return row is not None

    async def listed(self, repository_id: int) -> Sequence[Secret]:
        """A repository's secrets, their values sealed."""
        theirs = select(Secret).where(Secret.repository_id == repository_id)
        async with self._store.reading() as session:
            return (await session.exec(theirs.order_by(col(Secret.name), col(Secret.scope)))).all()

    async def trust(self, repository_id: int, name: str) -> str:
        """What only a repository's builds of that trust know. Raises ConfigError without a key."""
        return (await self._vault.keyed(f"trust {repository_id} {name}")).hex()

    async def of(
        self, repository_id: int, names: Sequence[str], environment: str, *, preview: bool
    ) -> dict[str, str]:
        """The values of `names` for an environment, without those that nobody has set.

        `environment` is empty for a build, which belongs to none. Raises ConfigError where no key opens one.
        """
        if not names:
            return {}
        scopes = [PREVIEW] if preview else ["", *([environment] if environment else [])]
        rows = await self.listed(repository_id)
        chosen = {row.name: row for scope in scopes for row in rows if row.scope == scope}
        return {name: await self._open(chosen[name]) for name in names if name in chosen}

    async def keyed(self, what: str) -> bytes:
        """32 bytes that follow from `what` and the secret key: a salt. Raises ConfigError."""
        return await self._vault.keyed(what)

    async def reseal(self) -> None:
        """Seal anew, with the newest key, what an older one sealed. Raises ConfigError."""
        async with self._store.reading() as session:
            rows = (await session.exec(select(Secret))).all()
        for row in rows:
            if not await self._vault.newest(_place(row.repository_id, row.scope, row.name), row.value):
                await self._sealed_anew(row, await self._open(row))
        await self.services.reseal()
        await self.webhooks.reseal()

    async def _sealed_anew(self, row: Secret, value: str) -> None:
        """Who set it, and when, stays: the value is the same. Another that was set meanwhile stays, too."""
        mine = (
            col(Secret.repository_id) == row.repository_id,
            col(Secret.scope) == row.scope,
            col(Secret.name) == row.name,
            col(Secret.value) == row.value,
        )
        sealed = await self._vault.sealed(_place(row.repository_id, row.scope, row.name), value)
        async with self._store.transaction() as session:
            await session.exec(update(Secret).where(*mine).values(value=sealed))

    async def _open(self, row: Secret) -> str:
        return await self._vault.opened(_place(row.repository_id, row.scope, row.name), row.value)


def _place(repository_id: int, scope: str, name: str) -> str:
    """What a value is sealed together with: one that was moved elsewhere does not open."""
    return f"secret:{repository_id}:{scope}:{name}"
