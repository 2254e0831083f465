"""Who works where: which workers take from which line, how much they take soon, and what nobody takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.reports import rows, texts
from bot.store.database import Store
from bot.store.tables import Job, JobState, Run, WorkerRow
from workers.contract.lines import BETWEEN, Line, asked
from workers.contract.messages import now

_AT_ONCE = 100  # jobs that are told in one transaction


@dataclass(frozen=True)
class Like:
    """The workers of a pool that have the same labels and take jobs, taken together."""

    pool: str
    labels: tuple[str, ...]
    slots: int
    running: int


def line_of(job: Job, there: Collection[Like]) -> str:
    """Pure: where a job stands in its pool, by what it asks of its worker."""
    line = Line.read(job.pool)
    workers = [like.labels for like in there if like.pool == line.pool]
    labels = asked(job.spec.get("runs_on") or (), job.spec.get("platforms") or (), workers)
    return str(Line(line.pool, labels))


def room(line: str, there: Collection[Like]) -> tuple[int, int]:
    """Pure: the slots of those who take from a line, and how many of these are taken."""
    takers = [like for like in there if Line.read(line).fits(like.pool, like.labels)]
    return sum(like.slots for like in takers), sum(min(like.slots, like.running) for like in takers)


async def there(session: AsyncSession, lease: float) -> list[Like]:
    """`lease`: seconds for which a worker that was heard counts as there."""
    alike = (col(WorkerRow.pool), col(WorkerRow.labels))
    takes = _takes(lease)
    slots = select(*alike, func.sum(WorkerRow.slots)).where(*takes).group_by(*alike)
    running = (
        select(*alike, func.count())
        .join(Job, col(Job.worker) == col(WorkerRow.name))
        .where(*takes, Job.state == JobState.RUNNING)
        .group_by(*alike)
    )
    taken = Counter({(pool, labels): jobs for pool, labels, jobs in (await session.exec(running)).all()})
    return [
        Like(pool, tuple(filter(None, labels.split(BETWEEN))), count, taken[pool, labels])
        for pool, labels, count in (await session.exec(slots)).all()
    ]


async def takers(session: AsyncSession, line: str, lease: float) -> list[str]:
    """The workers that take from a line, by name."""
    found = select(WorkerRow).where(*_takes(lease), col(WorkerRow.pool) == Line.read(line).pool)
    return [
        row.name
        for row in (await session.exec(found)).all()
        if Line.read(line).fits(row.pool, row.labels.split(BETWEEN))
    ]


async def tell(store: Store, line: str, *, served: bool) -> bool:
    """Tell people what the jobs of a line wait for, or no longer do. Whether all were told."""
    sentence = texts.waits_for_labels(Line.read(line).wanted)
    other = col(Job.sentence) == sentence if served else col(Job.sentence) != sentence
    stale = select(Job).where(Job.state == JobState.QUEUED, Job.pool == line, other).limit(_AT_ONCE)
    async with store.reading() as session:
        if not (await session.exec(stale.limit(1))).all():
            return True
    async with store.transaction() as session:
        # None that somebody else moves meanwhile: what was told of its end would be overtaken by this.
        found: Sequence[Job] = (await session.exec(stale.with_for_update(skip_locked=True))).all()
        for job in found:
            job.sentence = "" if served else sentence
            await rows.job_changed(session, job, await session.get_one(Run, job.run_id), None)
    async with store.reading() as session:
        return not (await session.exec(stale.limit(1))).all()


def _takes(lease: float) -> tuple[ColumnElement[bool], ...]:
    seen = col(WorkerRow.seen_at) > now() - timedelta(seconds=lease)
    return col(WorkerRow.draining).is_(False), col(WorkerRow.stopped).is_(False), seen
