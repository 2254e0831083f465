"""What is over and old goes: deliveries, reports and logs. Runs, jobs and releases are small, and stay."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete
from sqlmodel import col, select

from bot.logs import LogStore
from bot.store.database import Store
from bot.store.tables import Delivery, DeliveryState, Job, Report, ReportState
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
    kept = select(Job.id).where(col(Job.ended_at).is_(None) | (col(Job.ended_at) >= before))
    async with store.reading() as session:
        recent = set((await session.exec(kept)).all())
    await logs.keep_only(recent)
