"""What must always be true, on the real shape: bot, workers, RabbitMQ, a registry, PostgreSQL or SQLite."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from uuid import uuid4

import aio_pika
import aio_pika.abc
import pytest
from aio_pika.exceptions import ChannelNotFoundEntity, DeliveryError

from tests.github import Fault, GitHub
from tests.instance import Instance, instance
from tests.integration.conftest import PAGE, Developer, dockerfile, visit
from tests.parts.broker import Broker
from tests.parts.postgres import Postgres
from tests.parts.registry import Registry
from tests.parts.waiting import free_port
from workers.contract.broker_topology import Topology
from workers.contract.messages import Offer

BUILD = "blacktree/build"
DEPLOY = "blacktree/deploy (production)"


def slow(seconds: int = 12) -> str:
    """A step that is long enough to be disturbed, and that no earlier build left in a cache."""
    return f"RUN echo {uuid4().hex} && sleep {seconds}"


_prefixes = (f"truths-{os.getpid()}-{number}" for number in itertools.count())


@pytest.fixture
async def fleet(
    github: GitHub, tmp_path: Path, broker: Broker, registry: Registry
) -> AsyncIterator[Instance]:
    """An instance over RabbitMQ and the registry, with SQLite, and no process yet."""
    async with _fleet(github, tmp_path, broker, registry) as here:
        yield here


@asynccontextmanager
async def _fleet(
    github: GitHub, folder: Path, broker: Broker, registry: Registry, **more: str
) -> AsyncIterator[Instance]:
    settings = {
        "queue_url": broker.amqp_url,
        "queue_prefix": next(_prefixes),
        "secret_key": "of all bots of this instance",
        "registry": f"{registry.address}/acme",
        "registry_username": registry.username,
        "registry_password": registry.password,
        "lease": "12",
    }
    async with instance(folder, github, **(settings | more)) as here:
        yield here


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_bot_and_workers_over_rabbitmq_build_push_and_run(
    developer: Developer,
    tmp_path: Path,
    broker: Broker,
    registry: Registry,
    postgres: Postgres,
    database: str,
) -> None:
    url = {"database_url": postgres.create_database("truths")} if database == "postgresql" else {}
    async with _fleet(developer.github, tmp_path, broker, registry, **url) as fleet:
        await fleet.start("serve")
        await fleet.start("worker", "one")
        await fleet.start("worker", "two")
        await fleet.ready()

        sha = await developer.push({PAGE: "pushed"})

        place = (await developer.status(sha, DEPLOY, "success")).removeprefix("Live at ")
        assert (await visit(place)).strip() == "pushed"
        assert set(registry.tags("acme/acme/shop")) >= {sha, "main"}
        build = await fleet.job("build", "succeeded")
        assert registry.digest("acme/acme/shop", sha) == build["image"]["digest"]
        environments = await fleet.api("/environments")
        assert (
            environments[0]["release"]["image"]
            == f"{registry.address}/acme/acme/shop@{build['image']['digest']}"
        )

        async def both() -> bool:
            return {worker["name"] for worker in await fleet.api("/workers")} == {"one", "two"}

        await fleet.until(both, "both workers to be known")
        assert [await process.stop() for process in reversed(fleet.processes)] == [0, 0, 0]


async def test_a_message_delivered_twice_builds_once(
    developer: Developer, fleet: Instance, broker: Broker
) -> None:
    await fleet.start("serve")
    await fleet.ready()
    sha = await developer.push({"Dockerfile": dockerfile(slow())})
    job = await fleet.job("build", "queued")
    await _offer_again(broker, fleet, job["id"])

    one, two = await fleet.start("worker", "one"), await fleet.start("worker", "two")

    await developer.status(sha, DEPLOY, "success")
    build = await fleet.job("build", "succeeded")
    assert build["attempt"] == 1
    granted = [line for line in fleet.processes[0].said().splitlines() if "job granted" in line]
    assert len([line for line in granted if f"job={build['id']} " in line]) == 1

    async def refused() -> bool:
        return any("refused" in line for line in (one.said() + two.said()).splitlines())

    await fleet.until(refused, "the second message to be asked about, and refused")


async def test_a_bot_killed_between_accepting_and_dispatching_completes_the_run_after_a_start(
    developer: Developer, fleet: Instance
) -> None:
    bot = await fleet.start("serve")
    await fleet.start("worker", "one")
    await fleet.ready()
    # GitHub takes its time to give the file, so that the delivery is kept and nothing else is done.
    developer.github.faults.add(Fault(method="GET", path="/contents/", delay=30))
    sha = await developer.push({PAGE: "survives"})
    await developer.github.settled()
    assert developer.github.deliveries[-1].status_code == 202
    await bot.kill()
    developer.github.faults.clear()

    await bot.start()

    place = (await developer.status(sha, DEPLOY, "success")).removeprefix("Live at ")
    assert (await visit(place)).strip() == "survives"
    assert len(await fleet.api("/runs")) == 1


async def test_a_worker_killed_in_a_build_loses_the_job_to_another_at_once(
    developer: Developer, fleet: Instance
) -> None:
    await fleet.start("serve", lease="600")
    one = await fleet.start("worker", "one")
    await fleet.credential("two")  # the build would not wait for it
    await fleet.ready()
    sha = await developer.push({"Dockerfile": dockerfile(slow())})
    job = await _building(fleet)
    await fleet.start("worker", "two")

    await one.kill()

    await developer.status(sha, DEPLOY, "success", limit=240)
    build = await fleet.job("build", "succeeded")
    assert (build["id"], build["worker"], build["attempt"]) == (job, "two", 2)


async def test_a_broker_stopped_and_started_in_a_build_loses_and_doubles_nothing(
    developer: Developer, fleet: Instance, broker: Broker
) -> None:
    await fleet.start("serve", lease="300")
    await fleet.start("worker", "one")
    await fleet.start("worker", "two")
    await fleet.ready()
    sha = await developer.push({"Dockerfile": dockerfile(slow())})
    await _building(fleet)

    await broker.restart()

    await developer.status(sha, DEPLOY, "success", limit=240)
    assert [(job["kind"], job["attempt"]) for job in await fleet.jobs()] == [("build", 1), ("deploy", 1)]


async def test_a_database_stopped_and_started_in_a_build_loses_and_doubles_nothing(
    developer: Developer, tmp_path: Path, broker: Broker, registry: Registry, postgres: Postgres
) -> None:
    url = postgres.create_database("restarted")
    async with _fleet(developer.github, tmp_path, broker, registry, database_url=url) as fleet:
        await fleet.start("serve", lease="300")
        await fleet.start("worker", "one")
        await fleet.ready()
        sha = await developer.push({"Dockerfile": dockerfile(slow())})
        await _building(fleet)

        await postgres.restart()

        await developer.status(sha, DEPLOY, "success", limit=240)
        assert [(job["kind"], job["attempt"]) for job in await fleet.jobs()] == [("build", 1), ("deploy", 1)]


async def test_of_two_bots_the_second_takes_over_when_the_first_is_killed(
    developer: Developer, tmp_path: Path, broker: Broker, registry: Registry, postgres: Postgres
) -> None:
    url = postgres.create_database("two-bots")
    async with _fleet(developer.github, tmp_path, broker, registry, database_url=url, proxy="none") as fleet:
        (tmp_path / "logs").mkdir(mode=0o700)
        for name in ("first", "second"):  # what docs/operations.md has them keep in common
            (tmp_path / name).mkdir(mode=0o700)
            (tmp_path / name / "logs").symlink_to(tmp_path / "logs")
        first = await fleet.start("serve", "first", lease="300")
        await fleet.start("worker", "one")
        await fleet.ready()
        second = await fleet.start("serve", "second", port=str(free_port()), lease="300")
        sha = await developer.push({"Dockerfile": dockerfile(slow())})
        job = await _building(fleet)

        await first.kill()

        place = (await developer.status(sha, DEPLOY, "success")).removeprefix("Live at ")
        assert (await visit(place)).strip() == "first"
        fleet.turn_to(second)

        async def whole() -> str:  # lines come on their own way, which the new leader may go last
            log = await fleet.text(f"/jobs/{job}/log")
            return log if re.search(r"sleep \d+\n.*── push took ", log, re.DOTALL) else ""

        log = await fleet.until(whole, "the whole log of the build")
        assert "are lost" not in log, "one log, by two bots"


async def test_a_worker_that_hangs_loses_its_lease_and_its_late_result_counts_for_nothing(
    developer: Developer, fleet: Instance
) -> None:
    await fleet.start("serve", lease="20")
    one = await fleet.start("worker", "one", lease="20")
    await fleet.ready()
    sha = await developer.push({"Dockerfile": dockerfile(slow())})
    job = await _building(fleet)
    os.kill(one.pid, signal.SIGSTOP)
    await fleet.start("worker", "two", lease="20")

    await developer.status(sha, DEPLOY, "success")
    os.kill(one.pid, signal.SIGCONT)

    build = await fleet.job("build", "succeeded")
    assert (build["id"], build["worker"], build["attempt"]) == (job, "two", 2)

    async def idle() -> bool:
        workers = {worker["name"]: worker for worker in await fleet.api("/workers")}
        return workers["one"]["running"] == 0 and "lost" in one.said()

    await fleet.until(idle, "the fenced worker to stop what it did")


async def test_a_job_whose_message_was_lost_is_offered_again(
    developer: Developer, fleet: Instance, broker: Broker
) -> None:
    await fleet.start("serve")
    await fleet.ready()
    sha = await developer.push({PAGE: "lost and found"})
    await fleet.job("build", "queued")
    await fleet.until(partial(_purge, broker, fleet), "its message to be there, and to be lost")

    await fleet.start("worker", "one")

    await developer.status(sha, DEPLOY, "success", limit=240)


async def test_reports_that_github_did_not_take_are_sent_until_it_does(
    developer: Developer, blacktree: Instance
) -> None:
    faults = developer.github.faults
    faults.add(Fault(method="POST", path="/statuses/", status=502, times=3))
    # The comment is made, and the answer never comes: there must not be a second one.
    faults.add(Fault(method="POST", path=r"/issues/\d+/comments", drop=True, times=1))
    await blacktree.start("up")
    await blacktree.ready()

    number, head = await developer.open_pull({PAGE: "preview"})

    await developer.status(head, "blacktree/deploy (preview)", "success", limit=300)
    comments = await developer.github.until(
        lambda: developer.github.comments(developer.repository, number), timeout=120
    )
    assert len(comments) == 1
    await developer.github.until(
        lambda: "succeeded" in developer.github.comments(developer.repository, number)[0].body, timeout=120
    )
    assert len(developer.github.comments(developer.repository, number)) == 1


async def test_an_instance_killed_in_a_build_ends_in_the_same_states_after_a_start(
    developer: Developer, blacktree: Instance
) -> None:
    up = await blacktree.start("up", lease="120")
    await blacktree.ready()
    sha = await developer.push({"Dockerfile": dockerfile(slow()), PAGE: "after all"})
    await _building(blacktree)
    await up.kill()

    await up.start()

    place = (await developer.status(sha, DEPLOY, "success")).removeprefix("Live at ")
    assert (await visit(place)).strip() == "after all"


async def test_a_newer_commit_supersedes_the_older_one_and_its_status_says_so(
    developer: Developer, blacktree: Instance
) -> None:
    await blacktree.start("up")
    await blacktree.ready()
    older = await developer.push({"Dockerfile": dockerfile(f"RUN echo {uuid4().hex} && sleep 300")})
    await _building(blacktree)

    newer = await developer.push({"Dockerfile": dockerfile(), PAGE: "newest"})

    await developer.status(newer, DEPLOY, "success")
    assert await developer.status(older, BUILD, "error") == f"Superseded by {newer[:7]}"
    assert await developer.status(older, DEPLOY, "error") == f"Superseded by {newer[:7]}"


async def test_no_secret_is_in_a_log_or_in_any_message_of_the_broker(
    developer: Developer, fleet: Instance, broker: Broker, registry: Registry
) -> None:
    async with _tapped(broker) as messages:
        await fleet.start("serve")
        worker = await fleet.start("worker", "one")
        await fleet.ready()
        leak = "RUN env; cat /proc/*/environ /proc/*/cmdline || true"
        sha = await developer.push({"Dockerfile": dockerfile(leak)})
        await developer.status(sha, DEPLOY, "success")
        for process in fleet.processes:
            limits = await asyncio.to_thread(Path(f"/proc/{process.pid}/limits").read_text)
            assert re.search(r"^Max core file size +1 +1 ", limits, re.M), "a crash writes nothing"

    build = await fleet.job("build", "succeeded")
    told = worker.said() + fleet.processes[0].said() + await fleet.text(f"/jobs/{build['id']}/log")
    tokens = [token for token in developer.github.world.tokens if token.startswith("ghs_")]
    assert tokens
    assert any(body.startswith(b"one\n") for body in messages), "the tap hears the worker"
    assert not any(b'"kind":"grant"' in body for body in messages), "what is granted is for the worker alone"
    for secret in (*tokens, registry.password, developer.github.app.webhook_secret):
        assert secret not in told
        assert not any(secret.encode() in body for body in messages)


@asynccontextmanager
async def _tapped(broker: Broker) -> AsyncIterator[list[bytes]]:
    """Every message that the broker takes in or gives out."""
    await asyncio.to_thread(broker.trace)
    bodies: list[bytes] = []
    async with await aio_pika.connect(broker.amqp_url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind("amq.rabbitmq.trace", "#")

        async def keep(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            bodies.append(message.body)

        await queue.consume(keep, no_ack=True)
        yield bodies


async def _building(fleet: Instance) -> str:
    """Wait until the slow step of the build runs; the job's id."""

    async def look() -> str | None:
        for job in await fleet.jobs():
            if job["kind"] == "build" and job["state"] == "running":
                log = await fleet.text(f"/jobs/{job['id']}/log")
                if "RUN" in log and "sleep" in log:
                    return str(job["id"])
        return None

    return await fleet.until(look, "the build to be in its slow step")


async def _offer_again(broker: Broker, fleet: Instance, job: str) -> None:
    async with await aio_pika.connect(broker.amqp_url) as connection:
        channel = await connection.channel()
        message = aio_pika.Message(Offer(job=job, pool="default").model_dump_json().encode())

        async def published() -> bool:
            with suppress(DeliveryError):  # a quorum queue that has just been made may refuse
                await channel.default_exchange.publish(message, routing_key=_offers(fleet))
                return True
            return False

        await fleet.until(published, "the broker to take a second offer")


async def _purge(broker: Broker, fleet: Instance) -> int:
    async with await aio_pika.connect(broker.amqp_url) as connection:
        channel = await connection.channel()
        try:
            queue = await channel.get_queue(_offers(fleet))
        except ChannelNotFoundEntity:  # the job is in the store sooner than its line is at the broker
            return 0
        return (await queue.purge()).message_count or 0


def _offers(fleet: Instance) -> str:
    """The queue of the pool that there is."""
    return Topology(fleet.settings["BLACKTREE_QUEUE_PREFIX"]).jobs("default")
