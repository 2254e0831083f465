"""Schedules of backups: what is due gets its job once, and what is overdue is told."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta

import structlog
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select

from bot.decisions import backups, cron
from bot.decisions.decision import Refused
from bot.jobs import service_rows
from bot.jobs.backups import said as planned
from bot.reports import happenings, texts
from bot.store.database import Store
from bot.store.tables import Environment, Job, JobState, ServiceRow
from config.settings import Settings
from workers.contract.messages import Kind, now

EVERY = 20.0  # seconds
_LATE = timedelta(hours=1)  # that a backup may be late, or may wait for its worker, before it is told

log = structlog.get_logger()


async def sweep(store: Store, settings: Settings) -> None:
    """Look at each service with a schedule that runs."""
    async with store.reading() as session:
        found = await service_rows.scheduled(session, ServiceRow.backup_since)
    for row, environment in found:
        said = planned(row)
        if said is None or said.cron is None or row.backup_since is None:
            continue
        if not settings.service_backups:
            await _tell(store, row, environment, backups.NO_PLACE)
            continue
        if fires := cron.last(said.cron, row.backup_since, now()):
            await _begin(store, row, environment, fires, settings)
        await _look(store, row, environment, said.cron)


async def _begin(
    store: Store, row: ServiceRow, environment: Environment, fires: datetime, settings: Settings
) -> None:
    """One job for a scheduled time, whoever else sees it: its cause has a key, in the job's transaction."""
    key = f"backup:{row.environment_id}:{row.name}:{fires.isoformat()}"
    with suppress(IntegrityError):  # another bot was first
        async with store.transaction() as session:
            mine = await session.get(ServiceRow, (row.environment_id, row.name), with_for_update=True)
            if mine is None or mine.backup_since != row.backup_since:
                return
            if await backups.under_way(session, environment, [row.name]):
                return  # when that has ended, it is due still
            mine.backup_since = fires
            try:
                await backups.run(session, environment, row.name, settings, actor="", cause="backup", key=key)
            except Refused as refused:
                mine.backup_trouble = f"its backup was not begun: {refused}"
                happenings.backup_turned(session, environment, row.name, mine.backup_trouble)
        store.instruments.found("backups")
        log.info("backup due", environment=environment.name, service=row.name, at=fires.isoformat())


async def _look(store: Store, row: ServiceRow, environment: Environment, said: str) -> None:
    """Tell what is overdue: no job was made for its time, or the job waits for its worker since then."""
    waits = select(Job.created_at).where(
        Job.repository_id == environment.repository_id,
        Job.environment == environment.name,
        Job.kind == Kind.BACKUP,
        Job.name == row.name,
        col(Job.state).in_((JobState.WAITING, JobState.QUEUED)),
        col(Job.created_at) < now() - _LATE,
    )
    async with store.reading() as session:
        mine = await session.get(ServiceRow, (row.environment_id, row.name))
        since = (await session.exec(waits.limit(1))).first()
    if since is None and mine is not None and mine.backup_since is not None:
        since = cron.last(said, mine.backup_since, now() - _LATE)
    if since is not None:
        await _tell(store, row, environment, texts.overdue(since))
    elif mine is not None and mine.backup_trouble == backups.NO_PLACE:
        await _tell(store, row, environment, "")


async def _tell(store: Store, row: ServiceRow, environment: Environment, trouble: str) -> None:
    async with store.transaction() as session:
        mine = await session.get(ServiceRow, (row.environment_id, row.name))
        if mine is not None and mine.backup_trouble in ("", backups.NO_PLACE):
            if mine.backup_trouble != trouble:
                happenings.backup_turned(session, environment, row.name, trouble)
            mine.backup_trouble = trouble
