"""From waiting to the queue: jobs that may start are offered to their pool, in the order of causes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import structlog
from sqlalchemy import ColumnElement
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot import lifecycle, reports, texts
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
        """Move what may start from waiting to queued; of an environment's deploys only the newest goes on."""
        async with self._store.reading() as session:
            if not await _ready(session):
                return
        async with self._store.transaction() as session:
            ready = await _ready(session)
            await _supersede(session, ready)
            for job in ready:
                if job.state is not JobState.WAITING or not await _free(session, job):
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


async def _ready(session: AsyncSession) -> list[Job]:
    """The waiting jobs that wait for no other job, in the order of causes."""
    waiting = select(Job).where(Job.state == JobState.WAITING).order_by(col(Job.run_id), col(Job.id))
    jobs = (await session.exec(waiting)).all()
    needed = {need for job in jobs for need in job.needs}
    done = select(Job.id).where(col(Job.id).in_(needed), Job.state == JobState.SUCCEEDED)
    succeeded = set((await session.exec(done)).all()) if needed else set()
    return [job for job in jobs if succeeded.issuperset(job.needs)]


async def _free(session: AsyncSession, job: Job) -> bool:
    """Whether nothing else is done to its environment: that is serial."""
    if job.environment is None:
        return True
    busy = select(Job.id).where(*_of_place(job), col(Job.state).in_(_BUSY))
    return (await session.exec(busy.limit(1))).first() is None


async def _supersede(session: AsyncSession, ready: Sequence[Job]) -> None:
    """End deploys that nobody has begun where a newer one could: its build, if it needs one, is done."""
    newest = {(job.repository_id, job.environment): job for job in sorted(ready, key=place_of)}
    for newer in newest.values():
        if newer.environment is None:
            continue
        unbegun = select(Job).where(
            *_of_place(newer),
            Job.kind == Kind.DEPLOY,
            Job.id != newer.id,
            col(Job.state).in_((JobState.WAITING, JobState.QUEUED)),
        )
        for older in overtaken((await session.exec(unbegun)).all(), newer):
            await lifecycle.cancel(session, older, "superseded", texts.superseded(newer.sha))
            if older.context and (older.sha, older.context) == (newer.sha, newer.context):
                await reports.job_changed(session, newer, await session.get_one(Run, newer.run_id), None)


def overtaken(unbegun: Iterable[Job], newer: Job) -> list[Job]:
    """Pure: the deploys that a `newer` one of their place makes pointless; of a queue each has its turn."""
    return [job for job in unbegun if place_of(job) < place_of(newer) and not job.spec.get("queues")]


def place_of(job: Job) -> tuple[int, int]:
    """Where a job stands in the order of causes; what brings a release out again stands where that stood."""
    return job.spec.get("place", job.run_id), job.run_id


def _of_place(job: Job) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return col(Job.repository_id) == job.repository_id, col(Job.environment) == job.environment


async def _outdated(session: AsyncSession, job: Job) -> str | None:
    """The commit that is live in a deploy's environment by a later cause: it only moves forward."""
    if job.kind is not Kind.DEPLOY:
        return None
    live = (
        select(Release.sha)
        .join(Environment, col(Environment.id) == col(Release.environment_id))
        .join(Run, col(Run.id) == col(Release.run_id))
        .where(Environment.repository_id == job.repository_id, Environment.name == job.environment)
        .where(Release.state == ReleaseState.LIVE, col(Run.id) > place_of(job)[0])
    )
    return (await session.exec(live)).first()
