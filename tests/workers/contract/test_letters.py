"""What crosses the broker is for the other end alone, and for what it was sealed as."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage
from structlog.testing import capture_logs

from config.errors import ConfigError
from config.settings import Settings
from tests.parts.broker import Broker
from tests.workers.contract.conftest import POOL, Bot, Ends, Gate, eventually
from tests.workers.contract.test_queue import claim, line, offer
from tests.workers.contract.test_rabbitmq import hearing, publish
from workers.contract import credential
from workers.contract.broker_topology import Topology
from workers.contract.credential import Credential, KeyPair
from workers.contract.envelopes import Numbered
from workers.contract.letters import EVENT, ORDER, REQUEST, Forged, Letters, answer_to, signed
from workers.contract.messages import Asked, Cancel, Claim, Nudge, Refusal
from workers.contract.queue import QueueDown
from workers.contract.rabbitmq import RabbitBot, RabbitWorker

pytestmark = pytest.mark.timeout(600)  # the broker may have to be started first


@asynccontextmanager
async def posing(broker: Broker, prefix: str, answer: bytes) -> AsyncIterator[None]:
    """Somebody with the broker's login takes requests as if a bot, and answers each with the same."""
    async with await aio_pika.connect(broker.amqp_url) as connection, connection.channel() as channel:

        async def reply(message: AbstractIncomingMessage) -> None:
            forged = aio_pika.Message(answer, correlation_id=message.correlation_id)
            await channel.default_exchange.publish(forged, message.reply_to or "")

        await (await channel.get_queue(Topology(prefix).requests, ensure=False)).consume(reply, no_ack=True)
        yield


async def test_who_poses_as_the_bot_is_not_believed(broker: Broker, rabbits: Ends, prefix: str) -> None:
    forged = Refusal(reason="forged").model_dump_json().encode()
    async with posing(broker, prefix, forged):
        with pytest.raises(QueueDown, match="not from our bot"):
            await rabbits.worker.request(claim(), 60)


async def test_a_request_has_its_answer_written_to_no_queue_that_it_names(
    broker: Broker, rabbits: Ends, prefix: str, gate: Gate
) -> None:
    topology, known = Topology(prefix), gate.credential("w3")
    letter = Letters.of_worker(known).seal(REQUEST, Numbered(number=1, request=claim("w3")))
    assert await rabbits.bot.depth(POOL) == 0
    asked: list[str] = []

    async def answer(request: Asked) -> Refusal:
        asked.append(getattr(request, "worker", ""))
        return Refusal(reason="no")

    async def settled() -> bool:
        queues = {one.name: one for one in await asyncio.to_thread(broker.list_queues)}
        return asked != [] and not queues[topology.requests].ready + queues[topology.requests].unacknowledged

    bot = Bot()
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(rabbits.bot.serve(answer, bot.hear, bot.bury))
        async with await aio_pika.connect(broker.amqp_url) as connection, connection.channel() as channel:
            message = aio_pika.Message(signed("w3", letter), reply_to=topology.jobs(POOL))
            told = await channel.get_exchange(topology.told, ensure=False)
            await told.publish(message, topology.requests)
        await eventually(settled)
        serving.cancel()
    assert asked == ["w3"]
    assert await rabbits.bot.depth(POOL) == 0


async def test_an_order_that_is_not_the_bots_is_dropped(
    broker: Broker, rabbits: Ends, prefix: str, gate: Gate
) -> None:
    cancel = Cancel(job="job-1", attempt=1)
    for_another = await gate.order("w2", cancel)
    assert for_another is not None
    assert isinstance(rabbits.worker, RabbitWorker)
    async with hearing(rabbits.worker, "w1") as orders:
        await eventually(lambda: rabbits.bot.order("w1", Nudge()))
        for forged in (cancel.model_dump_json().encode(), for_another):
            await publish(broker.amqp_url, Topology(prefix).orders("w1"), forged)
        assert await rabbits.bot.order("w1", Nudge())
        await eventually(lambda: len(orders) >= 2)
    assert orders == [Nudge()] * len(orders)


async def test_an_event_that_nobody_sealed_is_dropped_and_blocks_no_other(
    broker: Broker, rabbits: Ends, prefix: str
) -> None:
    bot = Bot()
    topology = Topology(prefix)
    for queue in (topology.logs, topology.dead):
        await publish(broker.amqp_url, queue, line(0).model_dump_json().encode())
    async with bot.serving(rabbits.bot):
        await rabbits.worker.tell(line(7))
        await eventually(lambda: bot.heard == [line(7)])


async def test_an_offer_that_the_bot_did_not_make_ends_no_job(
    broker: Broker, rabbits: Ends, prefix: str
) -> None:
    forged = offer("job-1").model_copy(update={"mark": "forged"})
    bot = Bot()
    with capture_logs() as logs:
        await publish(broker.amqp_url, Topology(prefix).dead, forged.model_dump_json().encode())
        async with bot.serving(rabbits.bot):
            await eventually(lambda: any("no offer of ours" in entry["event"] for entry in logs))
    assert bot.buried == []


async def test_a_worker_waits_for_a_bot_that_has_never_been_there(
    broker: Broker, prefix: str, gate: Gate
) -> None:
    async with asyncio.TaskGroup() as tasks:

        async def work() -> str:
            known = gate.credential("w1")
            async with RabbitWorker.connected(broker.amqp_url, known, prefix, wait=60) as worker:
                return await worker.check()

        with capture_logs() as logs:
            working = tasks.create_task(work())
            await eventually(
                lambda: any("has not been at this queue" in entry.get("why", "") for entry in logs)
            )
            assert not working.done()
            async with RabbitBot.connected(broker.amqp_url, gate, prefix, wait=60):
                assert "RabbitMQ" in await working


def test_a_letter_opens_for_its_reader_and_as_what_it_is_only() -> None:
    bot, own = KeyPair.made(), KeyPair.made()
    worker = Letters.of_worker(Credential("w1", POOL, own, bot.public))
    here = Letters.of_bot(bot, own.public)
    other = Letters.of_bot(bot, KeyPair.made().public)
    request = claim()
    sealed = worker.seal(REQUEST, request)

    assert Claim.model_validate_json(here.open(REQUEST, sealed)) == request
    for reader, what in ((here, EVENT), (other, REQUEST), (worker, REQUEST), (worker, ORDER)):
        with pytest.raises(Forged):
            reader.open(what, sealed)
    answer = here.seal(answer_to(7), Refusal(reason="no"))
    assert worker.open(answer_to(7), answer)
    with pytest.raises(Forged):
        worker.open(answer_to(8), answer)


def test_a_credential_is_one_line_and_half_of_one_is_none() -> None:
    made = Credential("w-1.a_b", "pool", KeyPair.made(), KeyPair.made().public)

    assert Credential.parse(f"{made.text}\n") == made
    assert made.keys.private.hex() not in repr(made)
    for broken in ("", "x", made.text[:-5], made.text.replace("blacktree", "black"), made.text.upper()):
        with pytest.raises(ValueError, match="no worker's credential"):
            Credential.parse(broken)


def test_settings_that_contradict_the_credential_are_named(tmp_path: Path) -> None:
    made = Credential("one", "forks", KeyPair.made(), KeyPair.made().public)

    def given(**other: str) -> Settings:
        return Settings.model_validate({"data_dir": tmp_path, "worker_credential": made.text, **other})

    settings, known = credential.of(given(worker_name="one"))
    assert (settings.worker, settings.worker_pool, known) == ("one", "forks", made)
    with pytest.raises(ConfigError, match=r"BLACKTREE_WORKER_POOL is default, but .* says forks"):
        credential.of(given(worker_pool="default"))
    with pytest.raises(ConfigError, match=r"BLACKTREE_WORKER_CREDENTIAL is missing: .*workers add"):
        credential.of(Settings(data_dir=tmp_path))
