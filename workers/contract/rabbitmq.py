"""The queue across machines: RabbitMQ 3.10 or newer. https://www.rabbitmq.com/docs/quorum-queues"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Self

import structlog
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from workers.contract.broker_connection import BrokerConnection
from workers.contract.broker_link import Link, Misfit, Unroutable, encoded
from workers.contract.broker_service import serve
from workers.contract.broker_topology import Topology
from workers.contract.messages import (
    Answer,
    Asked,
    Cancel,
    Event,
    LogChunk,
    Message,
    Nudge,
    Offer,
    Order,
    answers,
    offers,
    orders,
)
from workers.contract.queue import Answerer, Listener, QueueDown, Undertaker

log = structlog.get_logger()

_CONFIRM = 10.0  # seconds that the broker gets to confirm or to tell something


class RabbitQueue:
    """Either end."""

    def __init__(self, connection: BrokerConnection, topology: Topology) -> None:
        self._connection = connection
        self._topology = topology

    @classmethod
    @asynccontextmanager
    async def connected(
        cls, url: str, prefix: str = "blacktree", name: str = "", wait: float = 0.0
    ) -> AsyncIterator[Self]:
        """A queue whose connection comes back by itself while the context lasts.

        `url`: amqp:// or amqps://. `prefix`: of the names of all queues, the same at both ends. `name`: of
        the connection, for whoever looks at the broker. `wait`: seconds to try until the first connect.
        Raises QueueDown when there was none, with host, port, vhost and cause.
        """
        topology = Topology(prefix)
        async with BrokerConnection.opened(url, topology, f"{prefix} {name}".strip(), wait) as connection:
            yield cls(connection, topology)

    async def check(self) -> str:
        """Asks the broker. Raises QueueDown."""
        link = self._connection.now()
        async with _limited(link), link.channel():
            return link.place.replace("RabbitMQ", link.software, 1)

    @property
    def connected_at(self) -> float:
        return self._connection.connected_at

    # -- the bot's end -------------------------------------------------------------------------------

    async def offer(self, offer: Offer) -> None:
        """Returns when a majority of the brokers has it. Raises QueueDown, after 10 seconds at most."""
        try:
            async with asyncio.timeout(_CONFIRM):
                await self._put(await self._connection.link(), self._topology.jobs(offer.pool), offer)
        except TimeoutError:
            self._connection.now()  # raises the cause, if there is no connection
            raise QueueDown(f"{self._connection.place}: no confirmation in {_CONFIRM:g} s") from None

    async def depth(self, pool: str) -> int:
        link = self._connection.now()
        async with _limited(link):
            return await link.declare(self._topology.jobs(pool))

    async def order(self, worker: str, order: Cancel | Nudge) -> bool:
        link = self._connection.now()
        try:
            async with _limited(link):
                await link.publish(worker, encoded(order), exchange=self._topology.orders)
        except Unroutable:
            return False
        return True

    async def serve(self, answerer: Answerer, listener: Listener, undertaker: Undertaker) -> None:
        """Answer requests (several at once), hear events and log lines (each in order), bury the dead."""
        await serve(self._connection, self._topology, answerer, listener, undertaker)

    # -- a worker's end ------------------------------------------------------------------------------

    async def take(self, pool: str) -> _Taken:
        """Waits over losses of the connection. Raises QueueDown only if the pool's queue is not as ours."""
        queue = self._topology.jobs(pool)
        while True:
            link = await self._connection.link()
            try:
                return await _take(link, queue)
            except Misfit:
                raise
            except QueueDown as error:
                await link.refused(queue, error)

    async def request(self, request: Asked, timeout: float) -> Answer:
        link: Link | None = None
        try:
            async with asyncio.timeout(timeout):
                link = await self._connection.link()
                body = await link.ask(self._topology.requests, encoded(request), timeout)
        except TimeoutError:
            self._connection.now()  # raises the cause, if there is no connection
            raise TimeoutError(f"the bot did not answer a {request.kind} in {timeout:g} s") from None
        except Unroutable:
            if link is not None:
                link.doubt(self._topology.requests)
            raise
        try:
            return answers.validate_json(body)
        except ValueError:
            raise QueueDown("the bot's answer cannot be read: is the bot of another version?") from None

    async def tell(self, event: Event) -> None:
        """Tries until the broker has it, for ever. What one caller tells in turn arrives in that order.

        No limit for a confirmation over a living connection: sent again meanwhile it would only come twice.
        """
        queue = self._topology.logs if isinstance(event, LogChunk) else self._topology.events
        while True:
            link = await self._connection.link()
            try:
                return await self._put(link, queue, event)
            except QueueDown as error:
                await link.refused(queue, error)

    async def orders(self, worker: str) -> AsyncGenerator[Order, None]:
        """Those that come while nobody is connected are lost; a heartbeat's answer says them again."""
        while True:
            link = await self._connection.link()
            try:
                async with link.channel() as channel, self._own_queue(link, channel, worker) as next_order:
                    while True:
                        message = await next_order()
                        try:
                            order = orders.validate_json(message.body)
                        except ValueError:
                            log.warning("order dropped: it cannot be read", size=len(message.body))
                            continue
                        yield order
            except QueueDown as error:
                await link.refused(self._topology.orders, error)

    @asynccontextmanager
    async def _own_queue(
        self, link: Link, channel: AbstractChannel, worker: str
    ) -> AsyncIterator[Callable[[], Awaitable[AbstractIncomingMessage]]]:
        """A queue of this connection alone, bound by the worker's name. It goes with its consumer."""
        queue = await link.do(channel.declare_queue(exclusive=True, auto_delete=True))
        consumer = await link.consume(channel, queue, no_ack=True)
        await link.do(queue.bind(self._topology.orders, worker))
        try:
            yield consumer.next
        finally:
            with contextlib.suppress(QueueDown):  # gone with the connection
                await link.do(queue.delete(if_unused=False, if_empty=False))

    async def _put(self, link: Link, queue: str, message: Message) -> None:
        await link.ensure(queue)
        try:
            await link.publish(queue, encoded(message))
        except Unroutable:
            link.doubt(queue)  # somebody deleted it
            raise


class _Taken:
    """An offer that is unacknowledged on a channel of its own."""

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


async def _take(link: Link, queue: str) -> _Taken:
    """One offer. Whatever ends this otherwise, closing the channel returns what was delivered."""
    channel = await link.open_channel(prefetch=1)
    try:
        while True:
            consumer = await link.consume(channel, queue)
            message = await consumer.next()
            await consumer.stop()
            try:
                offer = offers.validate_json(message.body)
            except ValueError:
                log.warning("offer rejected: it cannot be read", queue=queue, size=len(message.body))
                await link.do(message.reject(requeue=False))
                continue
            return _Taken(offer, link, channel, message)
    except BaseException:
        await link.close_channel(channel)
        raise


@asynccontextmanager
async def _limited(link: Link) -> AsyncIterator[None]:
    """What is inside takes 10 seconds at most, or raises QueueDown."""
    try:
        async with asyncio.timeout(_CONFIRM):
            yield
    except TimeoutError:
        raise QueueDown(f"{link.place}: no answer in {_CONFIRM:g} s") from None
