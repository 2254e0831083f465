"""An offer that a worker takes from its pool's queue, or from those of several lines."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence

import structlog
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from workers.contract.broker_link import Inbox, Link
from workers.contract.messages import Offer, offers
from workers.contract.queue import QueueDown

log = structlog.get_logger()


class BrokerTaken:
    """Unacknowledged, on a channel of its own."""

    def __init__(self, offer: Offer, link: Link, channel: AbstractChannel, message: AbstractIncomingMessage):
        self.offer = offer
        self.redelivered = bool(message.redelivered)
        self._link = link
        self._channel = channel
        self._message = message
        self._settled = False

    async def ack(self) -> None:
        await self._settle(self._message.ack)

    async def give_back(self) -> None:
        """Each time counts as a delivery; the broker buries an offer after 20."""
        await self._settle(lambda: self._message.nack(requeue=True))

    async def _settle(self, how: Callable[[], Awaitable[None]]) -> None:
        """Once. If the connection has gone, the broker has given the offer to another already."""
        if self._settled:
            return
        self._settled = True

        async def settle() -> None:
            await how()

        try:
            with contextlib.suppress(QueueDown):
                await self._link.do(settle())
        finally:
            await self._link.close_channel(self._channel)


async def take(link: Link, queue: str) -> BrokerTaken:
    """One offer. Whatever ends this otherwise, closing the channel returns what was delivered."""
    channel = await link.open_channel(prefetch=1)
    try:
        while True:
            consumer = await link.consume(channel, queue)
            message = await consumer.next()
            await consumer.stop()
            if offer := await _read(link, message):
                return BrokerTaken(offer, link, channel, message)
    except BaseException:
        await link.close_channel(channel)
        raise


async def take_any(link: Link, queues: Sequence[str]) -> BrokerTaken:
    """One offer of several queues, none of which is preferred.

    What is there is got, one by one. A consumer of each waits only where nothing is: two offers that come at
    the same moment are the one case in which one goes back, and the broker counts that as a delivery of it.
    """
    channel = await link.open_channel(prefetch=1)
    try:
        while True:
            message = await _got(link, channel, queues) or await _delivered(link, channel, queues)
            if offer := await _read(link, message):
                return BrokerTaken(offer, link, channel, message)
    except BaseException:
        await link.close_channel(channel)
        raise


async def _got(link: Link, channel: AbstractChannel, queues: Sequence[str]) -> AbstractIncomingMessage | None:
    for name in random.sample(queues, len(queues)):
        queue = await link.do(channel.get_queue(name, ensure=False))
        if message := await link.do(queue.get(fail=False)):
            return message
    return None


async def _delivered(link: Link, channel: AbstractChannel, queues: Sequence[str]) -> AbstractIncomingMessage:
    inbox: Inbox = asyncio.Queue()
    consumers = [await link.consume(channel, queue, inbox=inbox) for queue in queues]
    message = await consumers[0].next()
    for consumer in consumers:
        await consumer.stop()
    while not inbox.empty():
        if other := inbox.get_nowait():
            await link.do(other.nack(requeue=True))
    return message


async def _read(link: Link, message: AbstractIncomingMessage) -> Offer | None:
    try:
        return offers.validate_json(message.body)
    except ValueError:
        log.warning("offer rejected: it cannot be read", queue=message.routing_key, size=len(message.body))
        await link.do(message.reject(requeue=False))
        return None
