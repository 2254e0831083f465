"""Jobs that are queued in the store while the queue has fewer: their messages were lost."""

from __future__ import annotations

from datetime import timedelta

import structlog
from sqlalchemy import func
from sqlmodel import col, select

from bot.jobs.dispatch import OFFERED, put_back
from bot.store.database import Store
from bot.store.tables import Job
from workers.contract.messages import now
from workers.contract.queue import BotQueue, QueueDown

log = structlog.get_logger()


async def sweep(store: Store, queue: BotQueue, older: float) -> None:
    """Put back into line what was offered over `older` seconds ago and is not on the queue any more.

    Which of a pool's offers are lost nobody knows: all go back, and the dispatcher chooses who is next. An
    offer too many is harmless, since claims are conditional.
    """
    sent = col(Job.offered_at) <= now() - timedelta(seconds=older)
    counted = select(Job.pool, func.count()).where(*OFFERED, sent).group_by(Job.pool)
    async with store.reading() as session:
        pools = (await session.exec(counted)).all()
    for pool, count in pools:
        try:
            missing = count - await queue.depth(pool)
        except QueueDown:
            return
        if missing > 0:
            log.warning("messages lost", pool=pool, missing=missing)
            store.instruments.found("lost messages", missing)
            await put_back(store, col(Job.pool) == pool, sent)
