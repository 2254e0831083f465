"""From waiting to the queue: jobs that may start are offered to their pool, in the order of causes."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot import lifecycle, texts
from bot.store.database import Store, heard
from bot.store.tables import Environment, Job, JobState, Release, ReleaseState, Run
from workers.contract.messages import Kind, Offer, now
from workers.contract.queue import BotQueue, QueueDown

_POLL = 1.0  # seconds: a retry's time comes without a commit
_BUSY = (JobState.QUEUED, JobState.RUNNING)

log = structlog.get_logger()


class Dispatcher:
    """Decides when a job may start, and offers it."""

    def __init__(self, store: Store, queue: BotQueue) -> None:
        self._store = store
        self._queue = queue

    async def run(self) -> None:
        """Until cancelled."""
        with self._store.changes() as changed:
            while True:
                changed.clear()
                await self._admit()
                await self._offer()
                await heard(changed, _POLL)

    async def _admit(self) -> None:
        """Move what may start from waiting to queued."""
        waiting = select(Job).where(Job.state == JobState.WAITING).order_by(col(Job.run_id), col(Job.id))
        async with self._store.reading() as session:
            if (await session.exec(waiting.limit(1))).first() is None:
                return
        async with self._store.transaction() as session:
            for job in (await session.exec(waiting)).all():
                if not await _ready(session, job):
                    continue
                if newer := await _outdated(session, job):
                    sentence = texts.superseded(newer)
                    await lifecycle.cancel(session, job, "superseded", sentence)
                else:
                    await lifecycle.move(session, job, JobState.QUEUED)

    async def _offer(self) -> None:
        """Put up what is queued. An offer too many is harmless, since claims are conditional."""
        due = (
            select(Job)
            .where(Job.state == JobState.QUEUED, col(Job.offered_at).is_(None), col(Job.not_before) <= now())
            .order_by(col(Job.run_id), col(Job.id))
        )
        async with self._store.reading() as session:
            jobs = (await session.exec(due)).all()
        await self.offer(jobs)

    async def offer(self, jobs: Sequence[Job]) -> None:
        """Offer `jobs`, and note it. Leaves the rest for later while the queue is down."""
        for job in jobs:
            try:
                await self._queue.offer(Offer(job=job.id, pool=job.pool))
            except QueueDown as error:
                log.warning("not offered", job=job.id, error=str(error))
                return
            async with self._store.transaction() as session:
                row = await session.get_one(Job, job.id)
                row.offered_at = now()
            log.info("job offered", job=job.id, pool=job.pool)


async def _ready(session: AsyncSession, job: Job) -> bool:
    """Whether all that it needs is there, and its environment is free."""
    if job.needs:
        states = (await session.exec(select(Job.state).where(col(Job.id).in_(job.needs)))).all()
        if any(state is not JobState.SUCCEEDED for state in states):
            return False
    if job.environment is None:
        return True
    busy = select(Job.id).where(
        Job.repository_id == job.repository_id,
        Job.environment == job.environment,
        col(Job.state).in_(_BUSY),
    )
    return (await session.exec(busy.limit(1))).first() is None


async def _outdated(session: AsyncSession, job: Job) -> str | None:
    """The commit that is live in a deploy's environment by a later cause: it only moves forward."""
    if job.kind is not Kind.DEPLOY:
        return None
    live = (
        select(Release.sha)
        .join(Environment, col(Environment.id) == col(Release.environment_id))
        .join(Run, col(Run.id) == col(Release.run_id))
        .where(Environment.repository_id == job.repository_id, Environment.name == job.environment)
        .where(Release.state == ReleaseState.LIVE, col(Run.id) > job.run_id)
    )
    return (await session.exec(live)).first()
