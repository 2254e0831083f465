"""The queue inside one process: for `blacktree up` and for tests. The store rebuilds it at each start."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from config.outages import Outside, told
from workers.contract.messages import Answer, Asked, Event, LogChunk, Offer, Order
from workers.contract.queue import Answerer, Hearing, Listener, QueueDown, Undertaker
from workers.contract.shells import ShellSaid

log = structlog.get_logger()

_TRIES = 10
_EVENTS_WAITING = 10_000  # a producer of events waits beyond this many …
_CHUNKS_WAITING = 64  # … and one of log lines, which are larger, beyond this many


@dataclass
class _Taken:
    offer: Offer
    back: Callable[[Offer], None]
    redelivered: bool = False

    async def ack(self) -> None:
        """Taking it out was enough."""

    async def give_back(self) -> None:
        self.back(self.offer)


class MemoryQueue:
    """Both ends at once."""

    def __init__(self) -> None:
        self._lines: defaultdict[str, deque[Offer]] = defaultdict(deque)
        self._takers: list[asyncio.Future[None]] = []
        self._orders: dict[str, asyncio.Queue[Order]] = {}
        self._shells: dict[str, asyncio.Queue[ShellSaid]] = {}
        self._events: asyncio.Queue[Event] = asyncio.Queue(_EVENTS_WAITING)
        self._room = asyncio.Semaphore(_CHUNKS_WAITING)
        self._answerer: asyncio.Future[Answerer] | None = None
        self.connected_at = time.monotonic()
        self.alarm = False

    async def offer(self, offer: Offer) -> None:
        self._put(offer)

    def _put(self, offer: Offer) -> None:
        self._lines[offer.pool].append(offer)
        for taker in self._takers:
            if not taker.done():
                taker.set_result(None)

    async def depth(self, pool: str) -> int:
        return len(self._lines[pool])

    async def order(self, worker: str, order: Order) -> bool:
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

    async def hear_lines(self, listener: Listener) -> None:  # noqa: ARG002
        """Until cancelled: here they come to `serve`, in turn with the events."""
        await asyncio.Event().wait()

    async def take(self, *lines: str) -> _Taken:
        while not (there := [line for line in lines if self._lines[line]]):
            taker = asyncio.get_running_loop().create_future()
            self._takers.append(taker)
            try:
                await taker
            finally:
                self._takers.remove(taker)
        return _Taken(self._lines[random.choice(there)].popleft(), self._put)  # noqa: S311

    async def request(self, request: Asked, timeout: float) -> Answer:
        async with asyncio.timeout(timeout):
            answerer = await asyncio.shield(self._answering())
            try:
                return await answerer(request)
            except Outside as error:
                raise QueueDown(f"the bot has no answer now: {error}") from error

    async def tell(self, event: Event) -> None:
        if not isinstance(event, LogChunk):
            return await self._events.put(event)
        await self._room.acquire()
        try:
            return await self._events.put(event)
        except BaseException:
            self._room.release()
            raise

    @asynccontextmanager
    async def shell(self, shell: str, worker: str) -> AsyncIterator[Hearing]:  # noqa: ARG002
        said = self._shells[shell] = asyncio.Queue()
        try:
            yield said.get
        finally:
            del self._shells[shell]

    async def say(self, said: ShellSaid) -> None:
        if said.shell not in self._shells:
            raise QueueDown("nobody hears of this shell any more")
        self._shells[said.shell].put_nowait(said)

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
        except Exception as error:
            told(log, "event not taken", error, job=event.job, attempt=event.attempt)
            await asyncio.sleep(1)
    log.error("event dropped", job=event.job, attempt=event.attempt)
    return None
