"""The rows of scaling: each move of a worker names the state that it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import count

from sqlalchemy import delete, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.fleet.scaling import facts
from bot.fleet.scaling.decision import Decision
from bot.store.database import Store
from bot.store.tables import Enrolled, Job, JobState, PoolRow, ScaledRow, ScaledState, WorkerRow
from config.pools import Pool
from workers.contract.messages import now

_FIRST_WAIT, _LONGEST_WAIT = 5.0, 300.0  # seconds before a provider that failed is told again


async def of(session: AsyncSession, pool: str) -> Sequence[ScaledRow]:
    """A pool's, the oldest first."""
    theirs = select(ScaledRow).where(ScaledRow.pool == pool)
    return (await session.exec(theirs.order_by(col(ScaledRow.created_at), col(ScaledRow.name)))).all()


async def begin(session: AsyncSession, pool: Pool, places: Sequence[str]) -> list[ScaledRow]:
    """One more that is to come to each of these places, under names that nobody has."""
    taken = {*(await session.exec(select(ScaledRow.name))).all()}
    taken |= {*(await session.exec(select(Enrolled.name))).all()}
    names = _names(pool.name, taken)
    made = [ScaledRow(name=next(names), pool=pool.name, place=place) for place in places]
    session.add_all(made)
    return made


def _names(pool: str, taken: set[str]) -> Iterator[str]:
    """The lowest numbers first: whoever comes again finds the mirrors that were left."""
    return (name for number in count(1) if (name := f"{pool}-{number}") not in taken)


async def move(store: Store, row: ScaledRow, state: ScaledState, reason: str) -> None:
    async with store.transaction() as session:
        await moved(session, row, state, reason)


async def moved(session: AsyncSession, row: ScaledRow, state: ScaledState, reason: str) -> None:
    """Nothing where it has another state by now."""
    here = (col(ScaledRow.name) == row.name, col(ScaledRow.state) == row.state)
    await session.exec(update(ScaledRow).where(*here).values(state=state, reason=reason, changed_at=now()))


async def forget(store: Store, row: ScaledRow) -> Sequence[Job]:
    """Remove it with its credential; gives the jobs that it had when it ended."""
    async with store.transaction() as session:
        here = (col(ScaledRow.name) == row.name, col(ScaledRow.state) == ScaledState.ENDING)
        if (await session.exec(delete(ScaledRow).where(*here))).rowcount != 1:
            return ()
        await session.exec(delete(Enrolled).where(col(Enrolled.name) == row.name))
        if not await facts.bound(session, [row.name]):  # or it is known who is to have them
            await session.exec(delete(WorkerRow).where(col(WorkerRow.name) == row.name))
        held = select(Job).where(Job.worker == row.name, Job.state == JobState.RUNNING)
        return (await session.exec(held)).all()


async def decided(session: AsyncSession, pool: str, decision: Decision, at: datetime) -> None:
    """Note since when there are too many."""
    row = await session.get(PoolRow, pool) or PoolRow(name=pool)
    row.surplus_since = (row.surplus_since or at) if decision.surplus else None
    session.add(row)


async def unseen(store: Store, pool: str, why: str) -> None:
    """Its provider does not say what there is; empty: it does again."""
    async with store.transaction() as session:
        row = await session.get(PoolRow, pool) or PoolRow(name=pool)
        row.unseen = why
        session.add(row)


async def troubled(store: Store, pool: str, why: str) -> None:
    """Its provider failed: it is told again after a while, each time twice as long."""
    async with store.transaction() as session:
        row = await session.get(PoolRow, pool) or PoolRow(name=pool)
        row.failures += 1
        wait = min(_FIRST_WAIT * 2 ** min(row.failures - 1, 10), _LONGEST_WAIT)
        row.trouble, row.retry_at = why, now() + timedelta(seconds=wait)
        session.add(row)


async def recovered(store: Store, pool: str) -> None:
    async with store.transaction() as session:
        row = await session.get(PoolRow, pool)
        if row is not None:
            row.failures, row.trouble, row.retry_at = 0, "", None
