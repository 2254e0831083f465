"""What is over and old goes: deliveries, reports, logs, releases. Runs and jobs are small, and stay."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete
from sqlmodel import col, select

from bot.images import KEPT
from bot.logs import LogStore
from bot.store.database import Store
from bot.store.tables import (
    ContainerRow,
    Delivery,
    DeliveryState,
    Environment,
    Job,
    Release,
    ReleaseState,
    Report,
    ReportState,
)
from workers.contract.messages import now

EVERY = 3600.0  # seconds


async def sweep(store: Store, logs: LogStore, days: float) -> None:
    """Forget what ended over `days` days ago. GitHub itself keeps deliveries for 3 days."""
    before = now() - timedelta(days=days)
    async with store.transaction() as session:
        await session.exec(
            delete(Delivery).where(
                col(Delivery.state) != DeliveryState.RECEIVED, col(Delivery.received_at) < before
            )
        )
        await session.exec(
            delete(Report).where(col(Report.state) != ReportState.PENDING, col(Report.created_at) < before)
        )
    await _releases(store)
    kept = select(Job.id).where(col(Job.ended_at).is_(None) | (col(Job.ended_at) >= before))
    async with store.reading() as session:
        recent = set((await session.exec(kept)).all())
    await logs.keep_only(recent)


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
