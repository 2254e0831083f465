"""Queues of both kinds with a name space of their own for each test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from uuid import uuid4

import aio_pika
import pytest

from tests.parts.broker import Broker
from workers.contract.broker_topology import Topology
from workers.contract.memory import MemoryQueue
from workers.contract.messages import Answer, Asked, Event, Refusal
from workers.contract.queue import BotQueue
from workers.contract.rabbitmq import RabbitQueue

POOL = "builders"
Queue = MemoryQueue | RabbitQueue


@dataclass(frozen=True)
class Ends:
    """A bot's end and two workers'; in memory they are the same."""

    bot: Queue
    worker: Queue
    other: Queue


@dataclass
class Bot:
    """What a bot that serves a queue was given; it refuses every request with the sender's name."""

    heard: list[Event] = field(default_factory=list)
    buried: list[bytes] = field(default_factory=list)
    refuses: list[type[Exception]] = field(default_factory=list)  # raised first, one at each call

    async def answer(self, request: Asked) -> Answer:
        self._raise()
        return Refusal(reason=getattr(request, "worker", ""))

    async def hear(self, event: Event) -> None:
        self._raise()
        self.heard.append(event)

    async def bury(self, body: bytes) -> None:
        self._raise()
        self.buried.append(body)

    def _raise(self) -> None:
        if self.refuses:
            raise self.refuses.pop(0)

    @asynccontextmanager
    async def serving(self, queue: BotQueue) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(queue.serve(self.answer, self.hear, self.bury))
            yield
            serving.cancel()


async def eventually(
    condition: Callable[[], Awaitable[bool]] | Callable[[], bool], limit: float = 60
) -> None:
    """Look until it holds; a TimeoutError after `limit` seconds."""
    deadline = time.monotonic() + limit
    while True:
        holds = condition()
        if holds if isinstance(holds, bool) else await holds:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {limit:g} s")
        await asyncio.sleep(0.02)


@pytest.fixture
async def prefix(broker: Broker) -> AsyncIterator[str]:
    """Names of this test's own, which leave no queue behind."""
    async with _scratch(broker) as own:
        yield own


@pytest.fixture
async def rabbits(broker: Broker, prefix: str) -> AsyncIterator[Ends]:
    """Three connections to one broker."""
    async with _opened(broker, prefix) as ends:
        yield ends


@pytest.fixture(params=["memory", "rabbitmq"])
async def ends(request: pytest.FixtureRequest) -> AsyncIterator[Ends]:
    """Either kind; the broker is started only for its own."""
    if request.param == "memory":
        queue = MemoryQueue()
        yield Ends(queue, queue, queue)
        return
    broker: Broker = request.getfixturevalue("broker")
    async with _scratch(broker) as own, _opened(broker, own) as ends:
        yield ends


@asynccontextmanager
async def _scratch(broker: Broker) -> AsyncIterator[str]:
    own = f"test-{uuid4().hex[:12]}"
    yield own
    topology = Topology(own)
    async with await aio_pika.connect(broker.amqp_url) as connection, connection.channel() as channel:
        for queue in (*topology.standing, topology.jobs(POOL)):
            await channel.queue_delete(queue)
        await channel.exchange_delete(topology.orders)


@asynccontextmanager
async def _opened(broker: Broker, prefix: str) -> AsyncIterator[Ends]:
    async with AsyncExitStack() as stack:

        async def end(name: str) -> RabbitQueue:
            return await stack.enter_async_context(RabbitQueue.connected(broker.amqp_url, prefix, name))

        yield Ends(await end("bot"), await end("w1"), await end("w2"))
