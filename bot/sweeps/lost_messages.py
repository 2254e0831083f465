"""Jobs that are queued in the store while the queue has fewer: their messages were lost."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta

import structlog
from sqlmodel import col, select

from bot.dispatch import Dispatcher
from bot.store.database import Store
from bot.store.tables import Job, JobState
from workers.contract.messages import now
from workers.contract.queue import BotQueue, QueueDown

log = structlog.get_logger()


async def sweep(store: Store, queue: BotQueue, dispatcher: Dispatcher, older: float) -> None:
    """Offer again what was offered over `older` seconds ago and is not on the queue any more."""
    offered = (
        select(Job)
        .where(Job.state == JobState.QUEUED, col(Job.offered_at) <= now() - timedelta(seconds=older))
        .order_by(col(Job.run_id), col(Job.id))
    )
    pools: defaultdict[str, list[Job]] = defaultdict(list)
    async with store.reading() as session:
        for job in (await session.exec(offered)).all():
            pools[job.pool].append(job)
    for pool, jobs in pools.items():
        try:
            missing = len(jobs) - await queue.depth(pool)
        except QueueDown:
            return
        if missing > 0:
            log.warning("messages lost", pool=pool, missing=missing)
            await dispatcher.offer(jobs)
