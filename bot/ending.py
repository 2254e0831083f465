"""How attempts end: what a worker said of it, or that it said nothing any more."""

from __future__ import annotations

import random
from datetime import timedelta

import structlog
from sqlmodel.ext.asyncio.session import AsyncSession

from bot import lifecycle, texts
from bot.store.database import Store
from bot.store.tables import Environment, Image, Job, JobState, Release, ReleaseState
from workers.contract.messages import Failed, Fault, Finished, Kind, Stopped, Succeeded, now

_MOST_BACKOFF = 120.0

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
        if await _switched(session, row):
            await _succeed(session, row, Succeeded())
        elif row.cancelling:
            sentence = row.cancelling
            await lifecycle.move(session, row, JobState.CANCELLED, sentence=sentence, reason=row.reason)
        else:
            await failed(session, row, Failed(fault=Fault.OURS, reason="worker_lost", sentence=why))


async def failed(session: AsyncSession, job: Job, failure: Failed) -> None:
    """End the job as failed, or queue it again where the fault is ours and attempts are left."""
    told = {
        "reason": failure.reason,
        "sentence": failure.sentence,
        "failed_step": failure.step,
        "fault": failure.fault,
    }
    again = failure.fault is Fault.OURS and job.attempt < job.attempts and not job.cancelling
    if again:
        not_before = now() + timedelta(seconds=backoff(job.attempt))
        await lifecycle.move(session, job, JobState.QUEUED, **told, not_before=not_before, offered_at=None)
    else:
        await lifecycle.move(session, job, JobState.FAILED, **told)


def backoff(attempt: int) -> float:
    """Seconds to wait after this attempt failed by our fault: doubling, with jitter, up to two minutes."""
    return min(2.0 ** (attempt - 1), _MOST_BACKOFF) * random.uniform(0.5, 1.0)  # noqa: S311 (no secret)


async def _switched(session: AsyncSession, job: Job) -> bool:
    """Whether a deploy is past its switch: then it completes, whatever happens."""
    release = await lifecycle.release_of(session, job)
    return release is not None and release.state is ReleaseState.LIVE and release.attempt == job.attempt


async def _succeed(session: AsyncSession, job: Job, result: Succeeded) -> None:
    sentence = ""
    if job.kind is Kind.BUILD and result.image is not None:
        image = result.image
        session.add(
            Image(
                repository_id=job.repository_id,
                name=job.name,
                job_id=job.id,
                sha=job.sha,
                tree=image.tree,
                digest=image.digest,
                reference=image.reference,
                size=image.size,
                key=image.key,
                worker=job.worker,
                layers=image.layers,
                cached=image.cached,
                reused=image.reused,
                fork=bool(job.spec.get("fork")),
            )
        )
        seconds = (now() - (job.started_at or now())).total_seconds()
        sentence = texts.reused(image.reused) if image.reused else texts.built(seconds, image)
    elif job.kind is Kind.DEPLOY:
        release = await lifecycle.release_of(session, job)
        sentence = texts.deployed(await _url(session, release))
    await lifecycle.move(session, job, JobState.SUCCEEDED, sentence=sentence)


async def _url(session: AsyncSession, release: Release | None) -> str:
    if release is None:
        return ""
    return (await session.get_one(Environment, release.environment_id)).url or ""
