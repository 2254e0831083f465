"""How a job moves: the table of allowed moves, and the one function that makes them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.metrics.instruments import Instruments
from bot.metrics.noting import note
from bot.reports import happenings, rows, texts
from bot.store.tables import AttemptRow, CommandRow, CommandState, Job, JobState, Release, ReleaseState, Run
from workers.contract.messages import Kind, now

MOVES: dict[JobState, frozenset[JobState]] = {
    JobState.WAITING: frozenset({JobState.QUEUED, JobState.CANCELLED}),
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.FAILED, JobState.CANCELLED}),
    JobState.RUNNING: frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.QUEUED, JobState.CANCELLED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}
LIVE = (JobState.WAITING, JobState.QUEUED, JobState.RUNNING)
OF_COMMITS = frozenset({Kind.BUILD, Kind.DEPLOY, Kind.STOP})  # which a newer one of their ref ends
OF_WHAT_RUNS = frozenset(Kind) - {Kind.BUILD, Kind.DEPLOY}  # done where that is, and nowhere else


class NotAllowed(Exception):
    """A move that the table has not: a bug of ours."""


async def move(session: AsyncSession, job: Job, to: JobState, **changes: Any) -> bool:
    """Move `job` from the state and attempt that it was read in to `to`, and owe the reports of it.

    False if somebody else moved it in between: then nothing was written. Raises NotAllowed.
    """
    if to not in MOVES[job.state]:
        raise NotAllowed(f"job {job.id}: {job.state} to {to}")
    if to.final:
        changes.setdefault("ended_at", now())
        await in_turn(session, job)
    was, offered_at = job.state, job.offered_at
    here = (col(Job.id) == job.id, col(Job.state) == job.state, col(Job.attempt) == job.attempt)
    moved = await session.exec(
        update(Job).where(*here).values(state=to, **changes), execution_options={"synchronize_session": False}
    )
    if moved.rowcount != 1:
        return False
    await session.refresh(job)
    waits = bool(texts.awaits(job)) and not job.state.final  # one look of many: no failure, and no news
    if was is JobState.RUNNING and not waits:
        await session.merge(attempt_of(job))
    if not waits:
        _tell(session, job, was, offered_at)
    await _follow(session, job)
    return True


def _tell(session: AsyncSession, job: Job, was: JobState, offered_at: datetime | None) -> None:
    """Note for the metrics what a move tells: how long it was waited for, and how things ended."""
    kind, started, at = job.kind.value, job.started_at or now(), job.ended_at or now()
    if job.state is JobState.RUNNING and offered_at is not None:
        note(session, Instruments.granted, kind, (started - offered_at).total_seconds())
    if was is JobState.RUNNING:
        ended = "failed" if job.state is JobState.QUEUED else job.state.value
        note(session, Instruments.attempt_ended, kind, ended, job.reason, (at - started).total_seconds())
    if job.state.final:
        place = job.environment if job.kind is Kind.DEPLOY else None
        note(session, Instruments.job_ended, kind, job.state.value, job.reason, place)


async def in_turn(session: AsyncSession, job: Job) -> None:
    """Of the jobs of a command's run one ends after the other, so that the last one sees that it is the last.

    Always before a row of its jobs is changed: so nobody waits for whom he keeps waiting.
    """
    mine = select(Run.id).where(Run.id == job.run_id, col(Run.comment_id).is_not(None))
    await session.exec(mine.with_for_update(key_share=True))


def lease_end(lease: float) -> datetime:
    """When a lease of `lease` seconds that is given or renewed now ends."""
    return now() + timedelta(seconds=lease)


def attempt_of(job: Job) -> AttemptRow:
    """The attempt that a job is in, or that has just ended in its state."""
    running = job.state is JobState.RUNNING
    again = job.state is JobState.QUEUED
    return AttemptRow(
        job_id=job.id,
        attempt=job.attempt,
        worker=job.worker,
        started_at=job.started_at,
        ended_at=None if running else now(),
        outcome="" if running else "failed" if again else job.state.value,
        fault=job.fault,
        reason=job.reason,
        sentence=job.sentence,
        failed_step=job.failed_step,
    )


async def _follow(session: AsyncSession, job: Job) -> None:
    """What a move brings with it, in the same transaction."""
    run = await session.get_one(Run, job.run_id)
    release = await release_of(session, job)
    if release is not None and release.state is ReleaseState.STARTING and job.state.final:
        release.state = ReleaseState.FAILED
    if job.state.final or not texts.awaits(job):
        await rows.job_changed(session, job, run, release)
        await happenings.job_moved(session, job)
    if job.state in (JobState.FAILED, JobState.CANCELLED):
        await _cancel_dependents(session, job)
    elif job.state is JobState.SUCCEEDED:
        await _met(session, job)
    if job.state.final and run.comment_id is not None:
        await _end_command(session, run)


async def release_of(session: AsyncSession, job: Job) -> Release | None:
    """The release that a deploy job brings out, once it has started."""
    if job.kind is not Kind.DEPLOY:
        return None
    return (await session.exec(select(Release).where(Release.job_id == job.id))).first()


async def _met(session: AsyncSession, job: Job) -> None:
    """By the database's own arithmetic: two of the jobs that one needs may end at the same time."""
    if met := [dependent.id for dependent in await _dependents(session, job)]:
        counted = (col(Job.id).in_(met), col(Job.unmet) > 0)  # what is not counted yet will be, with this one
        await session.exec(update(Job).where(*counted).values(unmet=Job.unmet - 1))


async def _dependents(session: AsyncSession, job: Job) -> list[Job]:
    """The waiting jobs that need `job`."""
    waiting = select(Job).where(Job.run_id == job.run_id, Job.state == JobState.WAITING)
    return [one for one in (await session.exec(waiting)).all() if job.id in one.needs]


async def _cancel_dependents(session: AsyncSession, job: Job) -> None:
    for dependent in await _dependents(session, job):
        if dependent.state is JobState.WAITING:
            sentence = texts.needs_failed([job.context]) if job.state is JobState.FAILED else job.sentence
            reason = "needs_failed" if job.state is JobState.FAILED else job.reason
            await move(session, dependent, JobState.CANCELLED, reason=reason, sentence=sentence)


async def _end_command(session: AsyncSession, run: Run) -> None:
    """A command ends in exactly one visible final state: when the last job of its run has ended."""
    mine = select(Job).where(Job.run_id == run.id).order_by(col(Job.id))
    jobs = (await session.exec(mine, execution_options={"populate_existing": True})).all()
    if run.comment_id is None or not all(job.state.final for job in jobs):
        return
    wrong = next((job for job in jobs if job.state is not JobState.SUCCEEDED), None)
    ended = CommandState.FAILED if wrong else CommandState.SUCCEEDED
    answer = texts.ended(jobs, wrong)
    theirs = (col(CommandRow.run_id) == run.id, col(CommandRow.state) == CommandState.ACCEPTED)
    await session.exec(update(CommandRow).where(*theirs).values(state=ended, answer=answer))
    await answer_commands(session, run.repository_id, run.comment_id)


async def answer_commands(session: AsyncSession, repository_id: int, comment_id: int) -> None:
    """React to a comment: eyes for what is done, then, when all its commands have ended, how they ended."""
    found = (await session.exec(select(CommandRow.state).where(CommandRow.comment_id == comment_id))).all()
    states = {CommandState(state) for state in found}
    if states - {CommandState.REFUSED}:
        await rows.owe_reaction(session, repository_id, comment_id, "eyes")
    if states and CommandState.ACCEPTED not in states:
        content = "rocket" if states == {CommandState.SUCCEEDED} else "confused"
        await rows.owe_reaction(session, repository_id, comment_id, content)


async def supersede(session: AsyncSession, run: Run, jobs: Sequence[Job] = ()) -> None:
    """End what older runs of the same ref still do: at once what does not run, by a cancel what does.

    Of a run of the same commit only what the new one does again is ended: `/deploy production` leaves
    the preview's deploy alone. A task or a backup belongs to no commit: it neither ends what runs, nor is it
    ended.
    """
    if jobs and not any(job.kind in OF_COMMITS for job in jobs):
        return
    again = {job.environment for job in jobs if job.environment}
    ends = any(job.kind is Kind.STOP for job in jobs)
    older = (
        select(Job)
        .join(Run, col(Run.id) == col(Job.run_id))
        .where(Run.repository_id == run.repository_id, Run.ref == run.ref, col(Run.id) < run.id)
        .where(col(Job.state).in_(LIVE), col(Job.kind).in_(OF_COMMITS))
    )
    for job in (await session.exec(older)).all():
        if ends or job.sha != run.sha or job.environment in again:
            await cancel(session, job, "superseded", texts.superseded(run.sha))


async def cancel(session: AsyncSession, job: Job, reason: str, sentence: str) -> None:
    """End a job, or mark a running one: then `sweeps.cancels` tells its worker until it has ended."""
    if job.state is JobState.RUNNING:
        await in_turn(session, job)
        job.cancelling, job.reason = sentence, reason
    elif not job.state.final:  # it may have ended with the job that it needs
        await move(session, job, JobState.CANCELLED, reason=reason, sentence=sentence)
