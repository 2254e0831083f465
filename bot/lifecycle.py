"""How a job moves: the table of allowed moves, and the one function that makes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot import answers, reports, texts
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
    ran = job.state is JobState.RUNNING
    here = (col(Job.id) == job.id, col(Job.state) == job.state, col(Job.attempt) == job.attempt)
    moved = await session.exec(
        update(Job).where(*here).values(state=to, **changes), execution_options={"synchronize_session": False}
    )
    if moved.rowcount != 1:
        return False
    await session.refresh(job)
    if ran:
        await session.merge(attempt_of(job))
    await _follow(session, job)
    return True


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
    await reports.job_changed(session, job, run, release)
    if job.state in (JobState.FAILED, JobState.CANCELLED):
        await _cancel_dependents(session, job)
    if job.state.final and run.comment_id is not None:
        await _end_command(session, run)


async def release_of(session: AsyncSession, job: Job) -> Release | None:
    """The release that a deploy job brings out, once it has started."""
    if job.kind is not Kind.DEPLOY:
        return None
    return (await session.exec(select(Release).where(Release.job_id == job.id))).first()


async def _cancel_dependents(session: AsyncSession, job: Job) -> None:
    waiting = select(Job).where(Job.run_id == job.run_id, Job.state == JobState.WAITING)
    for dependent in (await session.exec(waiting)).all():
        if job.id in dependent.needs:
            sentence = texts.needs_failed([job.context]) if job.state is JobState.FAILED else job.sentence
            reason = "needs_failed" if job.state is JobState.FAILED else job.reason
            await move(session, dependent, JobState.CANCELLED, reason=reason, sentence=sentence)


async def _end_command(session: AsyncSession, run: Run) -> None:
    """A command ends in exactly one visible final state: when the last job of its run has ended."""
    jobs = (await session.exec(select(Job).where(Job.run_id == run.id).order_by(col(Job.id)))).all()
    if run.comment_id is None or not all(job.state.final for job in jobs):
        return
    wrong = next((job for job in jobs if job.state is not JobState.SUCCEEDED), None)
    ended = CommandState.FAILED if wrong else CommandState.SUCCEEDED
    answer = answers.ended(jobs, wrong)
    mine = (col(CommandRow.run_id) == run.id, col(CommandRow.state) == CommandState.ACCEPTED)
    await session.exec(update(CommandRow).where(*mine).values(state=ended, answer=answer))
    await answer_commands(session, run.repository_id, run.comment_id)


async def answer_commands(session: AsyncSession, repository_id: int, comment_id: int) -> None:
    """React to a comment: eyes for what is done, then, when all its commands have ended, how they ended."""
    rows = (await session.exec(select(CommandRow.state).where(CommandRow.comment_id == comment_id))).all()
    states = {CommandState(state) for state in rows}
    if states - {CommandState.REFUSED}:
        await reports.owe_reaction(session, repository_id, comment_id, "eyes")
    if states and CommandState.ACCEPTED not in states:
        content = "rocket" if states == {CommandState.SUCCEEDED} else "confused"
        await reports.owe_reaction(session, repository_id, comment_id, content)


async def supersede(session: AsyncSession, run: Run, jobs: Sequence[Job] = ()) -> None:
    """End what older runs of the same ref still do: at once what does not run, by a cancel what does.

    Of a run of the same commit only what the new one does again is ended: `/deploy production` leaves
    the preview's deploy alone.
    """
    again = {job.environment for job in jobs if job.environment}
    ends = any(job.kind is Kind.STOP for job in jobs)
    older = (
        select(Job)
        .join(Run, col(Run.id) == col(Job.run_id))
        .where(Run.repository_id == run.repository_id, Run.ref == run.ref, col(Run.id) < run.id)
        .where(col(Job.state).in_(LIVE))
    )
    for job in (await session.exec(older)).all():
        if ends or job.sha != run.sha or job.environment in again:
            await cancel(session, job, "superseded", texts.superseded(run.sha))


async def cancel(session: AsyncSession, job: Job, reason: str, sentence: str) -> None:
    """End a job, or mark a running one: then `sweeps.cancels` tells its worker until it has ended."""
    if job.state is JobState.RUNNING:
        job.cancelling, job.reason = sentence, reason
    elif not job.state.final:  # it may have ended with the job that it needs
        await move(session, job, JobState.CANCELLED, reason=reason, sentence=sentence)
