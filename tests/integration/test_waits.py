"""Whatever starts before what it needs waits for it, says for what, and works when it is there."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from config.trust import trusted
from tests.instance import Instance, Process, instance
from tests.integration.conftest import PAGE, Developer, visit
from tests.parts.broker import Broker
from tests.parts.postgres import Postgres
from tests.parts.registry import Registry
from tests.parts.relay import Relay

DEPLOY = "blacktree/deploy (production)"
_AT_ONCE = 30  # seconds on a busy machine: what waits does so for ever, and what runs gets minutes
_names = (f"waits-{os.getpid()}-{number}" for number in itertools.count())


@dataclass
class Far:
    """An instance whose store, queue and engine are away, until they are let in."""

    fleet: Instance
    store: Relay
    queue: Relay
    engine: Path

    def let_the_engine_in(self) -> None:
        self.engine.symlink_to(os.environ["DOCKER_HOST"].removeprefix("unix://"))


@pytest.fixture
async def far(
    developer: Developer, tmp_path: Path, broker: Broker, registry: Registry, postgres: Postgres
) -> AsyncIterator[Far]:
    name = next(_names)
    postgres.create_database(name)
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(Relay(postgres.port).ready())
        queue = await stack.enter_async_context(Relay(broker.port).ready())
        fleet = await stack.enter_async_context(
            instance(
                tmp_path,
                developer.github,
                database_url=f"postgresql://blacktree@127.0.0.1:{store.port}/{name}",
                queue_url=f"amqp://guest:guest@127.0.0.1:{queue.port}/",
                queue_prefix=name,
                secret_key="of all bots of this instance",
                registry=f"{registry.address}/acme",
                registry_username=registry.username,
                registry_password=registry.password,
                lease="12",
            )
        )
        engine = tmp_path / "docker.sock"
        fleet.settings["DOCKER_HOST"] = f"unix://{engine}"
        fleet.settings["BLACKTREE_API_TOKEN"] = "t" * 40
        await store.open()  # for the credential
        await fleet.credential("one")
        await store.close()
        yield Far(fleet, store, queue, engine)


async def said(fleet: Instance, process: Process, words: str) -> None:
    async def look() -> bool:
        return words in process.said()

    await fleet.until(look, f"{process.log.name} to say {words}", limit=120)


async def asked(fleet: Instance, path: str) -> tuple[int, str]:
    headers = {"authorization": f"Bearer {'t' * 40}"}
    async with httpx2.AsyncClient(verify=trusted(), timeout=60) as http:
        answer = await http.get(fleet.url + path, headers=headers)
    return answer.status_code, answer.text


async def test_what_starts_first_says_for_what_it_waits_and_works_when_that_is_there(
    developer: Developer, far: Far
) -> None:
    fleet, begun = far.fleet, time.monotonic()
    worker, bot = await fleet.start("worker", "one"), await fleet.start("serve")
    await said(fleet, worker, "waiting for the queue")
    await said(fleet, bot, "waiting for the store")

    async def alive() -> bool:
        return (await asked(fleet, "/healthz"))[0] == 200

    await fleet.until(alive, "the bot to say that it is alive", limit=60)
    status, text = await asked(fleet, "/readyz")
    assert status == 503
    assert "store" in text
    assert (await asked(fleet, "/webhooks/github"))[0] == 503

    await far.store.open()  # deliveries are taken before there is a queue
    await said(fleet, bot, "bot started")
    status, text = await asked(fleet, "/readyz")
    assert status == 503
    assert "RabbitMQ at" in text
    sha = await developer.push({PAGE: "in the end"})
    await developer.github.settled()
    assert developer.github.deliveries[-1].status_code == 202
    await developer.github.until(lambda: developer.state(sha, "blacktree/build") == "pending")

    await far.queue.open()
    await said(fleet, worker, "waiting for the engine")
    await fleet.ready()

    far.let_the_engine_in()
    place = (await developer.status(sha, DEPLOY, "success")).removeprefix("Live at ")
    assert (await visit(place)).strip() == "in the end"
    for process in (bot, worker):
        assert "Traceback" not in process.said()
    most = 1 + int((time.monotonic() - begun) // 60)  # it says so again each minute
    for process, waited in ((bot, "the store"), (worker, "the queue"), (worker, "the engine")):
        assert 1 <= process.said().count(f"waiting for {waited}") <= most
        assert f"{waited} answers" in process.said()


async def test_who_waits_stops_at_once_when_told(far: Far) -> None:
    fleet = far.fleet
    worker = await fleet.start("worker", "one", shutdown="300")
    bot = await fleet.start("serve", shutdown="300")
    up = await fleet.start("up", port="0", queue_url="memory://", shutdown="300")
    await said(fleet, worker, "waiting for the queue")
    for process in (bot, up):
        await said(fleet, process, "waiting for the store")

    async with asyncio.timeout(_AT_ONCE):
        codes = tuple(await asyncio.gather(worker.stop(), bot.stop(), up.stop()))

    assert codes == (0, 0, 0)
    await far.store.open()
    await far.queue.open()
    await bot.start()
    await worker.start()
    await said(fleet, worker, "waiting for the engine")
    async with asyncio.timeout(_AT_ONCE):
        assert await worker.stop() == 0
    for process in (worker, bot, up):
        assert "Traceback" not in process.said()


@pytest.mark.parametrize(
    ("command", "setting", "told"),
    [
        ("serve", {"queue_url": "amqp://guest:wrong@127.0.0.1:{queue}/"}, "refused the user or the password"),
        (
            "worker",
            {"queue_url": "amqp://guest:wrong@127.0.0.1:{queue}/"},
            "refused the user or the password",
        ),
        ("serve", {"queue_url": "amqp://guest:guest@127.0.0.1:{queue}/nowhere"}, "no such vhost"),
        ("serve", {"database_url": "postgresql://nobody@127.0.0.1:{store}/postgres"}, "does not exist"),
        ("serve", {"database_url": "postgresql://blacktree@127.0.0.1:{store}/nowhere"}, "does not exist"),
        ("serve", {"database_url": "postgresql://blacktree@127.0.0.1:port/x"}, "DATABASE_URL"),
    ],
)
async def test_who_is_refused_is_told_so_instead_of_waiting(
    far: Far, command: str, setting: dict[str, str], told: str
) -> None:
    await far.store.open()
    await far.queue.open()
    ports = {"store": far.store.port, "queue": far.queue.port}

    process = await far.fleet.start(
        command, "one", None, **{key: value.format(**ports) for key, value in setting.items()}
    )

    assert await process.ended() == 2
    assert told in process.said()
    assert "Traceback" not in process.said()
    assert "wrong" not in process.said()


async def test_a_bot_is_ready_while_github_is_away(far: Far) -> None:
    await far.store.open()
    await far.queue.open()

    bot = await far.fleet.start("serve", github_api_url="http://127.0.0.1:1")

    await far.fleet.ready()
    assert await bot.stop() == 0
    assert "Traceback" not in bot.said()
