"""Previews that nobody needs: their time is over, their repository gone, or a close was missed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog
from sqlmodel import col, select

from bot.decisions import plan, record
from bot.decisions.decision import Cause, Decision
from bot.decisions.events.installation import REMOVED
from bot.decisions.events.repository import ARCHIVED, DELETED
from bot.jobs import lifecycle
from bot.store.database import Store
from bot.store.tables import Environment, Job, Pull, Repository
from bot.sweeps import marks
from config.settings import Settings
from workers.contract.messages import Kind, now

EVERY = 60.0  # seconds
_GONE = (ARCHIVED, DELETED)  # no pull request of these is ever closed again
_AGAIN = timedelta(hours=1)  # after a stop that failed

log = structlog.get_logger()


async def sweep(store: Store, settings: Settings) -> None:
    """Stop every preview that is over and that nothing stops yet."""
    over = (
        select(Repository, Pull, Environment)
        .join(Pull, col(Pull.repository_id) == col(Repository.id))
        .join(
            Environment,
            (col(Environment.repository_id) == col(Pull.repository_id))
            & (col(Environment.pull_number) == col(Pull.number)),
        )
        .where(col(Environment.stopped).is_(False))
        .where(
            col(Pull.open).is_(False)
            | (col(Pull.expires_at) <= now())
            | col(Repository.inactive).in_((REMOVED, *_GONE))
        )
    )
    async with store.reading() as session:
        found = (await session.exec(over)).all()
    for repository, pull, environment in found:
        if environment.name == plan.preview_name(pull.number):
            await _stop(store, settings, repository, pull)


async def _stop(store: Store, settings: Settings, repository: Repository, pull: Pull) -> None:
    async with store.transaction() as session:
        here = (Job.repository_id == repository.id, Job.environment == plan.preview_name(pull.number))
        jobs = (await session.exec(select(Job).where(*here))).all()
        if stopping(jobs, now()):
            return
        decision = over(repository, pull, len(jobs))
        reason, run = await record.decision(
            session, repository, decision, marks.guid(), settings.worker_pool, settings.attempts
        )
    store.instruments.found("previews")
    log.info("preview over", repository=repository.full_name, pull=pull.number, run=run, reason=reason)


def stopping(jobs: Sequence[Job], at: datetime) -> bool:
    """Whether one of a preview's jobs stops it, or lately failed to."""
    stops = [job for job in jobs if job.kind is Kind.STOP]
    return any(job.state in lifecycle.LIVE or (job.ended_at and job.ended_at > at - _AGAIN) for job in stops)


def over(repository: Repository, pull: Pull, jobs: int) -> Decision:
    """The stop of a preview. One that is still over after more `jobs` than this is stopped anew."""
    known = f"{repository.id}:{pull.number}"
    if not pull.open:
        kind, key = "pull_request closed", f"closed:{known}:{pull.head_sha}:{jobs}"
        why = f"#{pull.number} is closed"
    elif repository.inactive in (REMOVED, *_GONE):
        kind, key = "repository gone", f"gone:{known}:{jobs}"
        why = f"{repository.full_name} is {repository.inactive}"
    else:
        assert pull.expires_at is not None, "or it is not over"  # noqa: S101
        kind, key = "expired", f"ttl:{known}:{pull.expires_at.isoformat()}:{jobs}"
        why = "its time is over"
    name = plan.preview_name(pull.number)
    cause = Cause(kind, key, f"refs/pull/{pull.number}/head", pull.head_sha, "", pull.number)
    reason = f"stops {name}: {why}"
    return Decision(reason, cause, tuple(plan.stop_preview(pull.number)))
