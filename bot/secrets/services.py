"""The secrets of services: made once for each environment, and sealed in the service's row."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress

from sqlalchemy.exc import IntegrityError
from sqlmodel import select

from bot.secrets.vault import Vault
from bot.store.database import Store
from bot.store.tables import ServiceRow

_BYTES = 24  # of a secret: in hex it fits a URL, a shell and any file as it is


class ServiceSecrets:
    """What the `generate` of all environments' services has made."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store = store
        self._vault = vault

    async def of(self, environment_id: int, wanted: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
        """The values of each service's variables; those that are not there yet are made for good.

        Raises ConfigError where no key opens one.
        """
        return {name: await self._service(environment_id, name, names) for name, names in wanted.items()}

    async def reseal(self) -> None:
        """Seal anew, with the newest key, what an older one sealed. Raises ConfigError."""
        async with self._store.reading() as session:
            rows = (await session.exec(select(ServiceRow))).all()
        for row in rows:
            old = {
                name: value
                for name, value in row.sealed.items()
                if not await self._vault.newest(_place(row.environment_id, row.name, name), value)
            }
            anew = {name: await self._anew(row, name, value) for name, value in old.items()}
            if anew:
                await self._keep(row.environment_id, row.name, anew, over=True)

    async def _service(self, environment_id: int, name: str, names: Sequence[str]) -> dict[str, str]:
        while True:
            async with self._store.reading() as session:
                row = await session.get(ServiceRow, (environment_id, name))
            sealed = row.sealed if row else {}
            missing = [one for one in names if one not in sealed]
            if not missing:
                return {one: await self._opened(environment_id, name, one, sealed[one]) for one in names}
            made = {one: await self._made(environment_id, name, one) for one in missing}
            with suppress(IntegrityError):  # another bot was first; its values are the ones
                await self._keep(environment_id, name, made)

    async def _keep(
        self, environment_id: int, name: str, sealed: Mapping[str, str], *, over: bool = False
    ) -> None:
        """Add these to the row; what is there already stays, unless they go `over` it."""
        key = (environment_id, name)
        async with self._store.transaction() as session:
            row = await session.get(ServiceRow, key, with_for_update=True)
            if row is None:
                row = ServiceRow(environment_id=environment_id, name=name)
            row.sealed = {**row.sealed, **sealed} if over else {**sealed, **row.sealed}
            session.add(row)

    async def _made(self, environment_id: int, service: str, name: str) -> str:
        return await self._vault.sealed(_place(environment_id, service, name), secrets.token_hex(_BYTES))

    async def _opened(self, environment_id: int, service: str, name: str, sealed: str) -> str:
        return await self._vault.opened(_place(environment_id, service, name), sealed)

    async def _anew(self, row: ServiceRow, name: str, sealed: str) -> str:
        place = _place(row.environment_id, row.name, name)
        return await self._vault.sealed(place, await self._vault.opened(place, sealed))


def _place(environment_id: int, service: str, name: str) -> str:
    """What a value is sealed together with: one that was moved elsewhere does not open."""
    return f"service:{environment_id}:{service}:{name}"
