"""The parts do what tests need of them: they serve, survive being broken, and leave nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import aio_pika
import httpx2
import psycopg
import pytest
from aio_pika.abc import AbstractChannel

from tests.parts.aws import EcrRegistry, some_account
from tests.parts.broker import Broker, Queue
from tests.parts.engine import Engine
from tests.parts.part import NotOurs
from tests.parts.postgres import Postgres
from tests.parts.registry import Registry
from tests.parts.waiting import wait_for


@asynccontextmanager
async def channel_to(broker: Broker) -> AsyncIterator[AbstractChannel]:
    connection = await aio_pika.connect(broker.amqp_url)
    async with connection:
        yield await connection.channel()


async def publish(broker: Broker, name: str, body: bytes, kind: str = "classic") -> None:
    """Declare the queue and have the broker confirm that it holds the message.

    Not a quorum queue where the broker is killed next: RabbitMQ 3.10 on one node loses those that were
    declared in the seconds before (their names stay, and nothing answers for them).
    """
    async with channel_to(broker) as channel:
        await channel.declare_queue(name, durable=True, arguments={"x-queue-type": kind})
        message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, routing_key=name)


async def take(broker: Broker, name: str) -> bytes:
    async with channel_to(broker) as channel:
        queue = await channel.get_queue(name)
        message = await queue.get(timeout=60)
        await message.ack()
        await queue.delete(if_unused=False, if_empty=False)  # quorum queues know neither condition
        return message.body


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
async def test_a_persistent_message_survives_a_broker_that_was(broker: Broker, kill: bool) -> None:
    before = broker.pid
    await publish(broker, "survivor", b"still here")
    async with broker.down(kill=kill):
        with pytest.raises(ConnectionError):
            await aio_pika.connect(broker.amqp_url)
    assert broker.pid != before
    assert await take(broker, "survivor") == b"still here"


async def test_the_broker_tells_its_queues(broker: Broker) -> None:
    await publish(broker, "told", b"one", "quorum")
    told = Queue("told", "quorum", durable=True, ready=1, unacknowledged=0, consumers=0)
    await asyncio.to_thread(
        wait_for, lambda: told in broker.list_queues(), "the queue counts its message", 120
    )
    await take(broker, "told")


async def test_the_registry_wants_its_password_also_after_a_restart(registry: Registry) -> None:
    await registry.restart(kill=True)
    assert httpx2.get(f"{registry.url}/v2/").status_code == 401
    assert registry.get("/v2/").status_code == 200
    assert registry.tags("nothing") == []
    assert registry.digest("nothing", "latest") is None


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
async def test_a_row_survives_a_postgres_that_was(postgres: Postgres, kill: bool) -> None:
    url = await asyncio.to_thread(postgres.create_database, "survivor")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    await postgres.restart(kill=kill)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT one FROM kept").fetchone() == (1,)


def test_the_engine_runs_the_base_image_and_cleans_up_by_label(engine: Engine) -> None:
    label = f"blacktree-test={uuid4().hex}"
    name, value = label.split("=")
    image = engine.base_image()
    engine.client.networks.create(f"blacktree-test-{value[:8]}", labels={name: value})
    container = engine.client.containers.run(image, "true", labels={name: value}, detach=True)
    assert container.wait(timeout=120)["StatusCode"] == 0
    assert [one.id for one in engine.containers(label)] == [container.id]
    engine.remove(label)
    assert not engine.containers(label)
    assert not engine.networks(label)


def test_an_image_goes_through_the_registry(engine: Engine, registry: Registry) -> None:
    name = f"{registry.address}/base"
    login = {"username": registry.username, "password": registry.password}
    engine.client.images.get(engine.base_image()).tag(name, "v1")
    try:
        pushed = [
            line["aux"]["Digest"]
            for line in engine.client.images.push(name, "v1", auth_config=login, stream=True, decode=True)
            if "aux" in line
        ]
    finally:
        engine.client.images.remove(f"{name}:v1")
    assert [registry.digest("base", "v1")] == pushed
    assert registry.tags("base") == ["v1"]
    assert registry.manifest("base", pushed[0])["schemaVersion"] == 2


def test_a_part_that_the_environment_named_is_not_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLACKTREE_TEST_AMQP_URL", "amqp://elsewhere/")
    with Broker.from_environment() as part:
        assert part.amqp_url == "amqp://elsewhere/"
        with pytest.raises(NotOurs, match="broker"):
            part.kill()


def test_hosts_of_tests_that_were_killed_are_forgotten() -> None:
    lost, account, hosts = some_account(), some_account(), Path("/etc/hosts")
    trusted = Path("/etc/docker/certs.d")
    (trusted / f"{lost}.example").mkdir(parents=True)
    with hosts.open("a") as file:
        file.write(f"127.0.0.9 {lost}.example # blacktree-test {2**22 + 1}\n")

    with EcrRegistry(account) as registry:
        assert registry.get("/v2/").status_code == 200
        assert account in hosts.read_text()
        assert lost not in hosts.read_text()

    assert account not in hosts.read_text()
    assert not [folder for folder in trusted.iterdir() if folder.name.startswith((lost, account))]


HOLDER = """
import sys, time
from tests.parts.broker import Broker
from tests.parts.postgres import Postgres
from tests.parts.registry import Registry
with {part}() as part:
    print(part.pid, part.folder, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("part", [Broker, Postgres, Registry])
def test_nothing_is_left_of_a_part_when_the_tests_are_killed(
    part: type[Broker | Postgres | Registry],
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER.format(part=part.__name__)], stdout=subprocess.PIPE
    ) as tests:
        assert tests.stdout
        pid, folder = tests.stdout.readline().decode().split()
        assert used_in(folder) >= {int(pid)}
        tests.send_signal(signal.SIGKILL)
    wait_for(lambda: not used_in(folder), f"the processes of the {part.name} end")
    # The next start of such a part removes what the killed one left on disk.
    with part():
        assert not Path(folder).exists()


def used_in(folder: str) -> set[int]:
    """The processes that work in the folder."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.readlink(entry / "cwd").startswith(folder):
                    found.add(int(entry.name))
            except OSError:
                continue
    return found
