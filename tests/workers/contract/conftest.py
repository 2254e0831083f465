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
from workers.contract.border import Question, Refused
from workers.contract.broker_topology import Topology
from workers.contract.credential import Credential, KeyPair
from workers.contract.envelopes import numbered
from workers.contract.letters import EVENT, ORDER, REQUEST, UNKNOWN, Forged, Letters, answer_to, parted
from workers.contract.memory import MemoryQueue
from workers.contract.messages import (
    Answer,
    Asked,
    Event,
    Finished,
    LogChunk,
    Offer,
    Order,
    Refusal,
    StepChanged,
    events,
)
from workers.contract.queue import BotQueue
from workers.contract.rabbitmq import RabbitBot, RabbitWorker

POOL = "builders"


@dataclass(frozen=True)
class Ends:
    """A bot's end and two workers'; in memory they are the same."""

    bot: MemoryQueue | RabbitBot
    worker: MemoryQueue | RabbitWorker
    other: MemoryQueue | RabbitWorker


@dataclass
class Bot:
    """What a bot that serves a queue was given; it refuses every request with the sender's name."""

    heard: list[Event] = field(default_factory=list)
    buried: list[Offer] = field(default_factory=list)
    refuses: list[type[Exception]] = field(default_factory=list)  # raised first, one at each call

    async def answer(self, request: Asked) -> Answer:
        self._raise()
        return Refusal(reason=getattr(request, "worker", ""))

    async def hear(self, event: Event) -> None:
        self._raise()
        self.heard.append(event)

    async def bury(self, offer: Offer) -> None:
        self._raise()
        self.buried.append(offer)

    def _raise(self) -> None:
        if self.refuses:
            raise self.refuses.pop(0)

    @asynccontextmanager
    async def serving(self, queue: BotQueue) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(queue.serve(self.answer, self.hear, self.bury))
            hearing = tasks.create_task(queue.hear_lines(self.hear))
            yield
            serving.cancel()
            hearing.cancel()


class Gate:
    """A border that knows its workers by their keys, and lets them say whatever they like."""

    def __init__(self) -> None:
        self.keys = KeyPair.made()
        self._workers: dict[str, bytes] = {}

    def credential(self, name: str) -> Credential:
        own = KeyPair.made()
        self._workers[name] = own.public
        return Credential(name, POOL, own, self.keys.public)

    async def request(self, body: bytes) -> Question:
        letters, text = self._opened(REQUEST, body)
        asked = numbered.validate_json(text)

        def sealed(answer: Answer) -> bytes:
            return letters.seal(answer_to(asked.number), answer)

        return Question(asked.request, POOL, sealed)

    async def event(self, body: bytes) -> StepChanged | Finished | LogChunk:
        _, text = self._opened(EVENT, body)
        return events.validate_json(text)

    async def order(self, worker: str, order: Order) -> bytes | None:
        if worker not in self._workers:
            return None
        return Letters.of_bot(self.keys, self._workers[worker]).seal(ORDER, order)

    async def letters(self, worker: str) -> Letters | None:
        known = self._workers.get(worker)
        return Letters.of_bot(self.keys, known) if known else None

    def marked(self, offer: Offer) -> Offer:
        return offer

    def ours(self, offer: Offer) -> bool:
        return not offer.mark

    def _opened(self, what: bytes, body: bytes) -> tuple[Letters, bytes]:
        try:
            name, sealed = parted(body)
            letters = Letters.of_bot(self.keys, self._workers[name])
            return letters, letters.open(what, sealed)
        except (Forged, KeyError):
            raise Refused(UNKNOWN) from None


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
def gate() -> Gate:
    return Gate()


@pytest.fixture
async def rabbits(broker: Broker, prefix: str, gate: Gate) -> AsyncIterator[Ends]:
    """Three connections to one broker."""
    async with _opened(broker, prefix, gate) as ends:
        yield ends


@pytest.fixture(params=["memory", "rabbitmq"])
async def ends(request: pytest.FixtureRequest) -> AsyncIterator[Ends]:
    """Either kind; the broker is started only for its own."""
    if request.param == "memory":
        queue = MemoryQueue()
        yield Ends(queue, queue, queue)
        return
    broker: Broker = request.getfixturevalue("broker")
    async with _scratch(broker) as own, _opened(broker, own, Gate()) as ends:
        yield ends


@asynccontextmanager
async def _scratch(broker: Broker) -> AsyncIterator[str]:
    own = f"test-{uuid4().hex[:12]}"
    yield own
    topology = Topology(own)
    async with await aio_pika.connect(broker.amqp_url) as connection, connection.channel() as channel:
        for queue in (*topology.standing, topology.jobs(POOL)):
            await channel.queue_delete(queue)
        await channel.exchange_delete(topology.told)


@asynccontextmanager
async def _opened(broker: Broker, prefix: str, gate: Gate) -> AsyncIterator[Ends]:
    async with AsyncExitStack() as stack:

        async def worker(name: str) -> RabbitWorker:
            connected = RabbitWorker.connected(broker.amqp_url, gate.credential(name), prefix, wait=60)
            return await stack.enter_async_context(connected)

        bot = await stack.enter_async_context(
            RabbitBot.connected(broker.amqp_url, gate, prefix, "bot", wait=60)
        )
        yield Ends(bot, await worker("w1"), await worker("w2"))
