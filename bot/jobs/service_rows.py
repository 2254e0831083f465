"""The rows of services: those of a job's environment, and those whose schedule is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import SelectOfScalar

from bot.store.tables import Environment, Job, Repository, ServiceRow


async def of(session: AsyncSession, job: Job) -> Sequence[ServiceRow]:
    """All of the environment that a job is for."""
    return (await session.exec(_of(job))).all()


async def named(session: AsyncSession, job: Job) -> ServiceRow | None:
    """The one that a job is about."""
    return (await session.exec(_of(job).where(ServiceRow.name == job.spec["service"]))).first()


async def scheduled(
    session: AsyncSession, since: datetime | None
) -> Sequence[tuple[ServiceRow, Environment]]:
    """Those that run and have a schedule. `since`: the column from which on its times count."""
    wanted = (
        select(ServiceRow, Environment)
        .join(Environment, col(Environment.id) == col(ServiceRow.environment_id))
        .join(Repository, col(Repository.id) == col(Environment.repository_id))
        .where(col(since).is_not(None), col(ServiceRow.worker).is_not(None))
        .where(col(Environment.stopped).is_(False), col(Environment.asleep).is_(False))
        .where(Repository.inactive == "")
    )
    return (await session.exec(wanted)).all()


def _of(job: Job) -> SelectOfScalar[ServiceRow]:
    return (
        select(ServiceRow)
        .join(Environment, col(Environment.id) == col(ServiceRow.environment_id))
        .where(Environment.repository_id == job.repository_id, Environment.name == job.environment)
    )
