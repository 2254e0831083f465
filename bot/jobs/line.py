"""What stands in line in a pool, the next one first; a repository at its limit keeps nobody behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.jobs import turns
from bot.store.tables import Job, JobState, Repository
from workers.contract.messages import now


async def known(session: AsyncSession, *which: ColumnElement[bool]) -> Sequence[str]:
    """The lines that jobs stand or stood in: one look into an index for each, however many jobs there are."""
    first = select(func.min(Job.pool).label("pool")).where(*which).cte("pools", recursive=True)
    further = select(func.min(Job.pool)).where(*which, col(Job.pool) > first.c.pool).scalar_subquery()
    pools = first.union_all(select(further).where(first.c.pool.is_not(None)))
    return (await session.exec(select(pools.c.pool).where(pools.c.pool.is_not(None)))).all()


@dataclass
class Limits:
    """How many jobs each repository that has any has at once, and how many it may have."""

    instance: int  # of every repository; any number if 0
    used: Counter[int] = field(default_factory=Counter)
    most: dict[int, int] = field(default_factory=dict)

    @property
    def full(self) -> set[int]:
        return turns.full(self.used, self.most)

    def within(self, found: Iterable[tuple[Job, int]]) -> list[Job]:
        """Those of these jobs, each with the limit of its repository's own, that may be had besides."""
        jobs = {job.id: job for job, _ in found}
        self.most |= {job.repository_id: turns.most(self.instance, own) for job, own in found}
        may = turns.within(((job.id, job.repository_id) for job in jobs.values()), self.used, self.most)
        return [jobs[one] for one in may]


async def limits(
    session: AsyncSession, instance: int, offered: Collection[ColumnElement[bool]], pool: str
) -> Limits:
    """As they are in a pool: what runs anywhere counts, and what is `offered` here."""
    known = Limits(instance)
    busy = select(Repository.id, Repository.at_once, func.count()).join(
        Job, col(Job.repository_id) == col(Repository.id)
    )
    here = ((col(Job.state) == JobState.RUNNING,), (col(Job.pool) == pool, *offered))
    for which in here:
        grouped = busy.where(*which).group_by(col(Repository.id), col(Repository.at_once))
        for repository, own, jobs in (await session.exec(grouped)).all():
            known.used[repository] += jobs
            known.most[repository] = turns.most(instance, own)
    return known


async def next_ones(
    session: AsyncSession, pool: str, room: int, limits: Limits, line: Collection[ColumnElement[bool]]
) -> list[Job]:
    """At most `room` jobs of a pool's `line` that may be tried, in the order in which they are offered."""
    may = (col(Job.pool) == pool, *line, col(Job.not_before) <= now())
    order = (col(Job.turn), col(Job.run_id), col(Job.id))
    # Outer, so that SQLite goes along the line, and not from one repository to the next.
    own = select(Job, func.coalesce(Repository.at_once, 0)).join(
        Repository, col(Repository.id) == col(Job.repository_id), isouter=True
    )
    taken: list[Job] = []
    while room > len(taken):
        others = col(Job.id).not_in([job.id for job in taken])
        which = own.where(*may, others)
        if (
            limits.full
        ):  # there may be thousands of theirs ahead: the first of each of the others is looked up
            which = own.where(col(Job.id).in_(_heads(pool, limits.full, (*may, others), order)))
        found = (await session.exec(which.order_by(*order).limit(room - len(taken)))).all()
        more = limits.within([(job, at_once) for job, at_once in found])
        taken += more
        if not found or (len(more) == len(found) and not limits.full):
            break
    return sorted(taken, key=lambda job: (job.turn, job.run_id, job.id))


def _heads(
    pool: str, full: Collection[int], may: Collection[ColumnElement[bool]], order: Collection[Any]
) -> Any:
    """The next job of each repository that has some here and is not `full`: one look into an index each."""
    here = (col(Job.state) == JobState.QUEUED, col(Job.pool) == pool)
    first = select(func.min(Job.repository_id).label("id")).where(*here).cte("in_line", recursive=True)
    after = select(func.min(Job.repository_id)).where(*here, col(Job.repository_id) > first.c.id)
    in_line = first.union_all(select(after.scalar_subquery()).where(first.c.id.is_not(None)))
    head = select(Job.id).where(*may, col(Job.repository_id) == in_line.c.id).order_by(*order).limit(1)
    return select(head.scalar_subquery()).where(in_line.c.id.not_in(full))
