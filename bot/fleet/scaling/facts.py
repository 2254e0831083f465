"""What the store says of pools: their jobs, their workers, and how long jobs last there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import fmean

from sqlalchemy import func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.fleet import roster
from bot.fleet.scaling.decision import Demand, Past, Supply
from bot.jobs import line
from bot.store.tables import (
    Job,
    JobState,
    PoolRow,
    Release,
    ReleaseState,
    Run,
    ScaledRow,
    ScaledState,
    WorkerRow,
)
from workers.contract.lines import BETWEEN, Line, further

_RUNS = 200  # the last ones, whose jobs say how long one lasts


@dataclass(frozen=True)
class Facts:
    """One pool, now."""

    demand: Demand
    row: PoolRow | None
    scaled: Sequence[ScaledRow] = ()
    workers: dict[str, WorkerRow] = field(default_factory=dict)  # all that take jobs, ours and others'
    running: dict[str, int] = field(default_factory=dict)  # jobs of each of them
    bound: frozenset[str] = frozenset()  # workers with releases that would go with them
    undrained: Sequence[str] = ()  # ours that are to drain, and do not say so yet

    @property
    def idle(self) -> list[ScaledRow]:
        """Ours that have neither a job nor a release, the newest first."""
        return sorted(
            (
                row
                for row in self.scaled
                if row.state is ScaledState.WORKING
                and not self.running.get(row.name)
                and row.name not in self.bound
            ),
            key=lambda row: row.created_at,
            reverse=True,
        )

    @property
    def supply(self) -> Supply:
        states = [row.state for row in self.scaled]
        ours = {row.name for row in self.scaled}
        working = {row.name for row in self.scaled if row.state is ScaledState.WORKING}
        return Supply(
            working=len(working),
            coming=states.count(ScaledState.STARTING),
            leaving=states.count(ScaledState.DRAINING) + states.count(ScaledState.ENDING),
            idle=len(self.idle),
            bound=len(working & self.bound),
            others=sum(
                row.slots for name, row in self.workers.items() if name not in ours and not row.problem
            ),
        )


async def of(
    session: AsyncSession,
    pool: str,
    at: datetime,
    lease: float,
    lasts: float | None = None,
    has: Collection[str] = (),
) -> Facts:
    """What is known of a pool.

    `lasts`: seconds that a job lasts there. `has`: the labels that a worker of it may be expected to have.
    """
    known = (await session.exec(select(WorkerRow).where(WorkerRow.pool == pool))).all()
    lines = _lines(await line.known(session), pool, [row.labels.split(BETWEEN) for row in known] or [has])
    takers = roster.takers(known, at, lease)
    scaled = (
        await session.exec(select(ScaledRow).where(ScaledRow.pool == pool).order_by(ScaledRow.name))
    ).all()
    held = (
        select(Job.worker, func.count())
        .where(col(Job.pool).in_(lines), Job.state == JobState.RUNNING)
        .group_by(col(Job.worker))
    )
    running = dict((await session.exec(held)).all())
    dismissed = {row.name for row in known if row.draining}
    leaving = {row.name for row in scaled if row.state in (ScaledState.DRAINING, ScaledState.ENDING)}
    staying = sum(count for name, count in running.items() if name in takers and name not in leaving)
    return Facts(
        demand=await _demand(session, lines, at, staying, lasts),
        row=await session.get(PoolRow, pool),
        scaled=scaled,
        workers={row.name: row for row in known if row.name in takers},
        running={name: count for name, count in running.items() if name},
        bound=await bound(session, [row.name for row in scaled]),
        undrained=[
            row.name for row in scaled if row.state is ScaledState.DRAINING and row.name not in dismissed
        ],
    )


def past(row: PoolRow | None, at: datetime) -> Past:
    """Pure: what the pool went through."""
    if row is None:
        return Past()
    since = (at - row.surplus_since).total_seconds() if row.surplus_since else None
    retry = max(0.0, (row.retry_at - at).total_seconds()) if row.retry_at else 0.0
    return Past(since, row.trouble, retry, row.unseen)


def in_surplus(row: PoolRow | None) -> bool:
    """Pure: whether it is noted that there are too many."""
    return row is not None and row.surplus_since is not None


async def bound(session: AsyncSession, names: Iterable[str]) -> frozenset[str]:
    """Those of these workers that have a release which would go with them. Swarm's are nobody's own."""
    kept = (ReleaseState.LIVE, ReleaseState.STARTING)
    theirs = select(Release.worker, Release.settings).where(
        col(Release.worker).in_(list(names)), col(Release.state).in_(kept)
    )
    found = (await session.exec(theirs)).all()
    return frozenset(name for name, settings in found if name and settings.get("target") != "swarm")


def _lines(known: Sequence[str], pool: str, workers: Sequence[Collection[str]]) -> list[str]:
    """Pure: where a pool's workers take jobs, each with its labels."""
    return [pool, *sorted({one for its in workers for one in further(known, pool, its)})]


async def _demand(
    session: AsyncSession, lines: Sequence[str], at: datetime, running: int, lasts: float | None
) -> Demand:
    """What waits could begin at once, if somebody took it: what waits for other jobs is none of it."""
    may = (col(Job.pool).in_(lines), Job.state == JobState.QUEUED)
    waiting = (await session.exec(select(func.count()).select_from(Job).where(*may))).one()
    oldest = 0.0
    first = select(Job).where(*may).order_by(col(Job.created_at)).limit(1)
    if waiting and (job := (await session.exec(first)).first()):
        oldest = max(0.0, (at - await _since(session, job)).total_seconds())
    return Demand(waiting, oldest, running, lasts)


async def _since(session: AsyncSession, job: Job) -> datetime:
    """Since when a job could have begun: not before the jobs that it needs had ended."""
    since = max(job.created_at, job.not_before)
    if job.needs:
        ended = select(Job.ended_at).where(col(Job.id).in_(job.needs))
        since = max([since, *(end for end in (await session.exec(ended)).all() if end)])
    return since


async def durations(session: AsyncSession) -> dict[str, float]:
    """The seconds that a job of each pool lasted, on the average of the last runs."""
    newest = (await session.exec(select(func.max(Run.id)))).one() or 0
    ended = select(Job.pool, Job.started_at, Job.ended_at).where(
        Job.run_id > newest - _RUNS, col(Job.state).in_((JobState.SUCCEEDED, JobState.FAILED))
    )
    lasted: dict[str, list[float]] = defaultdict(list)
    for pool, began, end in (await session.exec(ended)).all():
        if began and end:
            lasted[Line.read(pool).pool].append((end - began).total_seconds())
    return {pool: fmean(seconds) for pool, seconds in lasted.items()}


async def pools(session: AsyncSession) -> set[str]:
    """Every pool that has a worker, or a job that is not over."""
    active = (JobState.WAITING, JobState.QUEUED, JobState.RUNNING)
    jobs = (await session.exec(select(Job.pool).where(col(Job.state).in_(active)).distinct())).all()
    return {
        *(Line.read(one).pool for one in jobs),
        *(await session.exec(select(WorkerRow.pool).distinct())).all(),
    }
