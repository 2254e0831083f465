"""Releases that are not where they ran: their worker is gone, or their containers were removed."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from sqlmodel import col, select

from bot.decisions import quiet
from bot.fleet import roster
from bot.fleet.containers import GONE
from bot.fleet.stability import fate
from bot.store import causes
from bot.store.database import Store
from bot.store.tables import ContainerRow, Environment, Job, Release, ReleaseState
from config.settings import Settings
from workers.contract.messages import now
from workers.contract.queue import BotQueue

EVERY = 5.0  # seconds

log = structlog.get_logger()


async def sweep(store: Store, queue: BotQueue, settings: Settings) -> None:
    """Start each lost release again: on another worker of its pool, or where its containers were.

    What can't be (`stability.fate`) is told by `watching`, and waits for its worker.
    """
    at, local = now(), not settings.registry
    async with store.reading() as session:
        gone = await roster.silent(session, queue, at, settings.lease)
        at_work = roster.takers((await roster.workers(session)).values(), at, settings.lease)
        removed = select(ContainerRow.release_id).where(ContainerRow.health == GONE)
        wanted = (
            select(Release, Environment, Job)
            .join(Environment, col(Environment.id) == col(Release.environment_id))
            .join(Job, col(Job.id) == col(Release.job_id))
            .where(Release.state == ReleaseState.LIVE)
            .where(col(Release.worker).in_(gone) | col(Release.id).in_(removed))
        )
        lost = []
        for release, environment, job in (await session.exec(wanted)).all():
            theirs = select(ContainerRow).where(ContainerRow.release_id == release.id)
            here = release.worker not in gone and _all_removed((await session.exec(theirs)).all())
            if here or (release.worker in gone and fate(release, job.pool, at_work, local).moves):
                lost.append((release, environment))
    for release, environment in lost:
        await _start(store, release, environment)


def _all_removed(containers: Sequence[ContainerRow]) -> bool:
    return all(container.health == GONE for container in containers)


async def _start(store: Store, release: Release, environment: Environment) -> None:
    async with store.transaction() as session:
        run = await quiet.start_again(session, environment, release, causes.LOST)
    if run is not None:
        store.instruments.found("lost releases")
        log.warning("release lost", environment=environment.name, release=release.id, run=run)
