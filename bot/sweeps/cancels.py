"""Cancels that have not ended yet: the worker is told until it has stopped."""

from __future__ import annotations

from contextlib import suppress

from sqlmodel import col, select

from bot.store.database import Store
from bot.store.tables import Job, JobState
from workers.contract.messages import Cancel
from workers.contract.queue import BotQueue, QueueDown


async def sweep(store: Store, queue: BotQueue) -> None:
    """Order the workers of all jobs that are being cancelled to stop them."""
    cancelling = select(Job).where(Job.state == JobState.RUNNING, col(Job.cancelling).is_not(None))
    async with store.reading() as session:
        jobs = (await session.exec(cancelling)).all()
    store.instruments.found("cancels", len(jobs))
    for job in jobs:
        with suppress(QueueDown):
            await queue.order(job.worker or "", Cancel(job=job.id, attempt=job.attempt))
