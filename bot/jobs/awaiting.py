"""Images that are built elsewhere: when they are looked for, and until when. What decides is pure.

A job that waits stands in line until its time has come, and holds no slot: a worker asks the registry once,
and the bot says when that is done again. What makes the image is seen by the commit's checks at GitHub.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.jobs import lifecycle
from bot.reports import rows, texts
from bot.store.tables import AwaitRow, Job, JobState, Run
from workers.contract.messages import Failed, Fault, now

# Of a build's spec: the check that makes it; that its tag says nothing before that has succeeded; that it is
# only looked what the tag is now.
CHECK, HELD, FOLLOWS = "check", "held", "follows"
PULLS = "pulls"  # of a deploy's: some image of it is built elsewhere
_FIRST, _MOST = 5.0, 60.0  # seconds between two looks: doubling
GRACE = timedelta(seconds=60)  # in which what a check has pushed is there, or a further check begins
SETTLED = timedelta(seconds=60)  # after which a commit's checks are believed to be all that there will be
_SHOWN = 3  # checks
_FAR = timedelta(days=365)


@dataclass(frozen=True)
class Ended:
    """Nothing makes the image any more: how that ended."""

    good: bool
    told: str


def awaited(job: Job) -> bool:
    """Pure: whether a job's image is built elsewhere."""
    return bool(texts.awaits(job))


def pause(looks: int) -> float:
    """Pure: seconds after so many looks: 5, 10, 20, 40, 60, 60, …"""
    return float(min(_FIRST * 2 ** min(looks - 1, 10), _MOST))


def ended(checks: Mapping[str, str], over: bool, check: str | None, waited: timedelta) -> Ended | None:
    """Pure: whether what makes the image has ended, by what GitHub says of the commit's checks.

    `checks`: success, pending or failure by name; `over`: none of them runs, or is to, any more; `check`: the
    one that makes it, with its matrix and its parts. Where none is named, all of them are.
    """
    theirs = {name: said for name, said in checks.items() if check is None or _is(name, check)}
    if "pending" in theirs.values() or (not over and (check is None or not theirs)):
        return None
    if (check is None or not theirs) and (waited < SETTLED or not checks):
        return None  # what makes it may not be there yet
    bad = sorted(name for name, said in theirs.items() if said == "failure")
    if bad:
        return Ended(False, f"check {bad[0]} failed")
    if check is not None and not theirs:
        return Ended(False, f"no check {check} ran, only {', '.join(sorted(checks)[:_SHOWN])}")
    return Ended(True, f"check {check} succeeded" if check else "all checks have ended")


def _is(name: str, check: str) -> bool:
    """As GitHub names a job, one of its matrix, and one of a workflow that it calls."""
    return name == check or name.startswith((f"{check} (", f"{check} / "))


def verdict(row: AwaitRow, reference: str, began: datetime, at: datetime) -> str | None:
    """Pure: why an image is not waited for any longer, after a look that `began` then; for people."""
    if row.ended_at is not None and began >= row.ended_at + (GRACE if row.good else timedelta()):
        return texts.never_came(reference, row.checks, row.said)
    if at >= row.until:
        return texts.never_came(reference, texts.in_time(row.until - row.since), row.said)
    return None


def again(row: AwaitRow, at: datetime) -> datetime:
    """Pure: when it is looked for again."""
    next_one = at + timedelta(seconds=pause(row.looks))
    if row.ended_at is not None:
        next_one = min(next_one, max(at + timedelta(seconds=_FIRST), row.ended_at + GRACE))
    return min(next_one, max(row.until, at + timedelta(seconds=1)))


async def begun(session: AsyncSession, job: Job) -> None:
    """A job that waits for an image has just been made."""
    if not awaited(job) or job.spec.get(FOLLOWS):
        return
    job.reason, job.sentence = texts.AWAITED, texts.waiting(texts.awaits(job), "")
    until = now() + timedelta(seconds=job.spec["timeout"])
    session.add(AwaitRow(job_id=job.id, repository_id=job.repository_id, sha=job.sha, until=until))
    if job.spec.get(HELD):
        job.not_before = until + _FAR


async def looked(session: AsyncSession, job: Job, failure: Failed) -> bool:
    """An attempt did not find the image: whether the job was moved as that asks for."""
    row = await session.get(AwaitRow, job.id) if awaited(job) else None
    if row is None or failure.fault is not Fault.OURS or job.cancelling:
        return False
    before, began = row.said, job.started_at or now()
    row.looks += 1
    row.said = "" if failure.reason == texts.AWAITED else failure.sentence
    if why := verdict(row, texts.awaits(job), began, now()):
        await session.delete(row)
        await lifecycle.move(session, job, JobState.FAILED, **_told(why))
        return True
    back = {"not_before": again(row, now()), "offered_at": None}
    told = {"reason": texts.AWAITED, "sentence": texts.waiting(texts.awaits(job), row.said)}
    if await lifecycle.move(session, job, JobState.QUEUED, **told, **back) and row.said != before:
        await rows.job_changed(session, job, await session.get_one(Run, job.run_id), None)
    return True


async def found(session: AsyncSession, job: Job) -> None:
    """Its image is there."""
    if (row := await session.get(AwaitRow, job.id)) is not None:
        await session.delete(row)


async def wake(session: AsyncSession, repository_id: int, sha: str | None) -> None:
    """Something was heard of a commit's checks, or of an image: GitHub and the registry are asked at once."""
    mine = [col(AwaitRow.repository_id) == repository_id, *([col(AwaitRow.sha) == sha] if sha else [])]
    waiting = (await session.exec(select(AwaitRow.job_id).where(*mine))).all()
    if not waiting:
        return
    await session.exec(update(AwaitRow).where(*mine).values(asked_at=None))
    rested = (col(Job.id).in_(waiting), col(Job.state) == JobState.QUEUED, col(Job.offered_at).is_(None))
    soon = col(Job.not_before) < now() + _FAR / 2  # but for those that say nothing yet
    await session.exec(update(Job).where(*rested, soon).values(not_before=now()))


async def heard(session: AsyncSession, row: AwaitRow, job: Job, said: Ended | None) -> None:
    """Keep whether nothing makes the image any more; then it is looked for once more, or given up."""
    if said is None:
        row.ended_at, row.good, row.checks = None, False, ""  # something has begun again
    elif row.ended_at is None:
        row.ended_at, row.good, row.checks = now(), said.good, said.told
        if job.state is JobState.QUEUED and job.offered_at is None and (said.good or not job.spec.get(HELD)):
            job.not_before = now()
    await given_up(session, row, job)


async def given_up(session: AsyncSession, row: AwaitRow, job: Job) -> None:
    """Of one that is not looked for before its check has succeeded: it did not, or not in time."""
    hopeless = not row.good and (row.ended_at is not None or now() >= row.until)
    if not job.spec.get(HELD) or not hopeless or job.state is not JobState.QUEUED:
        return
    why = row.checks or texts.in_time(row.until - row.since)
    sentence = texts.never_came(texts.awaits(job), why, row.said)
    await session.delete(row)
    await lifecycle.move(session, job, JobState.FAILED, **_told(sentence))


def _told(sentence: str) -> dict[str, Any]:
    return {"fault": Fault.USER, "reason": "image_never_came", "sentence": sentence}
