"""The queue inside one process: for `blacktree up` and for tests. The store rebuilds it at each start."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass

import structlog

from workers.contract.messages import Answer, Asked, Cancel, Event, LogChunk, Nudge, Offer, Order
from workers.contract.queue import Answerer, Listener, Undertaker

log = structlog.get_logger()

_TRIES = 10
_EVENTS_WAITING = 10_000  # a producer of events waits beyond this many …
_CHUNKS_WAITING = 64  # … and one of log lines, which are larger, beyond this many


@dataclass
class _Taken:
    offer: Offer
    pool: asyncio.Queue[Offer]
    redelivered: bool = False

    async def ack(self) -> None:
        """Taking it out was enough."""

    async def give_back(self) -> None:
        self.pool.put_nowait(self.offer)


class MemoryQueue:
    """Both ends at once."""

    def __init__(self) -> None:
        self._pools: defaultdict[str, asyncio.Queue[Offer]] = defaultdict(asyncio.Queue)
        self._orders: dict[str, asyncio.Queue[Order]] = {}
        self._events: asyncio.Queue[Event] = asyncio.Queue(_EVENTS_WAITING)
        self._room = asyncio.Semaphore(_CHUNKS_WAITING)
        self._answerer: asyncio.Future[Answerer] | None = None
        self.connected_at = time.monotonic()

    async def offer(self, offer: Offer) -> None:
        self._pools[offer.pool].put_nowait(offer)

    async def depth(self, pool: str) -> int:
        return self._pools[pool].qsize()

    async def order(self, worker: str, order: Cancel | Nudge) -> bool:
        if worker not in self._orders:
            return False
        self._orders[worker].put_nowait(order)
        return True

    async def serve(self, answerer: Answerer, listener: Listener, undertaker: Undertaker) -> None:  # noqa: ARG002
        self._answering().set_result(answerer)
        try:
            while True:
                event = await self._events.get()
                try:
                    await _heard(listener, event)
                finally:
                    if isinstance(event, LogChunk):
                        self._room.release()
        finally:
            self._answerer = None

    async def take(self, pool: str) -> _Taken:
        return _Taken(await self._pools[pool].get(), self._pools[pool])

    async def request(self, request: Asked, timeout: float) -> Answer:
        async with asyncio.timeout(timeout):
            answerer = await asyncio.shield(self._answering())
            return await answerer(request)

    async def tell(self, event: Event) -> None:
        if not isinstance(event, LogChunk):
            return await self._events.put(event)
        await self._room.acquire()
        try:
            return await self._events.put(event)
        except BaseException:
            self._room.release()
            raise

    async def orders(self, worker: str) -> AsyncIterator[Order]:
        inbox = self._orders[worker] = asyncio.Queue()
        try:
            while True:
                yield await inbox.get()
        finally:
            del self._orders[worker]

    async def check(self) -> str:
        return "memory (this process)"

    def _answering(self) -> asyncio.Future[Answerer]:
        if self._answerer is None:
            self._answerer = asyncio.get_running_loop().create_future()
        return self._answerer


async def _heard(listener: Listener, event: Event) -> None:
    """Give `event` to `listener` until it takes it, ten times at most, a second apart."""
    for _ in range(_TRIES):
        try:
            return await listener(event)
        except Exception:
            log.exception("event not taken", job=event.job, attempt=event.attempt)
            await asyncio.sleep(1)
    log.error("event dropped", job=event.job, attempt=event.attempt)
    return None
