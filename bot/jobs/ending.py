"""How attempts end: what a worker said of it, or that it said nothing any more."""

from __future__ import annotations

import random
from datetime import timedelta

import structlog
from sqlalchemy import delete
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.jobs import awaiting, backups, following, lifecycle, tasks, trusts, updates
from bot.metrics.instruments import Instruments
from bot.metrics.noting import note
from bot.reports import texts
from bot.store.database import Store
from bot.store.tables import Environment, Image, Job, JobState, Release, ReleaseState, Run, ServiceRow
from workers.contract.messages import Failed, Fault, Finished, Kind, Stopped, Succeeded, now

_MOST_BACKOFF = 120.0
LOST = "worker_lost"

log = structlog.get_logger()


async def finished(session: AsyncSession, job: Job, event: Finished) -> None:
    """Move the job as its attempt ended."""
    result = event.result
    if await _switched(session, job):
        await _succeed(session, job, Succeeded())
    elif isinstance(result, Succeeded):
        await _succeed(session, job, result)
    elif isinstance(result, Stopped) and job.cancelling:
        sentence = job.cancelling
        await lifecycle.move(session, job, JobState.CANCELLED, sentence=sentence, reason=job.reason)
    elif isinstance(result, Failed):
        await failed(session, job, result)
    else:
        sentence = "the worker stopped it without being told to"
        await failed(session, job, Failed(fault=Fault.OURS, reason="stopped", sentence=sentence))


async def lost(store: Store, job: Job, why: str) -> None:
    """The worker of this attempt is gone or silent: fence it, and try again elsewhere."""
    async with store.transaction() as session:
        row = await session.get_one(Job, job.id)
        if row.state is not JobState.RUNNING or row.attempt != job.attempt:
            return
        log.warning("attempt lost", job=job.id, attempt=job.attempt, why=why)
        note(session, Instruments.lease_lost)
        if await _switched(session, row):
            await _succeed(session, row, Succeeded())
        elif row.cancelling:
            sentence = row.cancelling
            await lifecycle.move(session, row, JobState.CANCELLED, sentence=sentence, reason=row.reason)
        else:
            await failed(session, row, Failed(fault=Fault.OURS, reason=LOST, sentence=why))


async def failed(session: AsyncSession, job: Job, failure: Failed) -> None:
    """End the job as failed, or queue it again where the fault is ours and attempts are left."""
    if await awaiting.looked(session, job, failure):
        return
    failure = await _once(session, job, failure)
    told = {
        "exit_code": failure.exit_code,
        "reason": failure.reason,
        "sentence": failure.sentence,
        "failed_step": failure.step,
        "fault": failure.fault,
    }
    again = failure.fault is Fault.OURS and job.attempt < job.attempts and not job.cancelling
    if again:
        # A worker that went is no word about the job; one that takes its workers with it is slowed down.
        at_once = failure.reason == LOST and job.attempt == 1
        not_before = now() + timedelta(seconds=0 if at_once else backoff(job.attempt))
        await lifecycle.move(session, job, JobState.QUEUED, **told, not_before=not_before, offered_at=None)
    elif await lifecycle.move(session, job, JobState.FAILED, **told):
        await backups.failed(session, job, failure.sentence)


async def _once(session: AsyncSession, job: Job, failure: Failed) -> Failed:
    """A task that may have begun is not begun again: nobody knows what it has done by then."""
    if job.kind is not Kind.TASK or job.spec.get("retry") or failure.fault is not Fault.OURS:
        return failure
    # A worker that says nothing any more may have said nothing of its beginning either.
    if failure.reason != LOST and not await tasks.may_have_begun(session, job):
        return failure
    told = {"fault": Fault.FINAL, "sentence": texts.not_begun_again(failure.sentence)}
    return failure.model_copy(update=told)


def backoff(attempt: int) -> float:
    """Seconds to wait after this attempt failed by our fault: doubling, with jitter, up to two minutes."""
    return min(2.0 ** (attempt - 1), _MOST_BACKOFF) * random.uniform(0.5, 1.0)  # noqa: S311 (no secret)


async def _switched(session: AsyncSession, job: Job) -> bool:
    """Whether a deploy is past its switch: then it completes, whatever happens."""
    release = await lifecycle.release_of(session, job)
    return release is not None and release.state is ReleaseState.LIVE and release.attempt == job.attempt


async def _succeed(session: AsyncSession, job: Job, result: Succeeded) -> None:
    sentence, exit_code = "", None
    if job.kind is Kind.BUILD and result.image is not None:
        image = result.image
        made = Image(
            repository_id=job.repository_id,
            name=job.name,
            job_id=job.id,
            sha=job.sha,
            tree=image.tree,
            digest=image.digest,
            reference=image.reference,
            size=image.size,
            key=image.key,
            worker=None if awaiting.awaited(job) else job.worker,
            layers=image.layers,
            cached=image.cached,
            reused=image.reused,
            fork=bool(job.spec.get("fork")),
            trust=trusts.of(await session.get_one(Run, job.run_id), job),
        )
        if not await following.seen(session, job, made):
            session.add(made)
        if reference := texts.awaits(job):
            await awaiting.found(session, job)
            await following.found(session, job, made)
            sentence = texts.found(reference, image.digest)
        else:
            note(session, Instruments.built, image.layers, image.cached, reused=bool(image.reused))
            seconds = (now() - (job.started_at or now())).total_seconds()
            sentence = texts.reused(image.reused) if image.reused else texts.built(seconds, image)
    elif job.kind is Kind.DEPLOY:
        release = await lifecycle.release_of(session, job)
        sentence = texts.deployed(await _url(session, release))
        await backups.planned(session, job)
        await updates.planned(session, job)
    elif job.kind is Kind.STOP and job.spec.get("volumes"):
        await _forget_services(session, job)
    elif job.kind is Kind.TASK:
        sentence, exit_code = texts.ran((now() - (job.started_at or now())).total_seconds()), 0
    elif job.kind is Kind.UPDATE:
        sentence = await updates.ended(session, job)
    elif result.backup is not None:
        await backups.taken(session, job, result.backup)
        sentence = texts.backed_up(job.spec["service"], result.backup)
    await lifecycle.move(session, job, JobState.SUCCEEDED, sentence=sentence, exit_code=exit_code)


async def _forget_services(session: AsyncSession, job: Job) -> None:
    """Their data is gone: what comes after has secrets of its own."""
    here = select(Environment.id).where(
        Environment.repository_id == job.repository_id, Environment.name == job.environment
    )
    await session.exec(delete(ServiceRow).where(col(ServiceRow.environment_id).in_(here)))


async def _url(session: AsyncSession, release: Release | None) -> str:
    if release is None:
        return ""
    return (await session.get_one(Environment, release.environment_id)).url or ""
