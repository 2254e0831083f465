"""The JSON API's view of pools: what is wanted, what is there, and why."""

from __future__ import annotations

from dataclasses import dataclass

from bot.fleet.scaling import shown
from bot.fleet.scaling.shown import ShownPool
from bot.store.database import Store
from bot.web.api.operation import Call, Operation
from bot.web.rules import SOME
from config.settings import Settings
from workers.contract.messages import now


@dataclass(frozen=True)
class Pools:
    """The operation."""

    store: Store
    settings: Settings

    def operations(self) -> list[Operation]:
        return [Operation("GET", "/pools", SOME, "Each pool, by name", self.pools, list[ShownPool])]

    async def pools(self, _call: Call) -> list[ShownPool]:
        async with self.store.reading() as session:
            return await shown.pools(session, self.settings, now())
