"""Backups of services that are wanted, and those that are put back: by hand, by schedule, by the API."""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.decisions import record
from bot.decisions.decision import Cause, Decision, Refused
from bot.decisions.plan import PlannedJob
from bot.jobs import backups, lifecycle, releases
from bot.store import locks
from bot.store.tables import BackupRow, Environment, Job, Lock, Pull, Repository, Run, ServiceRow
from config.settings import Settings
from workers.contract.messages import Kind

NO_PLACE = "its backups are not taken: this instance has no SERVICE_BACKUPS"


async def run(
    session: AsyncSession,
    environment: Environment,
    service: str | None,
    settings: Settings,
    *,
    actor: str,
    cause: str,
    key: str,
) -> tuple[str, int | None]:
    """Back up one service, or all that say how; what is done, and its run. Raises Refused."""
    if not settings.service_backups:
        raise Refused("this instance has no place for backups: its administrator sets SERVICE_BACKUPS")
    rows = chosen(await _services(session, environment), environment.name, service)
    busy = await under_way(session, environment, [row.name for row in rows])
    if busy and (await session.exec(select(Run.id).where(Run.cause_key == key))).first() is None:
        raise Refused(f"{', '.join(busy)} of {environment.name} is being backed up already")
    last = await releases.newest(session, environment.repository_id, environment.name)
    if last is None:
        raise Refused(f"{environment.name} runs nothing")
    jobs = tuple(
        PlannedJob(
            Kind.BACKUP,
            name=row.name,
            context="",
            environment=environment.name,
            spec={"service": row.name, "backup": row.backup},
        )
        for row in rows
    )
    told = f"backs up {', '.join(row.name for row in rows)} of {environment.name}"
    caused = Cause(cause, key, f"backup/{environment.name}", last.sha, actor)
    return await _recorded(session, environment, Decision(told, caused, jobs), settings)


async def restore(
    session: AsyncSession,
    environment: Environment,
    backup: BackupRow,
    settings: Settings,
    *,
    confirm: str,
    actor: str,
    key: str,
) -> tuple[str, int | None]:
    """Put a backup into the service of the same name; what is done, and its run. Raises Refused."""
    name, service = environment.name, backup.service
    if confirm != name:
        raise Refused(
            f"what {service} of {name} has now may be lost: confirm it with the environment's name, {name}"
        )
    row = next((one for one in await _services(session, environment) if one.name == service), None)
    if row is None or row.worker is None:
        raise Refused(f"{name} has no service {service} that runs: deploy it first")
    said = backups.said(row)
    command = (said.restore if said else None) or backup.restore
    if command is None:
        raise Refused(f"the `backup` of {service} says no `restore`: write the command that takes a backup")
    if held := await _held(session, environment, actor):
        raise Refused(held)
    if environment.pull_number is not None:
        pull = await session.get(Pull, (environment.repository_id, environment.pull_number))
        if pull is not None and pull.fork:
            raise Refused(f"{name} is a fork's: {backups.FORK}")
    last = await releases.newest(session, environment.repository_id, name)
    job = PlannedJob(
        Kind.RESTORE,
        name=service,
        context="",
        environment=name,
        spec={"service": service, "command": command, "kept": backups.kept(backup).model_dump()},
        attempts=1,  # what half of it did, nobody repeats but by hand
    )
    told = f"restores {service} of {name} from backup {backup.id} of {backup.environment}"
    caused = Cause("restore", key, f"backup/{name}", last.sha if last else "0" * 40, actor)
    return await _recorded(session, environment, Decision(told, caused, (job,)), settings)


def chosen(rows: Sequence[ServiceRow], environment: str, service: str | None) -> list[ServiceRow]:
    """Pure: those to back up. Raises Refused where there are none."""
    named = [row for row in rows if service in (None, row.name)]
    if service is not None and not named:
        raise Refused(f"{environment} has no service {service}")
    found = [row for row in named if row.backup and row.worker]
    if not found:
        which = service or "a service"
        raise Refused(
            f"nothing says how {which} of {environment} is backed up: write `backup` there, and deploy it"
        )
    return found


async def under_way(session: AsyncSession, environment: Environment, services: Sequence[str]) -> list[str]:
    """Those of these services of which a backup is being taken, or is to be."""
    live = select(Job).where(
        Job.repository_id == environment.repository_id,
        Job.environment == environment.name,
        Job.kind == Kind.BACKUP,
        col(Job.state).in_(lifecycle.LIVE),
    )
    return sorted({job.name for job in (await session.exec(live)).all()} & set(services))


async def find(
    session: AsyncSession, repository: Repository, number: int | None, environment: str, service: str | None
) -> BackupRow:
    """A backup by its number, or the last one of an environment. Raises Refused."""
    if number is not None:
        row = await session.get(BackupRow, number)
        if row is None or row.repository_id != repository.id:
            raise Refused(f"{repository.full_name} has no backup {number}")
        return row
    rows = await backups.of(session, repository.id, environment, service or "")
    if not rows:
        of = f"{service} of {environment}" if service else environment
        raise Refused(f"there is no backup of {of}")
    if len({row.service for row in rows}) > 1:
        raise Refused(f"{environment} has backups of several services: say which, or a backup's number")
    return rows[0]


async def _services(session: AsyncSession, environment: Environment) -> Sequence[ServiceRow]:
    mine = select(ServiceRow).where(ServiceRow.environment_id == environment.id)
    return (await session.exec(mine.order_by(col(ServiceRow.name)))).all()


async def _held(session: AsyncSession, environment: Environment, actor: str) -> str:
    """The lock of somebody else that holds an environment, for people."""
    theirs = select(Lock).where(locks.on(environment.repository_id, environment.name), Lock.owner != actor)
    lock = (await session.exec(theirs.limit(1))).first()
    why = f": {lock.reason}" if lock and lock.reason else ""
    return f"{environment.name} is locked by {lock.owner}{why}" if lock else ""


async def _recorded(
    session: AsyncSession, environment: Environment, made: Decision, settings: Settings
) -> tuple[str, int | None]:
    owner = await session.get_one(Repository, environment.repository_id)
    return await record.decision(session, owner, made, "", settings.worker_pool, settings.attempts)
