"""The queue across machines: RabbitMQ 3.10 or newer. https://www.rabbitmq.com/docs/quorum-queues"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Self

import structlog
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from workers.contract.border import Border
from workers.contract.broker_address import Certificates
from workers.contract.broker_connection import BrokerConnection, Login
from workers.contract.broker_link import Link, Misfit, Unroutable
from workers.contract.broker_service import hear_lines, serve
from workers.contract.broker_taken import BrokerTaken, take, take_any
from workers.contract.broker_topology import SHELL as SHELL_QUEUE
from workers.contract.broker_topology import Topology
from workers.contract.credential import Credential
from workers.contract.envelopes import Dismissed, Late, Numbered, Replied, replies
from workers.contract.letters import EVENT, ORDER, REQUEST, SHELL, UNKNOWN, Forged, Letters, answer_to, signed
from workers.contract.messages import Answer, Asked, Event, LogChunk, Offer, Order, orders
from workers.contract.queue import Answerer, Hearing, Listener, Outcast, QueueDown, Undertaker
from workers.contract.shells import ShellSaid
from workers.contract.shells import said as read

log = structlog.get_logger()

_ALONE = 30.0  # seconds until lines that could not be taken from are tried again
_LAST = 2.0  # seconds for what is polite at the end
_CONFIRM = 10.0  # seconds that the broker gets to confirm or to tell something


class _End:
    """Either end."""

    def __init__(self, connection: BrokerConnection, topology: Topology) -> None:
        self._connection = connection
        self._topology = topology

    async def check(self) -> str:
        """Asks the broker. Raises QueueDown."""
        return await self._connection.asked()

    @property
    def connected_at(self) -> float:
        return self._connection.connected_at

    @property
    def alarm(self) -> bool:
        return self._connection.alarm


class RabbitBot(_End):
    """The bot's end: it declares all that is there, and believes what has passed `border`."""

    def __init__(
        self, connection: BrokerConnection, hearing: BrokerConnection, topology: Topology, border: Border
    ) -> None:
        """`hearing`: over which nothing is ever sent, so that what workers told is heard in an alarm too."""
        super().__init__(connection, topology)
        self._hearing = hearing
        self._border = border

    @classmethod
    @asynccontextmanager
    async def connected(
        cls,
        url: str,
        border: Border,
        prefix: str = "blacktree",
        name: str = "",
        wait: float | None = 0.0,
        certificates: Certificates | None = None,
    ) -> AsyncIterator[Self]:
        """A queue whose connection comes back by itself while the context lasts.

        `url`: amqp:// or amqps://. `prefix`: of the names of all queues, the same at both ends. `name`: of
        the connection, for whoever looks at the broker. `wait`: seconds to try until the first connect, None
        to go on without one. Raises QueueDown when there was none, with host, port, vhost and cause, and
        QueueRefused at once where no waiting helps.
        """
        topology, called = Topology(prefix), f"{prefix} {name}".strip()
        speaking = BrokerConnection(url, topology, called, None, certificates)
        hearing = BrokerConnection(url, topology, f"{called} hearing", None, certificates, speaks=False)
        async with speaking.opened(wait), hearing.opened(None):
            yield cls(speaking, hearing, topology, border)

    async def offer(self, offer: Offer) -> None:
        """Returns when a majority of the brokers has it. Raises QueueDown, after 10 seconds at most."""
        body = self._border.marked(offer).model_dump_json().encode()
        try:
            async with asyncio.timeout(_CONFIRM):
                await self._put(await self._connection.link(), self._topology.jobs(offer.pool), body)
        except TimeoutError:
            self._connection.now()  # raises the cause, if there is no connection
            raise QueueDown(f"{self._connection.place}: no confirmation in {_CONFIRM:g} s") from None

    async def depth(self, pool: str) -> int:
        link = self._connection.now()
        async with _limited(link):
            return await link.declare(self._topology.jobs(pool))

    async def order(self, worker: str, order: Order) -> bool:
        link = self._connection.now()
        sealed = await self._border.order(worker, order)
        if sealed is None:
            return False
        try:
            async with _limited(link):
                await link.publish(self._topology.orders(worker), sealed)
        except Unroutable:
            return False
        return True

    @asynccontextmanager
    async def shell(self, shell: str, worker: str) -> AsyncIterator[Hearing]:
        link, name = self._connection.now(), self._topology.shell(shell)
        letters = await self._border.letters(worker)
        if letters is None:
            raise QueueDown(f"there is no worker {worker} any more")
        async with link.channel() as channel:
            async with _limited(link):
                queue = await link.do(
                    channel.declare_queue(name, exclusive=True, auto_delete=True, arguments=SHELL_QUEUE)
                )
                await link.do(queue.bind(self._topology.told, name))
                consumer = await link.consume(channel, queue, no_ack=True)

            async def heard() -> ShellSaid:
                try:
                    return read.validate_json(letters.open(SHELL, (await consumer.next()).body))
                except (Forged, ValueError):
                    raise QueueDown("what came of the shell is not from its worker") from None

            yield heard

    async def serve(self, answerer: Answerer, listener: Listener, undertaker: Undertaker) -> None:
        """Answer requests (several at once), hear events (in order), bury the dead."""
        await serve(
            self._connection, self._hearing, self._topology, self._border, answerer, listener, undertaker
        )

    async def hear_lines(self, listener: Listener) -> None:
        await hear_lines(self._hearing, self._topology, self._border, listener)

    async def _put(self, link: Link, queue: str, body: bytes) -> None:
        await link.ensure(queue)
        try:
            await link.publish(queue, body)
        except Unroutable:
            link.doubt(queue)  # somebody deleted it
            raise


class RabbitWorker(_End):
    """A worker's end: it seals what it says with its credential, and believes what its bot sealed for it."""

    def __init__(self, connection: BrokerConnection, topology: Topology, credential: Credential) -> None:
        super().__init__(connection, topology)
        self._name = credential.name
        self._letters = Letters.of_worker(credential)
        self._number = 0

    @classmethod
    @asynccontextmanager
    async def connected(
        cls,
        url: str,
        credential: Credential,
        prefix: str = "blacktree",
        name: str = "",
        wait: float = 0.0,
        certificates: Certificates | None = None,
    ) -> AsyncIterator[Self]:
        """As the bot's. Where `url` names no user, the worker's own login is used."""
        topology = Topology(prefix)
        called = f"{prefix} {name or credential.name}"
        login = Login(topology.user(credential.name), credential.broker_password)
        connection = BrokerConnection(url, topology, called, login, certificates)
        async with connection.opened(wait):
            yield cls(connection, topology, credential)

    async def take(self, *lines: str) -> BrokerTaken:
        """Waits over losses of the connection. Raises QueueDown only if the pool's queue is not as ours.

        While the further lines cannot be taken from, as where the login may not, the first one is.
        """
        own, *further = map(self._topology.jobs, lines)
        while True:
            link = await self._connection.link()
            try:
                if not further:
                    return await take(link, own)
                return await take_any(link, [own, *further])
            except Misfit:
                raise
            except QueueDown as error:
                await link.refused(" ".join([own, *further]), error)
            if further:
                with contextlib.suppress(TimeoutError, QueueDown):
                    async with asyncio.timeout(_ALONE):
                        return await take(await self._connection.link(), own)

    async def request(self, request: Asked, timeout: float) -> Answer:
        try:
            async with asyncio.timeout(timeout):
                while True:
                    number = self._next()
                    answer = await self._asked(Numbered(number=number, request=request), timeout)
                    if not isinstance(answer, Late):
                        return answer
                    self._number = max(self._number, answer.last)
        except TimeoutError:
            self._connection.now()  # raises the cause, if there is no connection
            raise TimeoutError(f"the bot did not answer a {request.kind} in {timeout:g} s") from None

    async def tell(self, event: Event) -> None:
        """Tries until the broker has it, for ever. What one caller tells in turn arrives in that order.

        No limit for a confirmation over a living connection: sent again meanwhile it would only come twice.
        """
        queue = self._topology.logs if isinstance(event, LogChunk) else self._topology.events
        body = signed(self._name, self._letters.seal(EVENT, event))
        while True:
            link = await self._connection.link()
            try:
                return await link.publish(queue, body, exchange=self._topology.told)
            except QueueDown as error:
                await link.refused(queue, error)

    async def say(self, said: ShellSaid) -> None:
        link, queue = self._connection.now(), self._topology.shell(said.shell)
        async with _limited(link):
            await link.publish(queue, self._letters.seal(SHELL, said), exchange=self._topology.told)

    async def orders(self, worker: str) -> AsyncGenerator[Order, None]:
        """Those that come while nobody is connected are lost; a heartbeat's answer says them again."""
        queue = self._topology.orders(worker)
        while True:
            link = await self._connection.link()
            try:
                async with link.channel() as channel, self._own_queue(link, channel, queue) as next_order:
                    while True:
                        message = await next_order()
                        try:
                            order = orders.validate_json(self._letters.open(ORDER, message.body))
                        except (Forged, ValueError):
                            log.warning("order dropped: it is not from our bot", size=len(message.body))
                            continue
                        yield order
            except QueueDown as error:
                await link.refused(queue, error)

    def _next(self) -> int:
        """A number greater than any before. In an earlier life too, unless the clock went back: see Late."""
        self._number = max(self._number + 1, time.time_ns())
        return self._number

    async def _asked(self, request: Numbered, timeout: float) -> Answer | Late:
        """Raises QueueDown, and Outcast when the bot does not take our word."""
        link = await self._connection.link()
        topology, body = self._topology, signed(self._name, self._letters.seal(REQUEST, request))
        answer = self._read(await link.ask(topology.requests, body, timeout, topology.told), request.number)
        if isinstance(answer, Dismissed):
            raise Outcast(answer.reason, proven=True)
        return answer

    def _read(self, body: bytes, number: int) -> Replied:
        try:
            return replies.validate_json(self._letters.open(answer_to(number), body))
        except Forged:
            if body == UNKNOWN:
                raise Outcast(
                    f"the bot does not know worker {self._name} by this credential: where the bot runs, make "
                    f"one with `blacktree workers add {self._name} --pool POOL` (`--replace` if there was "
                    "one), and set it as BLACKTREE_WORKER_CREDENTIAL",
                    proven=False,
                ) from None
            raise QueueDown("an answer was dropped: it is not from our bot, or not to our question") from None
        except ValueError:
            raise QueueDown("the bot's answer cannot be read: is the bot of another version?") from None

    @asynccontextmanager
    async def _own_queue(
        self, link: Link, channel: AbstractChannel, name: str
    ) -> AsyncIterator[Callable[[], Awaitable[AbstractIncomingMessage]]]:
        """A queue of this connection alone. It goes with its consumer."""
        queue = await link.do(channel.declare_queue(name, exclusive=True, auto_delete=True))
        consumer = await link.consume(channel, queue, no_ack=True)
        try:
            yield consumer.next
        finally:
            # Gone with the connection; and a broker that reads nothing of us answers nothing.
            with contextlib.suppress(QueueDown, TimeoutError):
                async with asyncio.timeout(_LAST):
                    await link.do(queue.delete(if_unused=False, if_empty=False))


@asynccontextmanager
async def _limited(link: Link) -> AsyncIterator[None]:
    """What is inside takes 10 seconds at most, or raises QueueDown."""
    try:
        async with asyncio.timeout(_CONFIRM):
            yield
    except TimeoutError:
        raise QueueDown(f"{link.place}: no answer in {_CONFIRM:g} s") from None
