"""What RabbitMQ adds: losses of the connection and of the broker, dead letters, TLS, and words for people."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import math
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aio_pika
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from structlog.testing import capture_logs

from bot.fleet.enrolment import rabbit_hash
from bot.fleet.permissions import definitions
from bot.store.tables import Enrolled
from tests.parts.broker import Broker, Queue
from tests.workers.contract.conftest import POOL, Bot, Ends, Gate, eventually
from tests.workers.contract.test_queue import claim, line, offer, step
from workers.contract import broker_service
from workers.contract.broker_topology import Topology
from workers.contract.messages import VERSION, LogChunk, Nudge, Offer, Order, Refusal
from workers.contract.queue import QueueDown
from workers.contract.rabbitmq import RabbitBot, RabbitWorker
from workers.contract.shells import ShellOrder, ShellSaid, Still

pytestmark = pytest.mark.timeout(600)

PASSWORD = "s3cret-p4ss"


@pytest.fixture(autouse=True)
async def nothing_unretrieved() -> AsyncIterator[None]:
    """No task or future ends with an exception that nobody looked at."""
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    yield
    gc.collect()
    await asyncio.sleep(0)
    assert told == []


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], str]]:
    """All that was logged, by us and by the libraries."""
    caplog.set_level(logging.DEBUG)
    with capture_logs() as ours:
        yield lambda: f"{ours}{caplog.text}"


async def publish(url: str, queue: str, body: bytes, times: int = 1) -> None:
    async with await aio_pika.connect(url) as connection, connection.channel() as channel:
        for _ in range(times):
            await channel.default_exchange.publish(aio_pika.Message(body), queue)


def on_disk(broker: Broker, queue: str) -> Callable[[], bool]:
    """Whether a crash would leave the queue: Ra writes its register of names seconds later.

    A queue that is not in it yet comes back empty and without a leader, seen with RabbitMQ 3.10.8; see
    https://github.com/rabbitmq/rabbitmq-server/issues/10070
    """
    return lambda: any(queue.encode() in names.read_bytes() for names in broker.folder.rglob("names.dets"))


@asynccontextmanager
async def hearing(queue: RabbitWorker, worker: str) -> AsyncIterator[list[Order]]:
    heard: list[Order] = []

    async def hear() -> None:
        async for order in queue.orders(worker):
            heard.append(order)  # noqa: PERF401

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(hear())
        yield heard
        task.cancel()


# -- losses --------------------------------------------------------------------------------------------


async def test_an_offer_comes_back_when_its_connection_dies(
    broker: Broker, rabbits: Ends, prefix: str, gate: Gate
) -> None:
    await rabbits.bot.offer(offer())
    async with RabbitWorker.connected(broker.amqp_url, gate.credential("dies"), prefix, wait=60) as worker:
        taken = await worker.take(POOL)
    again = await rabbits.worker.take(POOL)
    assert again.offer == taken.offer
    assert again.redelivered
    await taken.ack()
    await taken.give_back()
    await again.ack()
    assert await rabbits.bot.depth(POOL) == 0


async def test_a_line_that_cannot_be_taken_from_keeps_nobody_from_the_others(rabbits: Ends) -> None:
    """As where the login may not read it, or somebody deleted its queue."""
    await rabbits.bot.offer(offer())
    async with asyncio.timeout(60):
        taken = await rabbits.worker.take(POOL, f"{POOL}+gpu")
    assert taken.offer == offer()
    await taken.ack()


async def test_what_is_given_back_is_marked(rabbits: Ends) -> None:
    await rabbits.bot.offer(offer())
    await (await rabbits.worker.take(POOL)).give_back()
    again = await rabbits.worker.take(POOL)
    assert again.redelivered
    await again.ack()


@pytest.mark.parametrize("kill", [True, False], ids=["killed", "stopped"])
async def test_everything_goes_on_after_the_broker(
    broker: Broker, rabbits: Ends, prefix: str, kill: bool
) -> None:
    if broker.external:
        pytest.skip("the broker is not ours to break")
    bot_end, worker, other = rabbits.bot, rabbits.worker, rabbits.other
    assert isinstance(bot_end, RabbitBot)
    assert isinstance(worker, RabbitWorker)
    assert isinstance(other, RabbitWorker)
    bot = Bot()
    connected_at = bot_end.connected_at
    with capture_logs() as logs:
        async with bot.serving(bot_end), hearing(worker, "w1") as orders:
            await worker.request(claim(), 60)
            await bot_end.offer(offer())
            taken = await worker.take(POOL)
            assert await bot_end.depth("empty") == 0  # which declares it
            waiting = asyncio.create_task(other.take("empty"))
            asking = asyncio.create_task(worker.request(claim(), 60))
            for queue in (Topology(prefix).jobs(POOL), Topology(prefix).jobs("empty")):
                await eventually(on_disk(broker, queue))
            await asking
            events = [step(attempt) for attempt in range(5)]

            async def tell() -> None:
                for event in events:
                    await worker.tell(event)

            async with broker.down(kill=kill):
                await eventually(lambda: math.isinf(bot_end.connected_at) and math.isinf(worker.connected_at))
                telling = asyncio.create_task(tell())
                with pytest.raises(QueueDown, match=r"RabbitMQ at 127\.0\.0\.1:\d+/: "):
                    await worker.request(claim(), 0.5)
                for refused in (bot_end.check(), bot_end.depth(POOL), bot_end.order("w1", Nudge())):
                    with pytest.raises(QueueDown):
                        await refused
            await taken.ack()
            again = await worker.take(POOL)
            assert (again.offer, again.redelivered) == (taken.offer, True)
            await again.ack()
            await telling
            await eventually(lambda: len(bot.heard) >= len(events))
            assert [event for at, event in enumerate(bot.heard) if event not in bot.heard[:at]] == events
            assert await worker.request(claim(), 60) == Refusal(reason="w1")

            async def reached() -> bool:
                return await bot_end.order("w1", Nudge())

            await eventually(reached)
            await eventually(lambda: Nudge() in orders)
            await bot_end.offer(Offer(job="late", pool="empty"))
            late = await waiting
            assert late.offer.job == "late"
            await late.ack()
            assert connected_at < bot_end.connected_at < time.monotonic()
        await eventually(lambda: sum(entry["event"] == "queue reconnected" for entry in logs) == 4)
    # Of each worker one; of the bot two, over one of which it only hears.
    assert sum(entry["event"] == "queue lost" for entry in logs) == 4
    await _delete(broker.amqp_url, Topology(prefix).jobs("empty"))


async def test_a_request_that_waits_ends_with_its_connection(broker: Broker, rabbits: Ends) -> None:
    if broker.external:
        pytest.skip("the broker is not ours to break")
    asking = asyncio.create_task(rabbits.worker.request(claim(), 500))

    async def waits() -> bool:
        return any(
            ".requests" in queue.name and queue.ready for queue in await asyncio.to_thread(broker.list_queues)
        )

    await eventually(waits)
    async with broker.down():
        with pytest.raises(QueueDown):
            async with asyncio.timeout(60):
                await asking


async def test_an_event_that_waits_for_its_listener_survives_a_new_bot(
    broker: Broker, prefix: str, gate: Gate
) -> None:
    stuck, fresh = Bot(refuses=[ValueError] * 3), Bot()
    url, known = broker.amqp_url, gate.credential("w1")
    async with (
        RabbitBot.connected(url, gate, prefix, wait=60) as queue,
        RabbitWorker.connected(url, known, prefix, wait=60) as worker,
    ):
        await worker.tell(step(1))
        async with stuck.serving(queue):
            await eventually(lambda: len(stuck.refuses) < 3)
    async with RabbitBot.connected(url, gate, prefix, wait=60) as queue, fresh.serving(queue):
        await eventually(lambda: fresh.heard != [])
    assert fresh.heard == [step(1).model_copy(update={"step": fresh.heard[0].step})]  # type: ignore[union-attr]


async def test_a_queue_that_somebody_deleted_is_made_again(
    broker: Broker, rabbits: Ends, prefix: str
) -> None:
    bot = Bot()
    async with bot.serving(rabbits.bot):
        await rabbits.worker.tell(step(1))
        await eventually(lambda: len(bot.heard) == 1)
        await _delete(broker.amqp_url, Topology(prefix).events)
        await rabbits.worker.tell(step(2))
        await eventually(lambda: len(bot.heard) == 2)


# -- dead letters --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", [b"\xff", b"{}", b'{"version": 1, "kind": "offer", "job": "j", "pool": "p"}']
)
async def test_the_unreadable_blocks_nothing_and_is_nobodys(
    broker: Broker, rabbits: Ends, prefix: str, body: bytes
) -> None:
    topology = Topology(prefix)
    bot = Bot()
    await rabbits.bot.depth(POOL)
    for queue in (topology.jobs(POOL), topology.events, topology.logs, topology.requests, topology.dead):
        await publish(broker.amqp_url, queue, body)
    await rabbits.bot.offer(offer())
    taken = await rabbits.worker.take(POOL)
    assert taken.offer == offer()
    await taken.ack()
    async with bot.serving(rabbits.bot):
        await rabbits.worker.tell(step(1))
        await rabbits.worker.tell(line(0))
        await rabbits.worker.request(claim(), 60)
        await eventually(lambda: len(bot.heard) == 2)

        async def empty() -> bool:
            return not any(one.ready or one.unacknowledged for one in await _queues(broker, prefix))

        await eventually(empty)
    assert bot.buried == []


async def test_an_offer_that_is_delivered_too_often_is_buried(rabbits: Ends) -> None:
    await rabbits.bot.offer(offer())
    for _ in range(21):
        await (await rabbits.worker.take(POOL)).give_back()
    bot = Bot()
    async with bot.serving(rabbits.bot):
        await eventually(lambda: [dead.job for dead in bot.buried] == [offer().job])
    assert await rabbits.bot.depth(POOL) == 0


async def test_an_event_that_is_never_taken_lets_the_next_pass_and_is_heard_last(
    rabbits: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_service, "_LONGEST_PAUSE", 0.001)
    poison, after = step(1), step(2)
    bot = Bot(refuses=[ValueError] * 20)
    await rabbits.worker.tell(poison)
    await rabbits.worker.tell(after)
    async with bot.serving(rabbits.bot):
        await eventually(lambda: len(bot.heard) == 2)
    assert sorted(bot.heard, key=lambda event: event.attempt) == [poison, after]
    assert bot.buried == []


async def test_a_dead_letter_that_cannot_be_buried_blocks_no_other(
    broker: Broker, rabbits: Ends, prefix: str, gate: Gate
) -> None:
    for job in ("first", "second"):
        dead = gate.marked(offer(job)).model_dump_json().encode()
        await publish(broker.amqp_url, Topology(prefix).dead, dead)
    bot = Bot(refuses=[ValueError])
    async with bot.serving(rabbits.bot):
        await eventually(lambda: len(bot.buried) == 2)
    assert [dead.job for dead in bot.buried] == ["second", "first"]


async def test_a_request_whose_answerer_raises_is_asked_again(rabbits: Ends) -> None:
    bot = Bot()
    async with bot.serving(rabbits.bot):
        await rabbits.worker.request(claim(), 60)  # by now it hears
        bot.refuses.append(ValueError)
        with pytest.raises(TimeoutError, match="claim"):
            await rabbits.worker.request(claim(), 5)
        assert await rabbits.worker.request(claim(), 60) == Refusal(reason="w1")


async def test_a_request_that_nobody_heard_in_time_is_forgotten(
    broker: Broker, rabbits: Ends, prefix: str
) -> None:
    with pytest.raises(TimeoutError):
        await rabbits.worker.request(claim("late"), 0.2)
    async with await aio_pika.connect(broker.amqp_url) as connection, connection.channel() as channel:

        async def is_empty() -> bool:
            waiting = await channel.declare_queue(Topology(prefix).requests, passive=True)
            return not waiting.declaration_result.message_count

        await eventually(is_empty)
    asked: list[str] = []

    async def answer(request: Any) -> Refusal:
        asked.append(request.worker)
        return Refusal(reason="")

    bot = Bot()
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(rabbits.bot.serve(answer, bot.hear, bot.bury))
        await rabbits.worker.request(claim("now"), 60)
        serving.cancel()
    assert asked == ["now"]
    assert bot.buried == []


async def test_log_lines_wait_for_who_hears_them_and_go_on_with_the_next(
    broker: Broker, rabbits: Ends, prefix: str
) -> None:
    serves, first, second = Bot(), Bot(), Bot()
    lines, changed = [line(number) for number in range(4)], step(1)

    async def settled() -> bool:
        """What is cancelled before the broker knows that it was heard is heard again."""
        logs = [one for one in await _queues(broker, prefix) if one.name == Topology(prefix).logs]
        return not any(one.ready or one.unacknowledged for one in logs)

    async def hears(bot: Bot, told: list[LogChunk]) -> None:
        hearing = asyncio.create_task(rabbits.bot.hear_lines(bot.hear))
        await eventually(lambda: bot.heard == told)
        await eventually(settled)
        hearing.cancel()
        await asyncio.wait({hearing})

    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(rabbits.bot.serve(serves.answer, serves.hear, serves.bury))
        for told in lines[:3]:
            await rabbits.worker.tell(told)
        await rabbits.worker.tell(changed)
        await eventually(lambda: serves.heard != [])
        await hears(first, lines[:3])
        await rabbits.worker.tell(lines[3])
        await hears(second, lines[3:])
        serving.cancel()
    assert serves.heard == [changed]


# -- the first connect, and words ----------------------------------------------------------------------


async def test_check_names_the_broker(rabbits: Ends, broker: Broker) -> None:
    told = await rabbits.bot.check()
    assert told.startswith("RabbitMQ 3.") or told.startswith("RabbitMQ 4.")
    assert told.endswith(f" at 127.0.0.1:{urlsplit(broker.amqp_url).port}/")


async def test_refused(free_port: Callable[[], int], logged: Callable[[], str]) -> None:
    port = free_port()
    with pytest.raises(QueueDown) as caught:
        async with RabbitBot.connected(f"amqp://bob:{PASSWORD}@127.0.0.1:{port}/deploy", Gate()):
            pass
    assert str(caught.value) == f"RabbitMQ at 127.0.0.1:{port}/deploy: connection refused"
    assert PASSWORD not in logged()


async def test_a_wrong_password(broker: Broker, logged: Callable[[], str]) -> None:
    port = urlsplit(broker.amqp_url).port
    with pytest.raises(QueueDown) as caught:
        async with RabbitBot.connected(f"amqp://guest:{PASSWORD}@127.0.0.1:{port}/", Gate()):
            pass
    assert str(caught.value) == f"RabbitMQ at 127.0.0.1:{port}/: it refused the user or the password"
    assert PASSWORD not in logged()


async def test_a_vhost_that_is_not_there(broker: Broker) -> None:
    with pytest.raises(QueueDown, match="/nowhere: there is no such vhost, or the user may not use it"):
        async with RabbitBot.connected(broker.amqp_url + "nowhere", Gate()):
            pass


@pytest.mark.parametrize(
    "url",
    [f"http://u:{PASSWORD}@h/", f"amqp://u:p/{PASSWORD}@h/", f"amqp://u:{PASSWORD}@h:x/", "amqp://", ""],
)
async def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(QueueDown) as caught:
        async with RabbitBot.connected(url, Gate()):
            pass
    assert "amqp://USER:PASSWORD@HOST" in str(caught.value)
    assert PASSWORD not in repr(caught.value)


async def test_the_first_connect_can_wait(broker: Broker, free_port: Callable[[], int], prefix: str) -> None:
    port = free_port()
    async with asyncio.TaskGroup() as tasks:

        async def connect() -> str:
            url = f"amqp://guest:guest@127.0.0.1:{port}/"
            async with RabbitBot.connected(url, Gate(), prefix, wait=60) as queue:
                return await queue.check()

        connecting = tasks.create_task(connect())
        await asyncio.wait({connecting}, timeout=0.3)
        assert not connecting.done()
        async with _relay(broker, port):
            assert str(port) in await connecting


async def test_no_password_in_the_logs_of_a_loss(
    broker: Broker, free_port: Callable[[], int], prefix: str, logged: Callable[[], str]
) -> None:
    port = free_port()
    async with _relay(broker, port) as cut:
        url = f"amqp://guest:guest@127.0.0.1:{port}/"
        async with RabbitBot.connected(url, Gate(), prefix, wait=60) as queue:
            before = queue.connected_at
            cut()
            await eventually(lambda: before < queue.connected_at < math.inf)
    assert "queue reconnected" in logged()
    assert ":guest@" not in logged()


async def test_a_worker_of_the_version_before_gets_no_offer_and_rejects_none(
    broker: Broker, rabbits: Ends, prefix: str
) -> None:
    """It knows the queues by their names of then, and what it cannot read it would have buried."""
    bot = Bot()
    async with await aio_pika.connect(broker.amqp_url) as connection, connection.channel() as channel:
        old = await channel.declare_queue(f"{prefix}.jobs.{POOL}", exclusive=True)
        async with bot.serving(rabbits.bot):
            await rabbits.bot.offer(offer())
            assert (await rabbits.worker.take(POOL)).offer.job == offer().job
        assert await old.get(fail=False) is None
    assert bot.buried == []


def test_an_offer_that_changes_goes_to_other_queues() -> None:
    """Whoever changes it raises VERSION, and then these two lines."""
    assert (VERSION, set(Offer.model_fields)) == (6, {"version", "kind", "job", "pool", "mark"})
    assert Topology("blacktree").jobs("gpu") == "blacktree.jobs-6.gpu"


async def test_a_queue_with_other_settings(broker: Broker, prefix: str) -> None:
    events = Topology(prefix).events
    async with await aio_pika.connect(broker.amqp_url) as connection, connection.channel() as channel:
        await channel.declare_queue(events, durable=True)
    with pytest.raises(QueueDown, match=f"rabbitmqctl delete_queue {events}"):
        async with RabbitBot.connected(broker.amqp_url, Gate(), prefix):
            pass


async def test_a_pool_with_other_settings(broker: Broker, rabbits: Ends, prefix: str) -> None:
    async with await aio_pika.connect(broker.amqp_url) as connection, connection.channel() as channel:
        await channel.declare_queue(Topology(prefix).jobs(POOL), durable=True)
    with pytest.raises(QueueDown, match="made with other settings"):
        await rabbits.bot.offer(offer())


async def test_nothing_that_newer_brokers_refuse(broker: Broker, rabbits: Ends, prefix: str) -> None:
    if broker.external:
        pytest.skip("rabbitmqctl is asked")
    await rabbits.bot.offer(offer())
    async with hearing(rabbits.worker, "w1"):  # type: ignore[arg-type]
        await eventually(lambda: rabbits.bot.order("w1", Nudge()))
        queues = await _queues(broker, prefix)
    # A worker's own queue is its connection's alone (exclusive), which every broker takes.
    queues = [queue for queue in queues if queue.name != Topology(prefix).orders("w1")]
    assert {queue.name for queue in queues} == {*Topology(prefix).standing, Topology(prefix).jobs(POOL)}
    assert all(queue.kind == "quorum" and queue.durable for queue in queues)


async def test_tls(broker: Broker, free_port: Callable[[], int], prefix: str, tmp_path: Path) -> None:
    port = free_port()
    certificate = _certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with _relay(broker, port, context):
        url = f"amqps://guest:guest@127.0.0.1:{port}/"
        with pytest.raises(QueueDown, match="no TLS: CERTIFICATE_VERIFY_FAILED"):
            async with RabbitBot.connected(url, Gate(), prefix):
                pass
        async with RabbitBot.connected(f"{url}?cafile={certificate}", Gate(), prefix, wait=60) as queue:
            await queue.offer(offer())


# -- helpers -------------------------------------------------------------------------------------------


async def _queues(broker: Broker, prefix: str) -> list[Queue]:
    """Of one test."""
    return [queue for queue in await asyncio.to_thread(broker.list_queues) if prefix in queue.name]


async def _delete(url: str, queue: str) -> None:
    async with await aio_pika.connect(url) as connection, connection.channel() as channel:
        await channel.queue_delete(queue)


@asynccontextmanager
async def _relay(
    broker: Broker, port: int, context: ssl.SSLContext | None = None
) -> AsyncIterator[Callable[[], None]]:
    """The broker on another port; gives what cuts all connections at once."""
    writers: set[asyncio.StreamWriter] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", urlsplit(broker.amqp_url).port)
        writers.update((writer, back))
        await asyncio.gather(pump(reader, back), pump(there, writer))

    def cut() -> None:
        for writer in writers:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", port, ssl=context)
    try:
        yield cut
    finally:
        server.close()
        cut()
        await asyncio.sleep(0)


def _certificate(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "broker")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "broker.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + certificate.public_bytes(pem))
    return path


# -- shells --------------------------------------------------------------------------------------------


async def test_a_shell_needs_no_other_right_than_a_worker_has(
    broker: Broker, rabbits: Ends, prefix: str, gate: Gate
) -> None:
    known, name = gate.credential("narrow"), "of-a-shell"
    login = rabbit_hash(known.broker_password)
    row = Enrolled(name="narrow", pool=POOL, public_key=known.keys.public.hex(), broker_hash=login)
    await asyncio.to_thread(broker.define, json.dumps(definitions([row], prefix, "/")))
    url = f"amqp://127.0.0.1:{urlsplit(broker.amqp_url).port}/"
    said, order = (
        ShellSaid(shell=name, number=0, what=Still()),
        ShellOrder(shell=name, number=0, what=Still()),
    )
    async with (
        RabbitWorker.connected(url, known, prefix, wait=60) as worker,
        hearing(worker, "narrow") as heard,
        rabbits.bot.shell(name, "narrow") as hears,
    ):

        async def ordered() -> bool:
            return await rabbits.bot.order("narrow", order)

        await eventually(ordered)
        await worker.say(said)
        assert await asyncio.wait_for(hears(), 30) == said
        await eventually(lambda: heard == [order])
    await asyncio.to_thread(broker.control, "delete_user", Topology(prefix).user("narrow"))


async def test_what_another_worker_says_of_a_shell_ends_it(rabbits: Ends) -> None:
    name = "of-w1"
    async with rabbits.bot.shell(name, "w1") as hears:
        await rabbits.other.say(ShellSaid(shell=name, number=0, what=Still()))
        with pytest.raises(QueueDown, match="not from its worker"):
            await asyncio.wait_for(hears(), 30)
    with pytest.raises(QueueDown, match="no worker nobody"):
        async with rabbits.bot.shell("of-nobody", "nobody"):
            pass


async def test_a_worker_learns_that_the_bot_of_a_shell_was_killed(
    broker: Broker, rabbits: Ends, prefix: str, gate: Gate
) -> None:
    name = "of-a-shell"
    said = ShellSaid(shell=name, number=0, what=Still())
    async with (
        RabbitBot.connected(broker.amqp_url, gate, prefix, "killed", wait=60) as bot,
        bot.shell(name, "w1") as hears,
    ):
        await rabbits.worker.say(said)
        assert await asyncio.wait_for(hears(), 30) == said
        await bot._connection.now()._connection.close()
        with pytest.raises(QueueDown):
            await asyncio.wait_for(hears(), 30)

        async def unheard() -> bool:
            with suppress(QueueDown):
                await rabbits.worker.say(said)
                return False
            return True

        await eventually(unheard)
