"""Gives each pool the workers that it wants, by the bot that leads: look ▸ settle ▸ decide ▸ act, and again.

What is to be done is a row before it is done. A worker that goes is told to drain, ends by itself when its
jobs have ended, however long they last, and only then its machine goes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import structlog
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.fleet.scaling import facts, rows
from bot.fleet.scaling.decision import decide
from bot.fleet.scaling.newcomers import newcomer
from bot.fleet.scaling.provider import Found, Newcomer, Provider, ProviderDown
from bot.fleet.scaling.settling import Settled, Settling
from bot.secrets.vault import Vault
from bot.store.database import Store
from bot.store.tables import PoolRow, ScaledRow, ScaledState
from config.errors import ConfigError
from config.pools import Pool
from config.settings import Settings
from workers.contract.messages import Drain, now
from workers.contract.queue import BotQueue, QueueDown

_DURATIONS = 60.0  # seconds for which it is known how long jobs last
_CALL = 120.0  # seconds that a provider gets for one thing

log = structlog.get_logger()


@dataclass(frozen=True)
class Scaler:
    """What all pools share."""

    store: Store
    queue: BotQueue
    vault: Vault
    settings: Settings

    async def run(self, pools: Iterable[tuple[Pool, Provider]]) -> None:
        """Until cancelled; each pool on its own, so that a provider that hangs holds up nobody else."""
        async with asyncio.TaskGroup() as tasks:
            for pool, provider in pools:
                tasks.create_task(PoolScaler(self, pool, provider).run(), name=f"scaling {pool.name}")


class PoolScaler:
    """One pool."""

    def __init__(self, shared: Scaler, pool: Pool, provider: Provider) -> None:
        self._shared = shared
        self._store = shared.store
        self._pool = pool
        self._provider = provider
        self._settling = Settling(shared.store, shared.queue, shared.settings.lease, pool, provider.places)
        self._unseen: str | None = None
        self._lasts: tuple[float, float | None] = (-_DURATIONS, None)

    async def run(self) -> None:
        while True:
            await self.round()
            await asyncio.sleep(self._provider.every)

    async def round(self) -> None:
        """Look at the pool, and do what follows."""
        found = await self._look()
        settled = await self._settling.settle(found)
        for why in settled.troubles:
            await self._troubled(why)
        known, made = await self._decide(found)
        for name in known.undrained:
            with suppress(QueueDown):
                await self._shared.queue.order(name, Drain())
        await self._act(found, settled, [*settled.newcomers, *made], known.row)

    async def _look(self) -> Found:
        """What there is. Where nobody says so, nothing is held against anybody."""
        try:
            async with asyncio.timeout(_CALL):
                found = await self._provider.list()
        except (ProviderDown, TimeoutError) as error:
            found = Found((), frozenset(), problem=str(error) or f"no answer in {_CALL:g} s")
        if found.problem != self._unseen:
            if found.problem:
                log.warning("a provider does not answer", pool=self._pool.name, why=found.problem)
            await rows.unseen(self._store, self._pool.name, "" if found.places else found.problem)
            self._unseen = found.problem
        return found

    async def _decide(self, found: Found) -> tuple[facts.Facts, list[ScaledRow]]:
        """Note in one transaction who is to come, and who is to drain; gives what is known, and who comes."""
        at, lease = now(), self._shared.settings.lease
        async with self._store.reading() as session:
            lasts = await self._last(session)
            known = await facts.of(session, self._pool.name, at, lease, lasts, self._pool.has)
        decided = decide(self._pool, known.demand, known.supply, facts.past(known.row, at))
        actual = known.supply.working + known.supply.coming
        self._store.instruments.scaled(self._pool.name, wanted=decided.wanted, actual=actual)
        going = known.idle[: decided.drain]
        places = _places(found, known.scaled, decided.start)
        if not places and not going and decided.surplus == facts.in_surplus(known.row):
            return known, []
        async with self._store.transaction() as session:
            await rows.decided(session, self._pool.name, decided, at)
            made = await rows.begin(session, self._pool, places)
            for row in going:
                await rows.moved(session, row, ScaledState.DRAINING, "it is not wanted any more")
        if made or going:
            log.info(
                "scaling",
                pool=self._pool.name,
                start=[row.name for row in made],
                drain=[row.name for row in going],
                why=decided.reason,
            )
        return replace(known, undrained=[*known.undrained, *(row.name for row in going)]), made

    async def _last(self, session: AsyncSession) -> float | None:
        """Seconds that a job of this pool lasts, looked up now and then."""
        if time.monotonic() - self._lasts[0] >= _DURATIONS:
            self._lasts = (time.monotonic(), (await facts.durations(session)).get(self._pool.name))
        return self._lasts[1]

    async def _act(
        self, found: Found, settled: Settled, newcomers: Sequence[ScaledRow], row: PoolRow | None
    ) -> None:
        """Tell the provider; what it does not do is told again at the next round."""
        if found.places:
            await self._done(self._provider.protect(settled.kept))
        for machine in settled.doomed:
            await self._done(self._provider.end(machine))
        if facts.past(row, now()).retry <= 0 and (newcomers or found.coming):
            await self._done(self._provider.bring([self._newcomer(one) for one in newcomers]))

    def _newcomer(self, row: ScaledRow) -> Newcomer:
        return newcomer(row, self._pool, self._store, self._shared.vault, self._shared.settings)

    async def _done(self, told: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(_CALL):
                await told
        except (ProviderDown, ConfigError, TimeoutError) as error:
            await self._troubled(str(error) or f"no answer in {_CALL:g} s")

    async def _troubled(self, why: str) -> None:
        log.warning("a pool's provider failed", pool=self._pool.name, why=why)
        await rows.troubled(self._store, self._pool.name, why)


def _places(found: Found, scaled: Sequence[ScaledRow], number: int) -> list[str]:
    """Pure: where so many more go: one after another to the place with the fewest, of those that answer."""
    counts = dict.fromkeys(sorted(found.places), 0)
    for row in scaled:
        if row.place in counts:
            counts[row.place] += 1
    chosen: list[str] = []
    while counts and len(chosen) < number:
        place = min(counts, key=lambda one: counts[one])
        counts[place] += 1
        chosen.append(place)
    return chosen
