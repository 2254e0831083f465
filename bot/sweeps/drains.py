"""Releases whose time to drain is over: their workers are nudged to remove them."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

from sqlmodel import col, select

from bot.store.database import Store
from bot.store.tables import Release, ReleaseState
from workers.contract.messages import Nudge, now
from workers.contract.queue import BotQueue, QueueDown

EVERY = 1.0  # seconds


async def sweep(store: Store, queue: BotQueue) -> None:
    """Nudge the workers of releases whose drain ended just now; a heartbeat finds those that this misses."""
    ended = select(Release.worker).where(
        Release.state == ReleaseState.RETIRED,
        col(Release.remove_after) <= now(),
        col(Release.remove_after) > now() - timedelta(seconds=2 * EVERY),
    )
    async with store.reading() as session:
        workers = set((await session.exec(ended)).all())
    for worker in workers:
        with suppress(QueueDown):
            await queue.order(worker or "", Nudge())
