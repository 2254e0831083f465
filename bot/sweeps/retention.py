"""What is over and old goes: deliveries, reports, logs, releases, runs of tasks, backups, updates and looks.

Other runs and jobs are small, and stay: people make them, not a clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Delete, delete, func
from sqlmodel import col, select

from bot.jobs import following
from bot.jobs.images import KEPT
from bot.secrets import tokens
from bot.store.database import Store
from bot.store.logs import LogStore
from bot.store.outputs import Outputs
from bot.store.tables import (
    Answered,
    AttemptRow,
    AuditRow,
    BackupRow,
    Check,
    ContainerRow,
    Delivery,
    DeliveryState,
    Environment,
    Image,
    Job,
    Outgoing,
    OutgoingState,
    Release,
    ReleaseState,
    Report,
    ReportState,
    Run,
    StepRow,
    Trouble,
)
from workers.contract.messages import Kind, now

EVERY = 3600.0  # seconds
_ANSWERS = timedelta(days=1)  # that an Idempotency-Key counts
_TOLD = timedelta(days=7)  # that people may look at what a channel or webhook was owed, and send it again
_MOST_TOLD = 1000  # of one channel or webhook
_AT_ONCE = 500  # jobs in one transaction
_BY_A_CLOCK = (Kind.TASK, Kind.BACKUP, Kind.UPDATE)


async def sweep(store: Store, logs: LogStore, days: float, audit_days: float) -> None:
    """Forget what ended over `days` days ago. GitHub itself keeps deliveries for 3 days.

    Who changed what is kept for `audit_days`, and as long what ended tokens were.
    """
    await _audit(store, audit_days)
    before = now() - timedelta(days=days)
    async with store.transaction() as session:
        deliveries = await session.exec(
            delete(Delivery).where(
                col(Delivery.state) != DeliveryState.RECEIVED, col(Delivery.received_at) < before
            )
        )
        reports = await session.exec(
            delete(Report).where(col(Report.state) != ReportState.PENDING, col(Report.created_at) < before)
        )
        await session.exec(_asked(before))
        await session.exec(delete(Check).where(col(Check.created_at) < before))
        await session.exec(delete(Answered).where(col(Answered.created_at) < now() - _ANSWERS))
    store.instruments.found("retention", deliveries.rowcount + reports.rowcount)
    await _outgoing(store)
    await _releases(store)
    await _by_a_clock(store, before)
    kept = select(Job.id).where(col(Job.ended_at).is_(None) | (col(Job.ended_at) >= before))
    async with store.reading() as session:
        recent = set((await session.exec(kept)).all())
    await logs.keep_only(recent)


def _asked(before: datetime) -> Delete:
    """Approvals that nobody gave: their commits are history."""
    return delete(Trouble).where(col(Trouble.thing).startswith("approval:"), col(Trouble.since) < before)


async def _audit(store: Store, days: float) -> None:
    old = delete(AuditRow).where(col(AuditRow.at) < now() - timedelta(days=days))
    async with store.transaction() as session:
        gone = (await session.exec(old)).rowcount
    store.instruments.found("retention", gone + await tokens.forget(store, days))


async def outputs(store: Store, kept: Outputs, days: float) -> None:
    """Forget what containers printed over `days` days ago, or where there is no such environment any more."""
    async with store.reading() as session:
        there = (await session.exec(select(Environment.id))).all()
    await kept.keep_only({id_ or 0 for id_ in there}, days)


async def _outgoing(store: Store) -> None:
    """Forget what channels and webhooks were owed and is over: of each the newest stay for some days."""
    over = col(Outgoing.state) != OutgoingState.PENDING
    async with store.reading() as session:
        lanes = (await session.exec(select(Outgoing.lane).where(over).distinct())).all()
    gone = 0
    for lane in lanes:
        mine = (col(Outgoing.lane) == lane, over)
        kept = select(Outgoing.id).where(*mine).order_by(col(Outgoing.id).desc()).limit(_MOST_TOLD)
        old = col(Outgoing.created_at) < now() - _TOLD
        async with store.transaction() as session:
            newest = (await session.exec(kept)).all()
            more = old | (col(Outgoing.id) < min(id_ or 0 for id_ in newest)) if newest else old
            gone += (await session.exec(delete(Outgoing).where(*mine, more))).rowcount
    store.instruments.found("retention", gone)


async def _releases(store: Store) -> None:
    """Forget each environment's releases that nobody goes back to any more."""
    async with store.reading() as session:
        places = (await session.exec(select(Environment.id))).all()
    for place in places:
        mine = select(Release).where(Release.environment_id == place).order_by(col(Release.id).desc())
        async with store.transaction() as session:
            old = forgotten((await session.exec(mine)).all(), now())
            for release in old:
                await session.delete(release)
            gone = [release.id for release in old]
            await session.exec(delete(ContainerRow).where(col(ContainerRow.release_id).in_(gone)))


async def _by_a_clock(store: Store, before: datetime) -> None:
    """Forget the runs of tasks, backups, updates and looks at followed tags that nobody's comment began.

    The newest of each task and of each service stays, and so does that of a backup that is kept, and the
    look that first saw an image.
    """
    newest = (
        select(func.max(Job.run_id))
        .where(col(Job.kind).in_(_BY_A_CLOCK))
        .group_by(col(Job.repository_id), col(Job.environment), col(Job.kind), col(Job.name))
    )
    looks = (col(Job.kind) == Kind.BUILD) & col(Run.cause_key).startswith(following.KEY)
    kept = col(Job.id).in_(select(BackupRow.job_id)) | col(Job.id).in_(select(Image.job_id))
    old = (
        select(Job.id, Job.run_id)
        .join(Run, col(Run.id) == col(Job.run_id))
        .where(col(Job.kind).in_(_BY_A_CLOCK) | looks)
        .where(col(Job.ended_at) < before, col(Run.comment_id).is_(None))
        .where(col(Job.run_id).not_in(newest), ~kept)
        .limit(_AT_ONCE)
    )
    gone = True
    while gone:
        async with store.transaction() as session:
            gone = bool(found := (await session.exec(old)).all())
            jobs, runs = [job for job, _ in found], {run for _, run in found}
            for row in (StepRow, AttemptRow):
                await session.exec(delete(row).where(col(row.job_id).in_(jobs)))
            await session.exec(delete(Job).where(col(Job.id).in_(jobs)))
            others = set((await session.exec(select(Job.run_id).where(col(Job.run_id).in_(runs)))).all())
            await session.exec(delete(Run).where(col(Run.id).in_(runs - others)))
        store.instruments.found("retention", len(jobs))


def forgotten(releases: Sequence[Release], at: datetime) -> list[Release]:
    """Pure: of an environment's releases, newest first, those that are over and older than what it `keep`s.

    As many that never served are kept as such that did.
    """
    most = int((releases[0].settings.get("keep") if releases else None) or KEPT)
    served = [release for release in releases if release.live_at is not None]
    failed = [release for release in releases if release.live_at is None]
    return [release for release in (*served[most:], *failed[most:]) if _over(release, at)]


def _over(release: Release, at: datetime) -> bool:
    if release.state in (ReleaseState.LIVE, ReleaseState.STARTING):
        return False
    return release.remove_after is None or release.remove_after <= at
