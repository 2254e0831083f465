"""Gives each worker that the bot started the state that it has come to; finds machines that nobody knows."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.fleet import roster
from bot.fleet.scaling import facts, rows
from bot.fleet.scaling.fates import Fate, Patience, Seen, fate
from bot.fleet.scaling.provider import Found, Listed, Machine
from bot.jobs import ending
from bot.store.database import Store
from bot.store.tables import Enrolled, ScaledRow, ScaledState, WorkerRow
from config.pools import Pool
from workers.contract.messages import now
from workers.contract.queue import BotQueue

_LONGEST_BEAT = 10.0  # seconds between two heartbeats, at most: workers/heartbeat.py

log = structlog.get_logger()


@dataclass(frozen=True)
class Settled:
    """Who is to come, which machines are to go, which have to stay, and what went wrong, for people."""

    newcomers: Sequence[ScaledRow] = ()
    doomed: Sequence[Listed] = ()
    kept: Sequence[Listed] = ()
    troubles: Sequence[str] = ()


@dataclass
class Settling:
    """Of one pool, whose workers are at `places`."""

    store: Store
    queue: BotQueue
    lease: float
    pool: Pool
    places: Collection[str]
    _strange: set[str] = field(default_factory=set)  # machines that nobody knew when we looked last

    async def settle(self, found: Found) -> Settled:
        machines = {machine.worker: machine for machine in found.machines if machine.worker}
        newcomers: list[ScaledRow] = []
        doomed: list[Listed] = []
        kept: list[Listed] = []
        troubles: list[str] = []
        at = now()
        async with self.store.reading() as session:
            scaled = await rows.of(session, self.pool.name)
            heard = await _heard(session, [row.name for row in scaled])
            serving = await facts.bound(session, heard)
        for row in scaled:
            machine, after = machines.get(row.name), row.state
            seen = self._seen(row, machine, heard.get(row.name), found, row.name in serving, at)
            match fate(seen, self._patience):
                case Fate.BRING:
                    newcomers.append(row)
                case Fate.ARRIVED:
                    after = ScaledState.WORKING
                    await rows.move(self.store, row, after, "it was heard")
                    await rows.recovered(self.store, self.pool.name)
                case Fate.FAILED:
                    why, after = _why(machine), ScaledState.ENDING
                    await rows.move(self.store, row, after, why)
                    troubles.append(f"worker {row.name}: {why}")
                case Fate.DRAIN:
                    after = ScaledState.DRAINING
                    await rows.move(self.store, row, after, "its provider ends it")
                case Fate.GONE:
                    after = ScaledState.ENDING
                    await rows.move(self.store, row, after, "it has gone")
                case Fate.END if machine is not None:
                    doomed.append(machine)
                case Fate.FORGET:
                    await self._forget(row)
                case _:
                    pass
            if machine is not None and after in (ScaledState.WORKING, ScaledState.DRAINING):
                kept.append(machine)
        doomed += await self._orphans(found, {row.name for row in scaled}, len(newcomers))
        return Settled(newcomers, doomed, kept, troubles)

    @property
    def _patience(self) -> Patience:
        return Patience(
            boot=self.pool.boot,
            missing=2.5 * min(self.lease / 6, _LONGEST_BEAT),
            lost=max(2 * self.lease, self.pool.boot),
            heard=max(0.0, time.monotonic() - self.queue.connected_at),
        )

    def _seen(
        self,
        row: ScaledRow,
        machine: Listed | None,
        worker: WorkerRow | None,
        found: Found,
        serving: bool,
        at: datetime,
    ) -> Seen:
        """What was heard of a worker of this name before this one was started is no word of it."""
        ours = worker if worker is not None and worker.started_at > row.created_at else None
        return Seen(
            row.state,
            (at - row.changed_at).total_seconds(),
            machine.state if machine else None,
            answers=row.place in found.places,
            known=row.place in self.places,
            silent=(at - ours.seen_at).total_seconds() if ours else None,
            stopped=ours is not None and ours.stopped,
            serving=serving,
        )

    async def _forget(self, row: ScaledRow) -> None:
        """Nothing of it is left: its name is free, and nobody is believed under it any more."""
        for job in await rows.forget(self.store, row):
            await ending.lost(self.store, job, f"worker {row.name} is gone")
        log.info("worker gone", worker=row.name, pool=self.pool.name)

    async def _orphans(self, found: Found, known: set[str], newcomers: int) -> list[Listed]:
        """Machines of ours that no row knows, twice in a row: those that work are ours again, others go.

        Those that were told nothing yet are the newcomers' first.
        """
        here = [machine for machine in found.machines if machine.state is not Machine.LEAVING]
        nobodys = [machine for machine in here if not machine.worker]
        strange = [machine for machine in here if machine.worker and machine.worker not in known]
        strange += nobodys[newcomers:]
        again = [machine for machine in strange if machine.id in self._strange]
        self._strange = {machine.id for machine in strange}
        doomed = []
        for machine in again:
            told = {"machine": machine.id, "place": machine.place, "worker": machine.worker}
            if machine.worker and await self._adopted(machine):
                log.warning("a worker that nobody knew is known again", **told)
            else:
                log.warning("an orphan is ended", **told)
                doomed.append(machine)
        return doomed

    async def _adopted(self, machine: Listed) -> bool:
        """Whether it is believed, and heard: then it may have jobs."""
        async with self.store.transaction() as session:
            enrolled = await session.get(Enrolled, machine.worker)
            worker = await session.get(WorkerRow, machine.worker)
            if worker is None or worker.stopped or roster.gone(worker, now(), self.lease):
                return False
            if enrolled is None or enrolled.revoked_at or enrolled.pool != self.pool.name:
                return False
            row = ScaledRow(name=machine.worker, pool=self.pool.name, place=machine.place, reason="found")
            row.state, row.created_at = ScaledState.WORKING, enrolled.created_at
            session.add(row)
        return True


def _why(machine: Listed | None) -> str:
    if machine is None or machine.state is not Machine.ENDED:
        return "it was not heard in time"
    return f"it ended before it was heard: {machine.problem}"


async def _heard(session: AsyncSession, names: Sequence[str]) -> dict[str, WorkerRow]:
    known = (await session.exec(select(WorkerRow).where(col(WorkerRow.name).in_(names)))).all()
    return {row.name: row for row in known}
