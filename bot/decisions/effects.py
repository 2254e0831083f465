"""What a decision changes besides runs: locks, approvals, the end of jobs, the life of a preview."""

from __future__ import annotations

import json
from typing import assert_never

from sqlalchemy import delete, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.decisions.decision import (
    Approve,
    CancelJob,
    CancelJobs,
    Channels,
    Deny,
    Effect,
    Extend,
    FreeLock,
    FreeLocksOf,
    Maintain,
    TakeLock,
    Tell,
    Thaw,
    Unwant,
    Wake,
    Want,
)
from bot.jobs import awaiting, lifecycle
from bot.reports import happenings, rows
from bot.store import audit, locks
from bot.store.audit import Changed
from bot.store.tables import Approval, Environment, Job, Lock, Mark, Pull, Repository, Run, Wanted

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
            happenings.approval_waits(session, owner.id, "", effect.sha, "")
        case Want():
            if not effect.approved:
                happenings.approval_waits(session, owner.id, effect.environment, effect.sha, effect.why)
            await _want(session, owner, effect)
        case Unwant():
            theirs = (col(Wanted.repository_id) == owner.id, col(Wanted.sha) == effect.sha)
            there = (
                col(Wanted.environment) == effect.environment,
                col(Wanted.pull_number) == (effect.pull_number or 0),
            )
            await session.exec(delete(Wanted).where(*theirs, *there))
        case Deny():
            happenings.approval_waits(session, owner.id, "", effect.sha, "")
            theirs = (col(Wanted.repository_id) == owner.id, col(Wanted.sha) == effect.sha)
            await session.exec(update(Wanted).where(*theirs).values(denied_by=effect.actor))
        case Channels():
            if (owner.channels or {}) != effect.said:
                channels = update(Repository).where(col(Repository.id) == owner.id)
                await session.exec(channels.values(channels=effect.said))
        case CancelJob():
            job = await session.get(Job, effect.job)
            if job is not None and job.repository_id == owner.id:
                said = f"cancelled {job.name}, job {job.id}"
                audit.note(session, Changed(effect.actor, audit.BUTTON, said, repository_id=owner.id))
                await lifecycle.cancel(session, job, "cancelled", f"Cancelled by {effect.actor}")
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
            await rows.owe_comment(session, owner.id, effect.pull_number)
        case Wake():
            await awaiting.wake(session, owner.id, effect.sha)
        case _:
            assert_never(effect)


async def _lock(session: AsyncSession, owner: Repository, lock: TakeLock) -> None:
    """A lock is sticky: one that is taken stays its owner's, who may say anew why and until when."""
    here = select(Lock).where(Lock.repository_id == owner.id, Lock.environment == lock.environment)
    held = (await session.exec(here)).first()
    if held is not None and locks.over(held):
        await session.delete(held)
        await session.flush()
        held = None
    if held is not None and held.owner == lock.owner:
        held.reason = lock.reason or held.reason
        held.expires_at = lock.expires_at or held.expires_at
    elif held is None:
        session.add(Lock(repository_id=owner.id, **vars(lock)))
        await session.flush()


async def _want(session: AsyncSession, owner: Repository, want: Want) -> None:
    """The newest of its environment and pull request; one that was denied is not asked for again."""
    number = want.pull_number or 0
    here = select(Wanted).where(
        Wanted.repository_id == owner.id,
        Wanted.environment == want.environment,
        Wanted.pull_number == number,
    )
    row = (await session.exec(here)).first()
    if row is not None and row.sha != want.sha:
        await session.delete(row)
        await session.flush()
        row = None
    if row is None:
        known = {key: value for key, value in vars(want).items() if key not in ("pull_number", "approved")}
        session.add(Wanted(repository_id=owner.id, pull_number=number, **known))
        await session.flush()
    else:
        row.why, row.ref, row.actor = want.why, want.ref, want.actor
        if want.approved:  # whoever denied it has thought again, or somebody else has
            row.denied_by = ""


def thaw_mark(repository_id: int, environment: str) -> str:
    """Of what a freeze window holds from an environment: the newest, whatever ref it came from."""
    return f"{THAW}{repository_id}:{environment}"


async def _thaw(session: AsyncSession, owner: Repository, thaw: Thaw) -> None:
    name = thaw_mark(owner.id, thaw.environment)
    mark = await session.get(Mark, name) or Mark(name=name, value="")
    held = {"ref": thaw.ref, "sha": thaw.sha, "actor": thaw.actor}
    mark.value = json.dumps({**held, "until": thaw.until.isoformat()})
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
