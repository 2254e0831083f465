"""Tasks with a schedule: at each of its times a task begins once in what is live, or it is said why not.

A time is begun by moving the task's row on, in the transaction that makes its job: of two bots, and of one
that was killed in between, one does so. Of times that nobody was there for only the last one is made up for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.decisions import cron, record
from bot.decisions import tasks as decisions
from bot.jobs import tasks
from bot.store.database import Store
from bot.store.tables import Environment, Release, ReleaseState, Repository, TaskRow
from config.settings import Settings
from workers.contract.messages import now

EVERY = 15.0  # seconds

Key = tuple[int, str]  # an environment's id, and a task's name

log = structlog.get_logger()


@dataclass(frozen=True)
class Steps:
    """What there is to do about the tasks that there are."""

    seen: Mapping[Key, str] = field(default_factory=dict)  # new, or with another schedule, which this is
    gone: tuple[Key, ...] = ()  # that no release names any more
    due: Mapping[Key, datetime] = field(default_factory=dict)  # the last of their times that came


def steps(scheduled: Mapping[Key, str], rows: Iterable[TaskRow], resting: set[int], at: datetime) -> Steps:
    """Pure. `scheduled`: the cron of each task of what is live; `resting`: environments that may be so again.

    What is new, or changed, has its first time from now on. A task of what rests keeps its times, so that it
    can be told that they passed.
    """
    known = {(row.environment_id, row.name): row for row in rows}
    changed = {key: said for key, said in scheduled.items() if key not in known or known[key].cron != said}
    gone = [key for key in known if key not in scheduled and key[0] not in resting]
    due = {
        key: time
        for key, row in known.items()
        if key not in changed and key not in gone and (time := cron.last(row.cron, row.ticked_at, at))
    }
    return Steps(changed, tuple(gone), due)


async def sweep(store: Store, settings: Settings) -> None:
    """Begin what is due."""
    at = now()
    async with store.reading() as session:
        found = steps(await _scheduled(session), await _rows(session), await _resting(session), at)
    if found.seen or found.gone:
        async with store.transaction() as session:
            await _kept(session, found, at)
    for key, time in found.due.items():
        await _tick(store, settings, key, time)


async def _scheduled(session: AsyncSession) -> dict[Key, str]:
    told: Any = col(Release.settings)["tasks"]
    live = (
        select(Environment.id, told)
        .join(Release, col(Release.environment_id) == col(Environment.id))
        .join(Repository, col(Repository.id) == col(Environment.repository_id))
        .where(Release.state == ReleaseState.LIVE, Repository.inactive == "")
    )
    return {
        (place, name): task.cron
        for place, said in (await session.exec(live)).all()
        for name, task in tasks.named({"tasks": said}).items()
        if place is not None and task.cron is not None
    }


async def _rows(session: AsyncSession) -> list[TaskRow]:
    return list((await session.exec(select(TaskRow))).all())


async def _resting(session: AsyncSession) -> set[int]:
    """The environments that run nothing now, but for previews that have ended."""
    live = select(Release.environment_id).where(Release.state == ReleaseState.LIVE)
    ended = col(Environment.stopped) & ~col(Environment.asleep) & col(Environment.pull_number).is_not(None)
    resting = select(Environment.id).where(col(Environment.id).not_in(live), ~ended)
    return {place for place in (await session.exec(resting)).all() if place is not None}


async def _kept(session: AsyncSession, found: Steps, at: datetime) -> None:
    for (place, name), said in found.seen.items():
        row = await session.get(TaskRow, (place, name)) or TaskRow(
            environment_id=place, name=name, cron=said, ticked_at=at
        )
        row.cron, row.ticked_at = said, at
        session.add(row)
    for key in found.gone:
        if (gone := await session.get(TaskRow, key)) is not None:
            await session.delete(gone)


async def _tick(store: Store, settings: Settings, key: Key, time: datetime) -> None:
    place, name = key
    async with store.transaction() as session:
        mine = (
            col(TaskRow.environment_id) == place,
            col(TaskRow.name) == name,
            col(TaskRow.ticked_at) < time,
        )
        moved = await session.exec(update(TaskRow).where(*mine).values(ticked_at=time))
        if moved.rowcount != 1:
            return  # another bot's
        why, run = await _begun(session, settings, key, time)
        if why:
            told = {"skipped_at": time, "skipped": why}
            await session.exec(update(TaskRow).where(*mine[:2]).values(**told))
    store.instruments.found("tasks")
    log.info("task due", environment=place, task=name, time=time.isoformat(), run=run, skipped=why)


async def _begun(
    session: AsyncSession, settings: Settings, key: Key, time: datetime
) -> tuple[str, int | None]:
    """Why a task is skipped, for people, empty if it is not; and its run."""
    environment, name = await session.get_one(Environment, key[0]), key[1]
    owner = await session.get_one(Repository, environment.repository_id)
    live = await tasks.live(session, owner.id, environment.name)
    if live is None:
        return await tasks.nowhere(session, owner.id, environment.name), None
    task = tasks.named(live.settings).get(name)
    if task is None:
        return f"{environment.name} has no such task any more", None
    if why := tasks.hindered(task, name, await tasks.unfinished(session, owner.id, environment.name, name)):
        return why, None
    made = decisions.due(environment, live, name, task, time)
    _, run = await record.decision(session, owner, made, "", settings.worker_pool, settings.attempts)
    return "", run
