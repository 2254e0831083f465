"""The queue's bot end, with a watch in hand."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from bot.metrics.instruments import Instruments
from workers.contract.messages import (
    Answer,
    Asked,
    Finished,
    LogChunk,
    Offer,
    Order,
    StepChanged,
)
from workers.contract.queue import Answerer, BotQueue, Hearing, Listener, Undertaker


class MeasuredQueue:
    """`queue`, and how long it takes; what workers ask and tell over it, and how long that takes us."""

    def __init__(self, queue: BotQueue, instruments: Instruments) -> None:
        self._queue = queue
        self._instruments = instruments

    async def offer(self, offer: Offer) -> None:
        with self._instruments.queue_asked("offer"):
            await self._queue.offer(offer)

    async def depth(self, pool: str) -> int:
        with self._instruments.queue_asked("depth"):
            return await self._queue.depth(pool)

    async def order(self, worker: str, order: Order) -> bool:
        with self._instruments.queue_asked("order"):
            return await self._queue.order(worker, order)

    async def serve(self, answerer: Answerer, listener: Listener, undertaker: Undertaker) -> None:
        async def answered(request: Asked) -> Answer:
            with self._instruments.request(request.kind):
                return await answerer(request)

        await self._queue.serve(answered, self._heard(listener), undertaker)

    async def hear_lines(self, listener: Listener) -> None:
        await self._queue.hear_lines(self._heard(listener))

    def _heard(self, listener: Listener) -> Listener:
        async def heard(event: StepChanged | Finished | LogChunk) -> None:
            with self._instruments.event(event.kind):
                await listener(event)

        return heard

    def shell(self, shell: str, worker: str) -> AbstractAsyncContextManager[Hearing]:
        return self._queue.shell(shell, worker)

    async def check(self) -> str:
        return await self._queue.check()

    @property
    def connected_at(self) -> float:
        return self._queue.connected_at

    @property
    def alarm(self) -> bool:
        return self._queue.alarm
