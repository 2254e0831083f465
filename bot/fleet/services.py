"""The bot's side of services: what a deploy is told of them, what workers tell, which belong to nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

import structlog
from sqlalchemy import or_, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import SelectOfScalar

from bot.jobs import backups, lifecycle, releases, services
from bot.secrets.services import ServiceSecrets
from bot.store.database import Store
from bot.store.tables import (
    Environment,
    Job,
    JobState,
    Release,
    ReleaseState,
    Repository,
    ServiceRow,
    WorkerRow,
)
from config.services import provided
from config.settings import Settings
from workers.contract.messages import (
    Credentials,
    Heartbeat,
    Kind,
    Noted,
    Refusal,
    RegistryLogin,
    ServiceNews,
    ServiceState,
    now,
)
from workers.contract.services import Services

GONE = "gone"
# A worker that has just started may not have its engine's answer yet: then its list is empty.
_SETTLED = timedelta(seconds=30)
_TOLD = ("running", "restarts", "exit_code", "out_of_memory", "health", "last_lines")

log = structlog.get_logger()


async def known(
    store: Store, secrets: ServiceSecrets, settings: Settings, job: Job, credentials: Credentials
) -> Credentials:
    """A deploy's credentials, with what its services have and give; a stranger's without more logins.

    Raises ConfigError where no key opens their secrets.
    """
    wanted = services.named(job.spec)
    if not wanted:
        return credentials
    async with store.reading() as session:
        place = await _place(session, job)
        own = await _own(session, job, place)
    generated = await secrets.of(place.id or 0, services.generated(wanted))
    there = {login.host for login in credentials.registries}
    logins = [
        RegistryLogin(host=login.host, username=login.username, password=login.password)
        for login in ([] if job.spec.get("fork") else services.logins(wanted, settings, own))
        if login.host not in there
    ]
    if any(one.seed and one.seed.source for one in wanted.values()) and not job.spec.get("fork"):
        credentials = backups.opened(credentials, settings)
    return credentials.model_copy(
        update={
            "env": {**provided(wanted, generated), **credentials.env},
            "services": generated,
            "registries": [*credentials.registries, *logins],
        }
    )


async def _own(session: AsyncSession, job: Job, place: Environment) -> list[str]:
    """The references of images of the repository's that services of a job run, or are to run."""
    if not (named := job.spec.get(services.OWN)):
        return []
    rows = select(ServiceRow.pinned).where(
        ServiceRow.environment_id == place.id, col(ServiceRow.name).in_(list(named))
    )
    there = list((await session.exec(rows)).all())
    if job.kind is Kind.DEPLOY:
        there += (await releases.images(session, job)).all
    return [one for one in [*there, str(job.spec.get("image") or "")] if "@" in one]


async def wanted(
    session: AsyncSession,
    job: Job,
    repository: Repository,
    release: Release,
    settings: Settings,
    instance: str,
) -> Services | None:
    """The services of the environment that a release is for; None where it has none."""
    live = select(Release).where(
        Release.environment_id == release.environment_id, Release.state == ReleaseState.LIVE
    )
    serving = (await session.exec(live)).first()
    rows = (
        await session.exec(select(ServiceRow).where(ServiceRow.environment_id == release.environment_id))
    ).all()
    for row in rows:  # how they are is not known until the deploy has ended
        row.running, row.health, row.restarted_at = True, "", None
        session.add(row)
    sources = await backups.sources(session, job, services.named(job.spec), settings)
    return services.services(
        job.spec,
        repository,
        job.environment or job.name,
        instance,
        rows,
        serving.settings if serving else {},
        settings,
        sources,
        release.images,
    )


async def workers(session: AsyncSession, repository_id: int, environment: str) -> set[str]:
    """Who has the services of an environment: only that worker has their data."""
    theirs = (
        select(ServiceRow.worker)
        .join(Environment, col(Environment.id) == col(ServiceRow.environment_id))
        .where(Environment.repository_id == repository_id, Environment.name == environment)
    )
    return {name for name in (await session.exec(theirs)).all() if name}


def unwell(since: datetime) -> SelectOfScalar[int]:
    """The environments that have a service which is not well, or was not since then."""
    return select(ServiceRow.environment_id).where(
        col(ServiceRow.worker).is_not(None),
        or_(
            col(ServiceRow.running).is_(False),
            col(ServiceRow.health).in_(("unhealthy", GONE)),
            col(ServiceRow.restarted_at) > since,
            col(ServiceRow.backup_trouble) != "",
        ),
    )


async def of(session: AsyncSession, release: Release) -> list[ServiceRow]:
    """The services that a release has."""
    theirs = select(ServiceRow).where(
        ServiceRow.environment_id == release.environment_id, ServiceRow.worker == release.worker
    )
    named = services.named(release.settings)
    return [row for row in (await session.exec(theirs)).all() if row.name in named]


async def noted(store: Store, news: ServiceNews) -> Noted | Refusal:
    """Keep what an attempt says of a service, before it is so."""
    async with store.transaction() as session:
        job = await session.get(Job, news.job)
        if job is None or job.attempt != news.attempt or job.state is not JobState.RUNNING:
            return Refusal(reason="this attempt is not the job's any more")
        place, wanted = await _place(session, job), services.named(job.spec).get(news.service)
        row = await session.get(ServiceRow, (place.id, news.service))
        if wanted is None and not (news.gone and row):
            return Refusal(reason="its environment has no such service")
        row = row or ServiceRow(environment_id=place.id or 0, name=news.service)
        row.worker = None if news.gone else job.worker
        if news.image and wanted is not None:
            row.image, row.pinned, row.seeded = wanted.image, news.image, row.seeded and not news.fresh
        row.seeded = row.seeded or news.seeded
        session.add(row)
    return Noted()


async def note(session: AsyncSession, beat: Heartbeat, worker: WorkerRow, instance: str) -> bool:
    """Keep how the services are that a worker has; whether that is all that is kept of them.

    It is not while a deploy changes them, nor before one that is missed counts as removed.
    """
    mine = (
        select(ServiceRow, Environment)
        .join(Environment, col(Environment.id) == col(ServiceRow.environment_id))
        .where(ServiceRow.worker == beat.worker)
    )
    told, whole = _newest(beat.services), True
    for row, environment in (await session.exec(mine)).all():
        place = services.place(instance, environment.repository_id, environment.name)
        if await _busy(session, environment):
            whole = False
        elif state := told.get((place, row.name)):
            _keep(row, state, now())
            session.add(row)
        elif now() - worker.started_at > _SETTLED:
            row.running, row.health = False, GONE
            session.add(row)
        else:
            whole = False
    return whole


async def over(connection: AsyncConnection, beat: Heartbeat, instance: str) -> list[str]:
    """The containers of services that belong to no environment: there is none, or its preview has ended."""
    places = {state.place: services.placed(state.place, instance) for state in beat.services}
    wanted = [place for place in places.values() if place]
    if not wanted:
        return []
    about = (col(Environment.repository_id), col(Environment.name))
    ended = col(Environment.stopped) & ~col(Environment.asleep) & col(Environment.pull_number).is_not(None)
    living = select(*about).where(tuple_(*about).in_(wanted), ~ended)
    busy = select(col(Job.repository_id), col(Job.environment)).where(
        tuple_(col(Job.repository_id), col(Job.environment)).in_(wanted), col(Job.state).in_(lifecycle.LIVE)
    )
    known = {tuple(row) for query in (living, busy) for row in await connection.execute(query)}
    return sorted(state.name for state in beat.services if (own := places[state.place]) and own not in known)


def _newest(told: Collection[ServiceState]) -> Mapping[tuple[str, str], ServiceState]:
    """Of each service the container that runs, if one does."""
    return {(state.place, state.service): state for state in sorted(told, key=lambda one: one.running)}


def _keep(row: ServiceRow, state: ServiceState, at: datetime) -> None:
    if state.restarts > row.restarts:
        row.restarted_at = at
    for field in _TOLD:
        setattr(row, field, getattr(state, field))


async def _busy(session: AsyncSession, environment: Environment) -> bool:
    running = select(Job.id).where(
        Job.repository_id == environment.repository_id,
        Job.environment == environment.name,
        Job.state == JobState.RUNNING,
        col(Job.kind).not_in((Kind.BACKUP, Kind.TASK)),  # they change none
    )
    return (await session.exec(running.limit(1))).first() is not None


async def _place(session: AsyncSession, job: Job) -> Environment:
    here = select(Environment).where(
        Environment.repository_id == job.repository_id, Environment.name == job.environment
    )
    return (await session.exec(here)).one()
