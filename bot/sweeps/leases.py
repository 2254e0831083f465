"""Attempts whose worker is silent: their lease ended, so somebody else may try."""

from __future__ import annotations

import time
from datetime import timedelta

from sqlmodel import col, select

from bot.jobs import ending
from bot.store.database import Store
from bot.store.tables import Job, JobState
from workers.contract.messages import now
from workers.contract.queue import BotQueue


async def sweep(store: Store, queue: BotQueue, lease: float) -> None:
    """End the attempts that nobody renewed for `lease` seconds, while we could have heard it.

    While the broker was away, or we were, silence says nothing: a whole lease must pass after that.
    """
    if time.monotonic() - queue.connected_at < lease:
        return
    silent = select(Job).where(
        Job.state == JobState.RUNNING, col(Job.lease_until) < now() - timedelta(seconds=1)
    )
    async with store.reading() as session:
        jobs = (await session.exec(silent)).all()
    store.instruments.found("stale workers", len(jobs))
    for job in jobs:
        await ending.lost(store, job, f"worker {job.worker} has been silent for {lease:.0f} s")
