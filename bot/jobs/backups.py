"""Backups of services: which are planned, how one is taken and put back, and what is kept of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.jobs import service_rows, services
from bot.store.tables import AttemptRow, BackupRow, Environment, Job, Repository, ServiceRow
from config.services import Backup, Service
from config.settings import Settings
from workers.contract.backups import BackupResult, BackupSpec, Depot, Kept, RestoreSpec, Source
from workers.contract.messages import Credentials, Kind, now

_SHOWN = 100  # services whose last backup metrics tell
_NEVER = datetime.fromtimestamp(0, UTC)
FORK = "a fork's code gets no data of another environment"


def depot(settings: Settings) -> Depot:
    """Pure: where backups lie."""
    encryption = settings.service_backups_encryption
    return Depot(
        url=settings.service_backups,
        endpoint=settings.service_backups_endpoint,
        region=settings.service_backups_region,
        encryption="" if encryption == "none" else encryption,
    )


def opened(known: Credentials, settings: Settings) -> Credentials:
    """Pure: credentials with what opens the depot."""
    secret = settings.service_backups_secret
    if secret is None:
        return known
    keys = {"depot_id": settings.service_backups_key_id, "depot_secret": secret.get_secret_value()}
    return known.model_copy(update=keys)


def name(job: Job, attempt: int, begun: datetime) -> str:
    """Pure: what an attempt's backup is called: no other has the same."""
    at = f"{begun:%Y%m%dT%H%M%SZ}"
    return f"{job.repository_id}/{job.environment}/{job.spec['service']}/{at}-{job.id}-{attempt}.gz"


async def taking(
    session: AsyncSession, job: Job, repository: Repository, settings: Settings, instance: str
) -> BackupSpec:
    """How a backup is taken, and which older ones go once it is whole."""
    service, keep = job.spec["service"], job.spec["backup"]["keep"]
    old = (await of(session, job.repository_id, job.environment or "", service))[max(0, keep - 1) :]
    # What an attempt before this one finished and could tell nobody of is in no list.
    before = await session.exec(
        select(AttemptRow).where(AttemptRow.job_id == job.id, col(AttemptRow.attempt) < job.attempt)
    )
    untold = [name(job, one.attempt, one.started_at) for one in before.all() if one.started_at]
    return BackupSpec(
        place=services.place(instance, repository.id, job.environment or job.name),
        service=service,
        command=job.spec["backup"]["command"],
        depot=depot(settings),
        name=name(job, job.attempt, job.started_at or now()),
        expired=[*untold, *(row.name for row in old)],
    )


def restoring(job: Job, repository: Repository, settings: Settings, instance: str) -> RestoreSpec:
    """Pure: how one is put back."""
    return RestoreSpec(
        place=services.place(instance, repository.id, job.environment or job.name),
        service=job.spec["service"],
        command=job.spec["command"],
        depot=depot(settings),
        kept=Kept(**job.spec["kept"]),
    )


async def sources(
    session: AsyncSession, job: Job, wanted: Mapping[str, Service], settings: Settings
) -> dict[str, Source]:
    """What the services of a preview are filled from, by their names."""
    found = {}
    for key, service in wanted.items():
        seed = service.seed
        if seed is None or seed.source is None:
            continue
        newest = next(iter(await of(session, job.repository_id, seed.source, key)), None)
        usable = newest if newest is not None and newest.restore else None
        found[key] = Source(
            environment=seed.source,
            command=usable.restore or [] if usable else [],
            depot=depot(settings),
            kept=kept(usable) if usable else None,
            scrub=seed.scrub if isinstance(seed.scrub, list) else [],
            refused=FORK if job.spec.get("fork") else "",
        )
    return found


async def of(
    session: AsyncSession, repository_id: int, environment: str, service: str = ""
) -> Sequence[BackupRow]:
    """The backups of an environment, or of one of its services, newest first."""
    mine = select(BackupRow).where(
        BackupRow.repository_id == repository_id, BackupRow.environment == environment
    )
    if service:
        mine = mine.where(BackupRow.service == service)
    return (await session.exec(mine.order_by(col(BackupRow.id).desc()))).all()


async def taken(session: AsyncSession, job: Job, result: BackupResult) -> None:
    """Keep a backup that is whole; those that its worker removed are none any more."""
    session.add(
        BackupRow(
            repository_id=job.repository_id,
            environment=job.environment or "",
            service=job.spec["service"],
            job_id=job.id,
            name=name(job, job.attempt, job.started_at or now()),
            sha256=result.sha256,
            size=result.size,
            dumped=result.dumped,
            restore=job.spec["backup"].get("restore"),
            begun_at=job.started_at or now(),
        )
    )
    theirs = (
        col(BackupRow.repository_id) == job.repository_id,
        col(BackupRow.environment) == job.environment,
        col(BackupRow.service) == job.spec["service"],
    )
    await session.exec(delete(BackupRow).where(*theirs, col(BackupRow.name).in_(result.removed)))
    if (row := await service_rows.named(session, job)) is not None:
        row.backup_trouble = ""


async def failed(session: AsyncSession, job: Job, sentence: str) -> None:
    """People are told with the environment that a backup failed, until there is one."""
    if job.kind is Kind.BACKUP and (row := await service_rows.named(session, job)) is not None:
        row.backup_trouble = f"its backup failed: {sentence}"


async def planned(session: AsyncSession, job: Job) -> None:
    """Keep what a deploy's file says of backups; a release of before that came back says nothing."""
    if job.spec.get(services.STAY):
        return
    wanted = services.named(job.spec)
    for row in await service_rows.of(session, job):
        service = wanted.get(row.name)
        said = service.backup.model_dump(mode="json") if service and service.backup else None
        if said == row.backup:
            continue
        if said is None or row.backup is None or said["cron"] != row.backup["cron"]:
            row.backup_since, row.backup_trouble = (now() if said and said["cron"] else None), ""
        row.backup = said


def said(row: ServiceRow) -> Backup | None:
    """Pure: what is planned for a service."""
    return Backup.model_validate(row.backup) if row.backup else None


async def standing(session: AsyncSession) -> tuple[dict[tuple[str, ...], float], int]:
    """When each scheduled service was backed up last, the longest ago first; and how many are unwell."""
    last: Any = func.max(col(BackupRow.created_at))
    same = (
        (col(BackupRow.repository_id) == col(Environment.repository_id))
        & (col(BackupRow.environment) == col(Environment.name))
        & (col(BackupRow.service) == col(ServiceRow.name))
    )
    there = (col(ServiceRow.worker).is_not(None), col(ServiceRow.backup_since).is_not(None))
    names = (col(Repository.full_name), col(Environment.name), col(ServiceRow.name))
    found: Any = (
        select(*names, last)
        .select_from(ServiceRow)
        .join(Environment, col(Environment.id) == col(ServiceRow.environment_id))
        .join(Repository, col(Repository.id) == col(Environment.repository_id))
        .join(BackupRow, same, isouter=True)
        .where(*there)
        .group_by(*names)
        .order_by(func.coalesce(last, _NEVER), *names)
        .limit(_SHOWN)
    )
    shown = {(*key,): at.timestamp() if at else 0.0 for *key, at in (await session.exec(found)).all()}
    unwell = select(func.count()).where(*there, col(ServiceRow.backup_trouble) != "")
    return shown, (await session.exec(unwell)).one()


def kept(row: BackupRow) -> Kept:
    """Pure: what a worker has to know of one."""
    return Kept(name=row.name, sha256=row.sha256, size=row.size)
