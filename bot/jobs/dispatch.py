"""From waiting to the queue: what may start gets a turn, and is offered when a worker takes it soon."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import structlog
from sqlalchemy import ColumnElement, and_, func, or_, tuple_, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.jobs import lifecycle, line, needs, turns, workplaces
from bot.reports import rows, texts
from bot.store.database import Store, heard
from bot.store.tables import Environment, Job, JobState, Release, ReleaseState, Repository, Run, WorkerRow
from workers.contract.lines import Line
from workers.contract.messages import Kind, Nudge, Offer, now
from workers.contract.queue import BotQueue, QueueDown

_POLL = 1.0  # seconds while something stands in line: a retry's time comes without a commit
_QUIET = 10.0  # seconds while nothing does, for what was not heard
_READ = (Job, WorkerRow, Release, Environment, Repository)  # what decides what may start, and who takes it
_EVER = datetime.fromtimestamp(0, UTC)
_BUSY = (JobState.QUEUED, JobState.RUNNING)
_CHANGES = frozenset({Kind.DEPLOY, Kind.STOP, Kind.RESTORE, Kind.UPDATE})
# What a job waits for in its environment. A deploy waits for no task, however long that lasts. A backup
# changes nothing, so nothing waits for it, nor it for anything: one comes after the other.
_WAITS_FOR: dict[Kind, frozenset[Kind]] = {
    Kind.DEPLOY: _CHANGES,
    Kind.STOP: _CHANGES | {Kind.TASK},
    Kind.RESTORE: _CHANGES | {Kind.TASK},
    Kind.UPDATE: _CHANGES | {Kind.TASK, Kind.BACKUP},
    Kind.TASK: _CHANGES,
    Kind.BACKUP: frozenset({Kind.BACKUP, Kind.UPDATE}),
}
_IN_LINE = (col(Job.state) == JobState.QUEUED, col(Job.offered_at).is_(None))
# A moment, not "is not null": so SQLite finds them by the index, however many stand in line.
OFFERED = (col(Job.state) == JobState.QUEUED, col(Job.offered_at) > _EVER)
_BLIND = {"synchronize_session": False}  # rows that were read in another session

log = structlog.get_logger()


class Dispatcher:
    """Decides when a job may start, and offers it. One bot does so at a time: it knows each pool's clock."""

    def __init__(
        self,
        store: Store,
        queue: BotQueue,
        lease: float,
        priorities: Sequence[str] = turns.PRIORITIES,
        repository_jobs: int = 0,
    ) -> None:
        """`lease`: seconds for which a worker that was heard counts as there.

        `repository_jobs`: how many jobs of one repository there are at once; any number if 0.
        """
        self._store = store
        self._queue = queue
        self._lease = lease
        self._priorities = priorities
        self._repository_jobs = repository_jobs
        self._clocks: dict[str, int] = {}
        self._served: dict[str, bool] = {}  # of lines with labels, as their jobs were told
        self._known: set[str] = set()  # lines that workers were made to ask for
        self._waited_for: Collection[str] = ()  # lines in which jobs stand

    async def run(self) -> None:
        """Until cancelled."""
        await needs.recount(self._store)
        with self._store.changes(*_READ) as changed:
            while True:
                changed.clear()
                await self._admit()
                if await self._offer():
                    await heard(changed, _POLL if self._waited_for else _QUIET)
                else:
                    await asyncio.sleep(_POLL)  # what we noted and took back ourselves is no news

    async def _admit(self) -> None:
        """Move what may start from waiting to queued; of an environment's deploys only the newest goes on."""
        async with self._store.reading() as session:
            if not await _ready(session):
                return
        async with self._store.transaction() as session:
            ready = await _ready(session)
            await _supersede(session, ready)
            there = await workplaces.there(session, self._lease)
            for job in ready:
                if job.state is not JobState.WAITING or not await _free(session, job):
                    continue
                if newer := await _outdated(session, job):
                    sentence = texts.superseded(newer)
                    await lifecycle.cancel(session, job, "superseded", sentence)
                else:
                    rank = turns.rank(self._priorities, await _words(session, job))
                    place = workplaces.line_of(job, there)
                    turn = await self._turn(session, job, place, rank)
                    await lifecycle.move(session, job, JobState.QUEUED, pool=place, rank=rank, turn=turn)
                    self._served.pop(place, None)  # it has been told nothing yet

    async def _turn(self, session: AsyncSession, job: Job, pool: str, rank: int) -> int:
        """Where a job stands in this line, behind those of its repository that matter as much."""
        in_line = (
            select(Job.rank, func.max(col(Job.turn)))
            .where(Job.pool == pool, Job.repository_id == job.repository_id, *_IN_LINE)
            .group_by(col(Job.rank))
        )
        last = dict((await session.exec(in_line)).all())
        return turns.turn(rank, await self._clock(session, pool), last, self._ranks)

    async def _clock(self, session: AsyncSession, pool: str) -> int:
        """The place that a pool has come to. After a start: as far as its jobs tell."""
        if pool not in self._clocks:
            offered = await self._places(session, pool, OFFERED, func.max)
            running = await self._places(session, pool, (col(Job.state) == JobState.RUNNING,), func.max)
            in_line = await self._places(session, pool, _IN_LINE, func.min)
            self._clocks[pool] = turns.clock([*offered, *running], in_line)
        return self._clocks[pool]

    async def _places(
        self, session: AsyncSession, pool: str, which: Iterable[ColumnElement[bool]], end: Any
    ) -> list[int]:
        """Of the jobs of each rank the first place, or the last."""
        found = select(Job.rank, end(col(Job.turn))).where(Job.pool == pool, *which).group_by(col(Job.rank))
        return [turns.place(rank, turn, self._ranks) for rank, turn in (await session.exec(found)).all()]

    @property
    def _ranks(self) -> int:
        return len(self._priorities)

    async def _offer(self) -> bool:
        """Put up what is next in each pool, as much as its workers take soon. Whether the queue took all."""
        async with self._store.reading() as session:
            pools = self._waited_for = await line.known(session, col(Job.state) == JobState.QUEUED)
            if not pools:
                return True
            for pool in pools:
                await self._clock(session, pool)  # as it is before these offers
            there = await workplaces.there(session, self._lease)
            offered = await _offered(session, pools)
            jobs: list[Job] = []
            for pool in pools:
                room = turns.more(*workplaces.room(pool, there), offered[pool])
                if room:
                    limits = await line.limits(session, self._repository_jobs, OFFERED, pool)
                    jobs += await line.next_ones(session, pool, room, limits, _IN_LINE)
        await self._tell(pools, there)
        noted = await self._noted(jobs)
        for job in noted:
            place = turns.place(job.rank, job.turn, self._ranks)
            self._clocks[job.pool] = max(self._clocks[job.pool], place + 1)
        return all(
            await asyncio.gather(*(self._put([job for job in noted if job.pool == pool]) for pool in pools))
        )

    async def _tell(self, pools: Collection[str], there: Collection[workplaces.Like]) -> None:
        """People that no worker has the labels that jobs ask for; workers of lines that are new to them."""
        for pool in pools:
            served = bool(workplaces.room(pool, there)[0])
            if not Line.read(pool).labels or self._served.get(pool) == served:
                continue
            if not served:
                await self._move_over(pool, there)
            if await workplaces.tell(self._store, pool, served=served):
                self._served[pool] = served
            if served and pool not in self._known:
                self._known.add(pool)
                async with self._store.reading() as session:
                    takers = await workplaces.takers(session, pool, self._lease)
                with suppress(QueueDown):
                    for worker in takers:
                        await self._queue.order(worker, Nudge())

    async def _move_over(self, pool: str, there: Collection[workplaces.Like]) -> None:
        """What belongs in another line by now goes there: no worker of its architecture may be left."""
        queued = select(Job).where(Job.pool == pool, Job.state == JobState.QUEUED)
        async with self._store.transaction() as session:
            for job in (await session.exec(queued.with_for_update(skip_locked=True))).all():
                if (place := workplaces.line_of(job, there)) != pool:
                    job.turn = await self._turn(session, job, place, job.rank)
                    job.pool, job.offered_at = place, None

    async def _noted(self, jobs: Sequence[Job]) -> list[Job]:
        """Those of `jobs` that are as they were read, noted as offered.

        Before they are: what follows from an offer, such as a refusal that puts the job back in line, is
        never overwritten. What is noted and never offered is found by `sweeps.lost_messages`.
        """
        if not jobs:
            return []
        async with self._store.transaction() as session:
            same = update(Job).where(_as_read(jobs), *_IN_LINE, col(Job.not_before) <= now())
            noted = await session.exec(
                same.values(offered_at=now()).returning(col(Job.id)), execution_options=_BLIND
            )
            done = set(noted.scalars().all())
        return [job for job in jobs if job.id in done]

    async def _put(self, jobs: Sequence[Job]) -> bool:
        """Offer jobs of one pool, each when the queue has the one before: so they are taken in this order.

        False if the queue did not take all; the rest goes back into line.
        """
        for place, job in enumerate(jobs):
            try:
                await self._queue.offer(Offer(job=job.id, pool=job.pool))
            except QueueDown as error:
                log.warning("not offered", job=job.id, jobs=len(jobs) - place, error=str(error))
                await put_back(self._store, _as_read(jobs[place:]))
                return False
            self._store.instruments.dispatched(job.kind, _since(job))
            log.info("job offered", job=job.id)
        return True


async def put_back(store: Store, *which: ColumnElement[bool]) -> None:
    """Jobs whose offers are lost stand in line again, at the turn that they had."""
    lost = update(Job).where(*OFFERED, *which).values(offered_at=None)
    async with store.transaction() as session:
        await session.exec(lost, execution_options=_BLIND)


def _as_read(jobs: Iterable[Job]) -> ColumnElement[bool]:
    """These jobs, in the attempts that they were read in."""
    read = [(job.id, job.attempt) for job in jobs]
    # The ids by themselves too: so SQLite finds them by the key, and not by their state.
    return and_(col(Job.id).in_([job for job, _ in read]), tuple_(col(Job.id), col(Job.attempt)).in_(read))


def _since(job: Job) -> float | None:
    """Seconds since a job may be offered; of one that needed others nobody knows since when."""
    return None if job.needs else (now() - max(job.created_at, job.not_before)).total_seconds()


async def _offered(session: AsyncSession, pools: Collection[str]) -> Counter[str]:
    """How many jobs of each line are offered."""
    offered = select(Job.pool, func.count()).where(col(Job.pool).in_(pools), *OFFERED).group_by(Job.pool)
    return Counter(dict((await session.exec(offered)).all()))


async def _words(session: AsyncSession, job: Job) -> set[str]:
    """What a job is for, in the words of priorities; a build is for what needs it."""
    run = await session.get_one(Run, job.run_id)
    places = {job.environment}
    if job.kind is Kind.BUILD:
        beside = select(Job.environment, Job.needs).where(Job.run_id == job.run_id)
        places = {place for place, needs in (await session.exec(beside)).all() if job.id in needs}
    # Neither does a task or a backup bring something back.
    builds = job.kind in (Kind.BUILD, Kind.TASK, Kind.BACKUP, Kind.UPDATE) or bool(job.needs)
    return turns.words(run.cause, {place for place in places if place}, builds=builds)


async def _ready(session: AsyncSession) -> list[Job]:
    """The waiting jobs that wait for no other job, in the order of causes."""
    ready = select(Job).where(Job.state == JobState.WAITING, Job.unmet == 0)
    return list((await session.exec(ready.order_by(col(Job.run_id), col(Job.id)))).all())


async def _free(session: AsyncSession, job: Job) -> bool:
    """Whether nothing else is done to its environment: that is serial.

    What waits for what is a table. Tasks run beside each other, but each once at a time.
    """
    if job.environment is None:
        return True
    waits: list[ColumnElement[bool]] = [col(Job.kind).in_(_WAITS_FOR[job.kind])]
    if job.kind is Kind.TASK:
        waits.append(and_(col(Job.kind) == Kind.TASK, col(Job.name) == job.name))
    busy = select(Job.id).where(*_of_place(job), col(Job.state).in_(_BUSY), or_(*waits))
    return (await session.exec(busy.limit(1))).first() is None


async def _supersede(session: AsyncSession, ready: Sequence[Job]) -> None:
    """End deploys that nobody has begun where a newer one could: its build, if it needs one, is done."""
    # All else is about data, or beside what runs: no deploy is pointless for it.
    changes = [job for job in ready if job.kind in (Kind.DEPLOY, Kind.STOP)]
    newest = {(job.repository_id, job.environment): job for job in sorted(changes, key=place_of)}
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
                await session.refresh(newer, with_for_update=True)
                if not newer.state.final:
                    await rows.job_changed(session, newer, await session.get_one(Run, newer.run_id), None)


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
