"""Services with a schedule of updates: at each of its times the registry is asked what their tag is."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

import structlog
from sqlalchemy.exc import IntegrityError
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.decisions import cron, quiet, record, updates
from bot.decisions.decision import Refused
from bot.decisions.freezes import frozen
from bot.jobs import service_rows, tasks
from bot.store import locks
from bot.store.database import Store
from bot.store.tables import Environment, Lock, Release, Repository, ServiceRow
from config.settings import Settings
from workers.contract.messages import now

EVERY = 20.0  # seconds

log = structlog.get_logger()


async def sweep(store: Store, settings: Settings) -> None:
    """Look at each service with a schedule that runs."""
    async with store.reading() as session:
        found = await service_rows.scheduled(session, ServiceRow.update_since)
    for row, environment in found:
        if row.update_since and (at := cron.last(row.update_cron, row.update_since, now())):
            await _begin(store, settings, row, environment, at)


async def _begin(
    store: Store, settings: Settings, row: ServiceRow, environment: Environment, at: datetime
) -> None:
    """One job for a scheduled time, whoever else sees it; what a freeze or a lock holds is skipped."""
    with suppress(IntegrityError):  # another bot was first
        async with store.transaction() as session:
            mine = await session.get(ServiceRow, (row.environment_id, row.name), with_for_update=True)
            if mine is None or mine.update_since != row.update_since:
                return
            if await quiet.busy(session, environment):
                return  # when that has ended, it is due still
            mine.update_since = at
            live = await tasks.live(session, environment.repository_id, environment.name)
            if live is None or await _held(session, environment, live):
                return
            try:
                made = updates.due(environment, live, mine, at)
            except Refused as refused:
                log.info("not updated", environment=environment.name, service=row.name, why=str(refused))
                return
            owner = await session.get_one(Repository, environment.repository_id)
            await record.decision(session, owner, made, "", settings.worker_pool, settings.attempts)
        store.instruments.found("updates")
        log.info("update due", environment=environment.name, service=row.name, at=at.isoformat())


async def _held(session: AsyncSession, environment: Environment, live: Release) -> bool:
    held = select(Lock.id).where(locks.on(environment.repository_id, environment.name))
    locked = (await session.exec(held.limit(1))).first() is not None
    return locked or frozen(live.settings.get("freeze") or (), now()) is not None
