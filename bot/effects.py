"""What a decision changes besides runs: locks, approvals, the end of jobs, the life of a preview."""

from __future__ import annotations

import json
from typing import assert_never

from sqlalchemy import delete, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot import lifecycle, reports
from bot.decision import (
    Approve,
    CancelJobs,
    Effect,
    Extend,
    FreeLock,
    FreeLocksOf,
    Maintain,
    TakeLock,
    Tell,
    Thaw,
)
from bot.store.tables import Approval, Environment, Job, Lock, Mark, Pull, Repository, Run

THAW = "thaw:"


async def apply(session: AsyncSession, owner: Repository, effect: Effect) -> None:
    """Write one effect; written twice it is the same."""
    match effect:
        case TakeLock():
            await _lock(session, owner, effect)
        case FreeLock():
            here = (col(Lock.repository_id) == owner.id, col(Lock.environment) == effect.environment)
            await session.exec(delete(Lock).where(*here))
        case FreeLocksOf():
            mine = (col(Lock.repository_id) == owner.id, col(Lock.pull_number) == effect.pull_number)
            named = col(Lock.environment).in_(effect.environments)
            await session.exec(delete(Lock).where(*mine, named))
        case Approve():
            await _approve(session, owner, effect)
        case CancelJobs():
            await _cancel(session, owner, effect)
        case Extend():
            mine = (col(Pull.repository_id) == owner.id, col(Pull.number) == effect.pull_number)
            await session.exec(update(Pull).where(*mine).values(expires_at=effect.until))
        case Thaw():
            await _thaw(session, owner, effect)
        case Maintain():
            here = (
                col(Environment.repository_id) == owner.id,
                col(Environment.name) == effect.environment,
            )
            await session.exec(update(Environment).where(*here).values(maintenance=effect.text))
        case Tell():
            mine = (col(Pull.repository_id) == owner.id, col(Pull.number) == effect.pull_number)
            await session.exec(update(Pull).where(*mine).values(waiting=effect.text))
            await reports.owe_comment(session, owner.id, effect.pull_number)
        case _:
            assert_never(effect)


async def _lock(session: AsyncSession, owner: Repository, lock: TakeLock) -> None:
    """A lock is sticky: one that is taken stays its owner's."""
    here = select(Lock).where(Lock.repository_id == owner.id, Lock.environment == lock.environment)
    if (await session.exec(here)).first() is None:
        session.add(Lock(repository_id=owner.id, **vars(lock)))
        await session.flush()


def thaw_mark(repository_id: int, environment: str) -> str:
    """Of what a freeze window holds from an environment: the newest, whatever ref it came from."""
    return f"{THAW}{repository_id}:{environment}"


async def _thaw(session: AsyncSession, owner: Repository, thaw: Thaw) -> None:
    name = thaw_mark(owner.id, thaw.environment)
    mark = await session.get(Mark, name) or Mark(name=name, value="")
    mark.value = json.dumps({"ref": thaw.ref, "until": thaw.until.isoformat()})
    session.add(mark)
    await session.flush()


async def _approve(session: AsyncSession, owner: Repository, approval: Approve) -> None:
    same = select(Approval).where(
        Approval.repository_id == owner.id, Approval.sha == approval.sha, Approval.actor == approval.actor
    )
    if (await session.exec(same)).first() is None:
        session.add(Approval(repository_id=owner.id, **vars(approval)))
        await session.flush()


async def _cancel(session: AsyncSession, owner: Repository, effect: CancelJobs) -> None:
    live = (
        select(Job)
        .join(Run, col(Run.id) == col(Job.run_id))
        .where(Run.repository_id == owner.id, Run.pull_number == effect.pull_number)
        .where(col(Job.state).in_(lifecycle.LIVE))
    )
    for job in (await session.exec(live)).all():
        await lifecycle.cancel(session, job, "cancelled", effect.sentence)
