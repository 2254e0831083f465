"""One life of a connection to RabbitMQ: what is done over it ends with it, in QueueDown and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import uuid4

import structlog
from aio_pika import Connection, DeliveryMode, Message
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import (
    CONNECTION_EXCEPTIONS,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    DeliveryError,
    PublishError,
)

from workers.contract.broker_topology import Topology
from workers.contract.queue import QueueDown, QueueRefused

log = structlog.get_logger()

T = TypeVar("T")
Inbox = asyncio.Queue[AbstractIncomingMessage | None]  # None: no more will come

AGAIN = 1.0  # seconds before something that failed over a living connection is tried again
_POLITE = 5.0  # seconds that an orderly end of a channel or connection may take
_NO_RIGHT = "ACCESS_REFUSED"  # 403: https://www.rabbitmq.com/amqp-0-9-1-reference
_REPLIES = "amq.rabbitmq.reply-to"
_NOBODY = "nobody"  # a routing key that no queue is bound by
_CONFIRMED = 0.5  # seconds in which a broker that is well confirms what it drops


class Misfit(QueueRefused):
    """A queue of our name is there with other settings."""


class Unroutable(QueueDown):
    """The broker has no queue for a message."""


class Nacked(QueueDown):
    """The broker could not keep a message."""


class Absent(QueueDown):
    """What the bot declares is not there yet."""


@dataclass(frozen=True)
class Consumer:
    """Messages of one queue, in order."""

    link: Link
    queue: AbstractQueue
    tag: str
    inbox: Inbox

    async def next(self) -> AbstractIncomingMessage:
        """Wait for the next one. Raises QueueDown when the channel or the queue has gone."""
        message = await self.link.do(self.inbox.get())
        if message is None:
            raise QueueDown(f"{self.link.place}: the channel to queue {self.queue.name} was closed")
        return message

    async def stop(self) -> None:
        """Ask for no more; what was delivered stays ours."""
        await self.link.do(self.queue.cancel(self.tag))


class Link:
    """An open connection with its topology declared."""

    def __init__(
        self,
        connection: Connection,
        place: str,
        topology: Topology,
        lost: Callable[[], None],
        *,
        declares: bool,
    ) -> None:
        """`place` names the broker for people; `lost` is called at once when the connection goes.

        `declares`: whether it sees to exchange and queues; else it needs no right to, and they must be there.
        """
        self.place = place
        self.software = ""
        self.cause = "the connection was closed"
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connection = connection
        self._topology = topology
        self._declares = declares
        self._lost = lost
        self._declared: set[str] = set()
        self._refusals: dict[str, str] = {}
        self._doing: set[asyncio.Future[Any]] = set()
        self._closing: asyncio.Future[None] | None = None
        self._asking = asyncio.Lock()
        self._asker: AbstractChannel | None = None
        self._asked: dict[str, asyncio.Future[bytes]] = {}
        self._proof: asyncio.Task[None] | None = None
        self._publisher = self._channel(confirms=True)

    async def open(self) -> None:
        """Declare the topology, or see that it is there. Raises QueueDown, Absent."""
        self._connection.close_callbacks.add(lambda _, error: self._fail(error))
        transport = self._connection.transport
        if transport is None or transport.connection.is_closed:
            raise self.down()
        told = transport.connection.server_properties
        self.software = f"{told.get('product')!s} {told.get('version')!s}"
        await self.do(self._publisher.initialize())
        self._vital(self._publisher)
        async with self.channel() as channel:
            if not self._declares:
                await self.do(channel.get_exchange(self._topology.told, ensure=True))
                return
            await self.do(channel.declare_exchange(self._topology.told, "direct", durable=True))
        for queue in self._topology.standing:
            await self.declare(queue)

    async def close(self) -> None:
        """End the connection and everything over it; never raises, takes seconds at most."""
        self._fail(None)
        if self._closing is None:
            for doing in self._doing:
                doing.cancel()
            self._closing = self._own(self._connection.close())
        await asyncio.wait({self._closing}, timeout=_POLITE)
        self._closing.cancel()
        await asyncio.wait({self._closing, *self._doing}, timeout=_POLITE)

    async def do(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` gives. Raises QueueDown when the connection goes first, or the broker refuses.

        It runs as a task of its own, because aiormq ends what waits on a dead connection by a cancellation
        that could not be told from one of the caller.
        """
        if self.gone.done():
            work.close()
            raise self.down()
        task = self._own(work)
        try:
            await _first(task, self.gone)
        finally:
            task.cancel()
        if not task.done() or task.cancelled():
            raise self.down()
        try:
            return task.result()
        except ChannelNotFoundEntity as error:
            raise Absent(f"{self.place}: {error}") from None
        except ChannelPreconditionFailed as error:
            raise Misfit(f"{self.place}: {error}") from None
        except PublishError as error:
            raise Unroutable(f"{self.place}: {error}") from None
        except DeliveryError:
            raise Nacked(f"{self.place}: it could not keep a message: has its queue a leader?") from None
        except CONNECTION_EXCEPTIONS as error:
            kind = QueueRefused if _NO_RIGHT in str(error) else QueueDown
            raise kind(f"{self.place}: {error}") from error

    def down(self) -> QueueDown:
        """The sentence for an end of this connection."""
        return QueueDown(f"{self.place}: {self.cause}")

    async def takes(self) -> bool:
        """Whether the broker takes what is sent, which is asked by sending something for nobody.

        While it is low on memory or disk it blocks who publishes, when he does (so the first time may be in
        vain), and reads nothing more of him. https://www.rabbitmq.com/docs/connection-blocked
        """
        if self._proof is None or self._proof.done():
            message = Message(b"", delivery_mode=DeliveryMode.NOT_PERSISTENT)
            sent = self._send(self._publisher, message, _NOBODY, self._topology.told, must=False)
            self._proof = self._own(sent)
        await _first(self._proof, self.gone, timeout=_CONFIRMED)
        return await self._unblocked(_CONFIRMED)

    async def taking(self) -> None:
        """Wait until it takes what is sent, or has gone."""
        await self._unblocked(None)

    async def _unblocked(self, seconds: float | None) -> bool:
        """Whether the broker reads of us within `seconds`; True too where the connection has gone."""
        transport = self._connection.transport
        if transport is None:
            return True
        ready = self._own(transport.connection.ready())
        await _first(ready, self.gone, timeout=seconds)
        ready.cancel()
        return ready.done() or self.gone.done()

    async def rest(self, seconds: float) -> None:
        """Wait. Raises QueueDown as soon as the connection has gone."""
        await asyncio.wait({self.gone}, timeout=seconds)
        if self.gone.done():
            raise self.down()

    async def refused(self, queue: str, error: QueueDown) -> None:
        """Before another try. Over a living connection that is a pause, and one log line for each cause."""
        self.doubt(queue)
        if not self.gone.done():
            if self._refusals.get(queue) != str(error):
                log.warning("queue refused", queue=queue, error=str(error))
            self._refusals[queue] = str(error)
            await _first(self.gone, timeout=AGAIN)

    # -- channels ------------------------------------------------------------------------------------

    @asynccontextmanager
    async def channel(self, prefetch: int = 0) -> AsyncIterator[AbstractChannel]:
        """A channel for the length of the context. Raises QueueDown."""
        channel = await self.open_channel(prefetch)
        try:
            yield channel
        finally:
            await self.close_channel(channel)

    async def open_channel(self, prefetch: int = 0) -> AbstractChannel:
        """A channel whose consumers hold `prefetch` unacknowledged messages each at most; 0: any number."""
        if self.gone.done():
            raise self.down()
        channel = self._channel(confirms=False)
        try:
            await self.do(channel.initialize())
            if prefetch:
                await self.do(channel.set_qos(prefetch_count=prefetch))
        except BaseException:
            await self.close_channel(channel)
            raise
        return channel

    async def close_channel(self, channel: AbstractChannel) -> None:
        """The broker takes back what is unacknowledged on it; goes on if the caller is cancelled."""
        if channel.is_closed or self.gone.done():
            return

        async def close() -> None:
            await channel.close()

        await _first(self._own(close()), self.gone, timeout=_POLITE)

    # -- queues --------------------------------------------------------------------------------------

    async def declare(self, queue: str) -> int:
        """See that a queue is there; gives the number of messages that wait in it. Raises QueueDown."""
        async with self.channel() as channel:
            arguments = self._topology.arguments(queue)
            try:
                declared = await self.do(channel.declare_queue(queue, durable=True, arguments=arguments))
            except Misfit as error:
                raise Misfit(
                    f"{error}. Queue {queue} was made with other settings, by another version or by hand:"
                    f" remove it (rabbitmqctl delete_queue {queue}), or choose another queue prefix"
                ) from None
            if queue in self._topology.bound:
                await self.do(declared.bind(self._topology.told, queue))
        self._declared.add(queue)
        return declared.declaration_result.message_count or 0

    async def ensure(self, queue: str) -> None:
        """Declare a queue once, where that is ours."""
        if self._declares and queue not in self._declared:
            await self.declare(queue)

    def doubt(self, queue: str) -> None:
        """Declare it again before it is used again."""
        self._declared.discard(queue)

    async def consume(
        self,
        channel: AbstractChannel,
        queue: AbstractQueue | str,
        *,
        no_ack: bool = False,
        inbox: Inbox | None = None,
    ) -> Consumer:
        """Start a consumer, which ends with its channel. Several may share an `inbox`. Raises QueueDown."""
        if isinstance(queue, str):
            await self.ensure(queue)
            queue = await self.do(channel.get_queue(queue, ensure=False))
        inbox = asyncio.Queue() if inbox is None else inbox

        async def deliver(message: AbstractIncomingMessage) -> None:
            inbox.put_nowait(message)

        async def start(queue: AbstractQueue) -> str:
            underlay = await channel.get_underlay_channel()
            # The broker cancels a consumer whose queue was deleted.
            underlay.on_consumer_cancel_callbacks.add(lambda _: inbox.put_nowait(None))
            return await queue.consume(deliver, no_ack=no_ack)

        channel.close_callbacks.add(lambda *_: inbox.put_nowait(None))
        return Consumer(self, queue, await self.do(start(queue)), inbox)

    @asynccontextmanager
    async def consuming(self, queue: str, prefetch: int) -> AsyncIterator[Consumer]:
        """A consumer with a channel of its own. Raises QueueDown."""
        async with self.channel(prefetch) as channel:
            yield await self.consume(channel, queue)

    # -- messages ------------------------------------------------------------------------------------

    async def publish(self, key: str, body: bytes, exchange: str = "") -> None:
        """Send a persistent message; returns when the broker has it safely. Raises QueueDown, Unroutable."""
        message = Message(body, delivery_mode=DeliveryMode.PERSISTENT)
        await self._send(self._publisher, message, key, exchange)

    async def answer(self, asked: AbstractIncomingMessage, body: bytes) -> None:
        """Answer a request; an asker that has gone does not matter. Raises QueueDown.

        Only where answers go: else an asker could have us write to any queue that it names.
        """
        if (asked.reply_to or "").startswith(f"{_REPLIES}."):
            message = Message(body, correlation_id=asked.correlation_id)
            await self._send(self._publisher, message, asked.reply_to or "", must=False)

    async def ask(self, key: str, body: bytes, expiration: float, exchange: str) -> bytes:
        """Send a request that is worth something for `expiration` seconds, and wait for its answer.

        Raises QueueDown, also when the connection goes while it waits.
        """
        asker = await self._asking_channel()
        ident = uuid4().hex
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._asked[ident] = answer
        message = Message(
            body,
            delivery_mode=DeliveryMode.PERSISTENT,
            correlation_id=ident,
            reply_to=_REPLIES,
            expiration=expiration,
        )
        try:
            await self._send(asker, message, key, exchange)
            await _first(answer, self.gone)
            if not answer.done():
                raise self.down()
            return answer.result()
        finally:
            del self._asked[ident]

    async def _asking_channel(self) -> AbstractChannel:
        async with self._asking:
            if self._asker is None:
                channel = self._channel(confirms=True)
                try:
                    await self.do(channel.initialize())
                    replies = await self.do(channel.get_queue(_REPLIES, ensure=False))
                    await self.do(replies.consume(self._answered, no_ack=True))
                except BaseException:
                    await self.close_channel(channel)
                    raise
                self._vital(channel)
                self._asker = channel
        return self._asker

    async def _answered(self, message: AbstractIncomingMessage) -> None:
        answer = self._asked.get(message.correlation_id or "")
        if answer is not None and not answer.done():
            answer.set_result(message.body)

    async def _send(
        self, channel: AbstractChannel, message: Message, key: str, exchange: str = "", *, must: bool = True
    ) -> None:
        """`must`: Unroutable if there is no queue for it, else it is dropped then."""

        async def send() -> None:
            target = channel.default_exchange
            if exchange:
                target = await channel.get_exchange(exchange, ensure=False)
            await target.publish(message, key, mandatory=must)

        try:
            await self.do(send())
        except Nacked:
            await self._renew(channel)
            raise

    # -- inside --------------------------------------------------------------------------------------

    def _channel(self, *, confirms: bool) -> AbstractChannel:
        return self._connection.channel(publisher_confirms=confirms, on_return_raises=confirms)

    def _vital(self, channel: AbstractChannel) -> None:
        """Its end is an end of the link: everything that is sent needs it, and the next link has another."""

        def ended(error: BaseException | None) -> None:
            if channel in (self._publisher, self._asker):
                self._fail(error)

        channel.close_callbacks.add(lambda _, error: ended(error))

    async def _renew(self, channel: AbstractChannel) -> None:
        """Send over another channel from now on.

        The broker's end of one may go on asking a queue's leader of before for as long as that node is away,
        seen with RabbitMQ 3.10.8. What is sent over it just now ends with QueueDown.
        """
        if channel is self._asker:
            self._asker = None
        elif channel is self._publisher:
            fresh = self._channel(confirms=True)
            await self.do(fresh.initialize())
            self._vital(fresh)
            self._publisher = fresh
        await self.close_channel(channel)

    def _own(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run it, for as long as this link at most; its exception counts as seen."""
        task = asyncio.get_running_loop().create_task(work)
        self._doing.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Future[Any]) -> None:
        self._doing.discard(task)
        if not task.cancelled():
            task.exception()

    def _fail(self, error: BaseException | None) -> None:
        if self.gone.done():
            return
        if error is not None and not isinstance(error, asyncio.CancelledError) and str(error):
            self.cause = f"the connection was lost: {error}"
        self.gone.set_result(None)
        with contextlib.suppress(Exception):
            self._lost()


async def _first(*futures: asyncio.Future[Any], timeout: float | None = None) -> None:
    """Wait until one of them is done, without cancelling any."""
    await asyncio.wait(futures, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
