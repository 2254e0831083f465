"""Whose a container is that a worker tells of. An environment's own worker is believed, and nobody else."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.jobs import services
from bot.store.tables import Environment, Job, Release, ServiceRow
from workers.contract.outputs import Whose

_NAME = 128  # characters
# What steers a terminal or ends a line, somewhere: a worker sends none of it, unless it lies.
_STEERING = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


def plain(text: str) -> str:
    """Pure: what a worker says, as one line that nothing is done by."""
    return _STEERING.sub(" ", text)


def name(text: str) -> str:
    """Pure: what a worker calls a container, its process or its id."""
    return plain(text[:_NAME])


@dataclass(frozen=True)
class Owner:
    """The environment that a container is of, and its release; None for a service's."""

    environment: int
    release: int | None = None


async def owner(session: AsyncSession, worker: str, whose: Whose, instance: str) -> Owner | None:
    """None if it is not this worker's to tell of, or another instance's."""
    return await (
        _by_service(session, worker, whose, instance)
        if whose.place
        else _by_release(session, worker, whose.release, instance)
    )


async def _by_release(session: AsyncSession, worker: str, label: str, instance: str) -> Owner | None:
    of, _, rest = label.partition(".")
    number, _, _ = rest.partition(".")
    if of != instance or not number.isdecimal() or len(number) > 9:
        return None
    release = await session.get(Release, int(number))
    if release is None:
        return None
    if release.worker != worker:  # it may be starting: then its job says whose it is
        job = await session.get(Job, release.job_id)
        if job is None or job.worker != worker:
            return None
    return Owner(release.environment_id, release.id)


async def _by_service(session: AsyncSession, worker: str, whose: Whose, instance: str) -> Owner | None:
    place = services.placed(whose.place, instance)
    if place is None:
        return None
    mine = (
        select(Environment.id)
        .join(ServiceRow, ServiceRow.environment_id == Environment.id)  # type: ignore[arg-type]
        .where(Environment.repository_id == place[0], Environment.name == place[1])
        .where(ServiceRow.name == whose.process, ServiceRow.worker == worker)
    )
    found = (await session.exec(mine)).first()
    return None if found is None else Owner(found)
