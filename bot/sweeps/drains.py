"""What drains: workers are told to that somebody lets go, and nudged whose releases have drained."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

from sqlmodel import col, select

from bot.store.database import Store
from bot.store.tables import Release, ReleaseState, WorkerRow
from workers.contract.messages import Drain, Nudge, now
from workers.contract.queue import BotQueue, QueueDown

EVERY = 1.0  # seconds


async def sweep(store: Store, queue: BotQueue) -> None:
    """Tell workers to drain; nudge those of releases that have: a heartbeat finds what this misses."""
    ended = select(Release.worker).where(
        Release.state == ReleaseState.RETIRED,
        col(Release.remove_after) <= now(),
        col(Release.remove_after) > now() - timedelta(seconds=2 * EVERY),
    )
    async with store.reading() as session:
        workers = set((await session.exec(ended)).all())
        going = await session.exec(
            select(WorkerRow.name).where(
                WorkerRow.leaving == WorkerRow.instance,
                col(WorkerRow.draining).is_(False),
                col(WorkerRow.stopped).is_(False),
            )
        )
        leaving = going.all()
    store.instruments.found("drains", len(workers))
    for name in leaving:  # again each time, until its heartbeat says that it does
        with suppress(QueueDown):
            await queue.order(name, Drain())
    for worker in workers:
        with suppress(QueueDown):
            await queue.order(worker or "", Nudge())
