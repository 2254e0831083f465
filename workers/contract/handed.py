"""Offers that the bot hands to one worker, past the pool's queue: jobs that only it can do."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from workers.contract.messages import Offer, Take
from workers.contract.queue import Taken, WorkerQueue


@dataclass
class _Handed:
    """Nobody else has it: what is given back is the store's to offer again."""

    offer: Offer
    redelivered: bool = False

    async def ack(self) -> None:
        """There is nothing to settle."""

    async def give_back(self) -> None:
        """The store finds that it was lost."""


class Hand:
    """Those of one worker. All of its slots reach into it."""

    def __init__(self) -> None:
        self._offers: asyncio.Queue[Offer] = asyncio.Queue()
        self._here: set[str] = set()

    def put(self, order: Take) -> None:
        """Once, however often it is handed."""
        if order.job not in self._here:
            self._here.add(order.job)
            self._offers.put_nowait(Offer(job=order.job, pool=order.pool))

    async def next(self, queue: WorkerQueue, *lines: str) -> Taken:
        """What is handed, or the next offer of these, whichever comes first. Who is cancelled loses none."""
        handed: asyncio.Future[Any] = asyncio.ensure_future(self._offers.get())
        offered: asyncio.Future[Any] = asyncio.ensure_future(queue.take(*lines))
        cancelled = True
        try:
            await asyncio.wait({offered, handed}, return_when=asyncio.FIRST_COMPLETED)
            cancelled = False
        finally:
            mine: Offer | None = await _ended(handed)
            pools: Taken | None = await _ended(offered)
            if mine is not None and (cancelled or pools is not None):
                self._offers.put_nowait(mine)
            if cancelled and pools is not None:
                await pools.give_back()
        if pools is not None:
            return pools
        if mine is None:
            raise offered.exception() or asyncio.CancelledError
        self._here.discard(mine.job)
        return _Handed(mine)


async def _ended(future: asyncio.Future[Any]) -> Any:
    """What it has come to, if anything; it goes on no longer."""
    future.cancel()
    await asyncio.gather(future, return_exceptions=True)
    return None if future.cancelled() or future.exception() is not None else future.result()
