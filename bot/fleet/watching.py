"""Watches what serves: what fails right after its switch is given up, what suffers later is told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlmodel import col, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.decisions import deploying, quiet
from bot.fleet import roster, services
from bot.fleet.stability import (
    CALM,
    LATE,
    Verdict,
    What,
    ailing_service,
    fate,
    judged,
    last_lines,
    lost,
)
from bot.jobs import images
from bot.reports import happenings, rows, texts
from bot.routing.proxy import ProxyDown
from bot.routing.router import Router
from bot.store import causes
from bot.store.database import Store, heard
from bot.store.tables import (
    ContainerRow,
    Environment,
    Job,
    JobState,
    Release,
    ReleaseState,
    ServiceRow,
    WorkerRow,
)
from config.errors import ConfigError
from config.settings import Settings
from workers.contract.messages import Nudge, now
from workers.contract.queue import BotQueue, QueueDown

_POLL = 1.0  # seconds while something may be unwell: time itself changes what is true
_QUIET = 3.0  # seconds while nothing is: a worker falls silent without a word
# What says how well releases and services are.
_READ = (Release, Job, Environment, ContainerRow, ServiceRow, WorkerRow)
_PAUSE = 0.2  # seconds between two looks, however much happens

log = structlog.get_logger()


@dataclass(frozen=True)
class _Live:
    """A release that serves and that there may be something to say of."""

    release: Release
    job: Job
    environment: Environment
    containers: Sequence[ContainerRow]
    lost: str
    services: Sequence[ServiceRow]


class Watcher:
    """Looks at releases whenever a worker told something, and each second where one may be unwell."""

    def __init__(self, store: Store, queue: BotQueue, router: Router, settings: Settings) -> None:
        self._store = store
        self._queue = queue
        self._router = router
        self._settings = settings

    async def run(self) -> None:
        """Until cancelled."""
        with self._store.changes(*_READ) as changed:
            while True:
                changed.clear()
                doubtful = await self.look()
                await asyncio.sleep(_PAUSE)
                await heard(changed, _POLL if doubtful else _QUIET)

    async def look(self) -> bool:
        """Judge every release that may not be well, and do what follows. Whether there is any."""
        at = now()
        found = await self._doubtful(at)
        for live in found:
            deployed = live.job.state is JobState.SUCCEEDED
            lacks, service = ailing_service(live.services, at - CALM)
            verdict = judged(live.release, live.containers, live.lost, at, deployed=deployed, lacks=lacks)
            match verdict.what:
                case What.GIVE_UP:
                    await self._give_up(live, verdict)
                case What.TELL:
                    said = service.last_lines if service and verdict.problem == lacks else None
                    await self._tell(live, verdict.problem, said)
                case What.NOTHING:
                    pass
        await self._hurry(found, at)
        return bool(found)

    async def _doubtful(self, at: datetime) -> list[_Live]:
        """The releases that are proving themselves, suffer something or did, or whose worker is gone."""
        unwell = select(ContainerRow.release_id).where(
            or_(
                col(ContainerRow.running).is_(False),
                col(ContainerRow.health).in_(("unhealthy", "gone")),
                col(ContainerRow.failing) != "",
                col(ContainerRow.restarted_at) > at - CALM,
            )
        )
        local = not self._settings.registry
        async with self._store.reading() as session:
            gone = await roster.silent(session, self._queue, at, self._settings.lease)
            wanted = (
                select(Release, Job, Environment)
                .join(Job, col(Job.id) == col(Release.job_id))
                .join(Environment, col(Environment.id) == col(Release.environment_id))
                .where(Release.state == ReleaseState.LIVE)
                .where(
                    or_(
                        Release.problem != "",
                        col(Release.steady_at) > at - LATE,
                        col(Release.id).in_(unwell),
                        col(Release.environment_id).in_(services.unwell(at - CALM)),
                        col(Release.worker).in_(gone),
                    )
                )
            )
            rows = (await session.exec(wanted)).all()
            at_work = roster.takers((await roster.workers(session)).values(), at, self._settings.lease)
            return [
                _Live(
                    release,
                    job,
                    environment,
                    await _of(session, release),
                    lost(gone.get(release.worker or ""), fate(release, job.pool, at_work, local)),
                    await services.of(session, release),
                )
                for release, job, environment in rows
            ]

    async def _give_up(self, live: _Live, verdict: Verdict) -> None:
        """Back to the release before: by its route while it runs, else by a deploy of it."""
        release = live.release
        assert release.id is not None, "it is from the store"  # noqa: S101
        said = last_lines(live.containers)
        try:
            if await self._router.back(release.id, verdict.problem, said) is not None:
                with suppress(QueueDown):
                    await self._queue.order(release.worker or "", Nudge())
                return
        except (ProxyDown, ConfigError) as error:
            log.error("not rolled back yet", release=release.id, error=str(error))
            return
        earlier = await self._earlier(live)
        async with self._store.transaction() as session:
            row = await session.get_one(Release, release.id)
            if row.state is not ReleaseState.LIVE or row.problem:
                return
            row.last_lines = said
            if earlier is None:
                row.problem = texts.went_wrong(verdict.problem)
            else:
                row.problem = texts.brought_back(verdict.problem, earlier.sha)
                # It stands where this one stood, which serves until it is there.
                place = release.run_id
                await quiet.start_again(session, live.environment, earlier, causes.CRASHED, place)
            await rows.gave_up(session, live.environment, row)
            happenings.fell_back(session, row, live.environment)
        log.warning("release failed", release=release.id, problem=row.problem)

    async def _earlier(self, live: _Live) -> Release | None:
        """The newest earlier release that was well, and whose image is still known."""
        mine = select(Release).where(Release.environment_id == live.environment.id)
        async with self._store.reading() as session:
            rows = list((await session.exec(mine.order_by(col(Release.id).desc()))).all())
        owner, local = live.environment.repository_id, not self._settings.registry
        known = await images.known(self._store, owner, rows, local=local)
        return next((row for row in deploying.earlier(rows) if known.issuperset(images.of(row))), None)

    async def _tell(self, live: _Live, problem: str, said: str | None) -> None:
        """`said`: what printed the service that the problem is of."""
        async with self._store.transaction() as session:
            row = await session.get_one(Release, live.release.id)
            before, row.problem = row.problem, problem
            row.last_lines = (said or last_lines(live.containers)) if problem else ""
            if row.state is not ReleaseState.LIVE:
                return
            if not any(one.backup_trouble and problem.endswith(one.backup_trouble) for one in live.services):
                happenings.crashed(session, row, live.environment)  # what is of a backup is told as that
            if bool(before) == bool(problem):
                return
            if problem:
                said = texts.shortened(problem, texts.MOST_STATUS)
                await rows.owe_deployment(session, live.job.repository_id, row, "failure", said)
                await rows.owe_looks(session, live.environment, live.job)
            else:
                await rows.recovered(session, live.environment, row)
        log.warning("release told", release=row.id, problem=problem or "none any more")

    async def _hurry(self, found: Sequence[_Live], at: datetime) -> None:
        """Have the workers of releases that are proving themselves say at once how those are."""
        proving = {live.release.worker for live in found if (live.release.steady_at or at) > at}
        for worker in proving:
            with suppress(QueueDown):
                await self._queue.order(worker or "", Nudge())


async def _of(session: AsyncSession, release: Release) -> Sequence[ContainerRow]:
    theirs = select(ContainerRow).where(
        ContainerRow.release_id == release.id, ContainerRow.worker == release.worker
    )
    return (await session.exec(theirs)).all()
