"""What there is to see of pools: what is wanted, what is there, what waits, and why."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.fleet.scaling import facts
from bot.fleet.scaling.decision import decide
from bot.store.tables import ScaledState
from config.pools import Kind, Pool
from config.settings import Settings


class Rules(BaseModel):
    """What POOLS says of a pool. Times are seconds."""

    kind: Kind
    min: int
    max: int
    slots: int
    wait: float
    cooldown: float


class ShownWorker(BaseModel):
    """A worker that the bot started."""

    name: str
    state: ScaledState
    place: str
    reason: str
    since: datetime
    running: int


class ShownPool(BaseModel):
    """One pool, as it is now."""

    name: str
    scaled: Rules | None  # nothing where nobody scales it
    wanted: int | None
    workers: int  # that take jobs, whoever started them
    slots: int  # of those
    busy: int  # slots in which a job runs
    coming: int
    draining: int
    waiting: int  # jobs that could begin now
    oldest: float  # seconds that the first of them has waited
    why: str
    started: list[ShownWorker]


async def pools(session: AsyncSession, settings: Settings, at: datetime) -> list[ShownPool]:
    """Each pool of POOLS, and each that has jobs or workers, by name."""
    known = {pool.name: pool for pool in settings.scaled}
    lasts = await facts.durations(session)
    names = sorted({*known, *await facts.pools(session)})
    found = []
    for name in names:
        pool = known.get(name)
        has = pool.has if pool else ()
        stands = await facts.of(session, name, at, settings.lease, lasts.get(name), has)
        found.append(_shown(name, pool, stands, at))
    return found


def _shown(name: str, pool: Pool | None, seen: facts.Facts, at: datetime) -> ShownPool:
    """Pure: it is decided here once more, so that what is said is of now."""
    supply = seen.supply
    decided = decide(pool, seen.demand, supply, facts.past(seen.row, at)) if pool else None
    return ShownPool(
        name=name,
        scaled=Rules.model_validate(pool, from_attributes=True) if pool else None,
        wanted=decided.wanted if decided else None,
        workers=len(seen.workers),
        slots=sum(worker.slots for worker in seen.workers.values()),
        busy=seen.demand.running,
        coming=supply.coming,
        draining=supply.leaving,
        waiting=seen.demand.waiting,
        oldest=round(seen.demand.oldest, 1),
        why=decided.reason if decided else _unscaled(len(seen.scaled)),
        started=[
            ShownWorker(
                name=row.name,
                state=row.state,
                place=row.place,
                reason=row.reason,
                since=row.changed_at,
                running=seen.running.get(row.name, 0),
            )
            for row in seen.scaled
        ],
    )


def _unscaled(started: int) -> str:
    if started:
        return (
            f"BLACKTREE_POOLS does not name it any more, but workers of it are there ({started}): name it "
            "again, with max=0, until they are gone"
        )
    return "nobody scales it: BLACKTREE_POOLS does not name it"
