"""Who is who, attacked from outside: with a worker's credential and a broker's login, against a real bot."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from aio_pika.exceptions import ChannelClosed

from tests.instance import BLACKTREE, Instance, Process
from tests.integration.conftest import PAGE, Developer, dockerfile
from tests.integration.test_cli import _run as run
from tests.integration.test_truths import BUILD, _building, _tapped, slow
from tests.integration.test_truths import _fleet as fleet_of
from tests.parts.broker import Broker
from tests.parts.registry import Registry
from workers.contract.broker_topology import Topology
from workers.contract.credential import Credential, KeyPair
from workers.contract.messages import (
    Asked,
    AttemptRef,
    Claim,
    Failed,
    Fault,
    Finished,
    Grant,
    Heartbeat,
    HeartbeatAnswer,
    LogChunk,
    Lookup,
    Ready,
    Refusal,
    now,
)
from workers.contract.queue import Outcast
from workers.contract.rabbitmq import RabbitWorker
from workers.contract.seal import Keys

WAIT = 60  # seconds for an answer of the bot's, on a busy machine


@dataclass
class Scene:
    """A bot; victim, a worker of the pool that its jobs are for, and mallory, one of the pool `forks`."""

    fleet: Instance
    bot: Process
    developer: Developer
    broker: Broker
    victim: RabbitWorker
    mallory: RabbitWorker

    @property
    def topology(self) -> Topology:
        return Topology(self.fleet.settings["BLACKTREE_QUEUE_PREFIX"])

    async def granted(self) -> AttemptRef:
        """A build that victim has: its attempt."""
        await self.developer.push({"Dockerfile": dockerfile(slow())})
        job = await self.fleet.job("build", "queued")
        assert isinstance(await self.victim.request(beat("victim"), WAIT), HeartbeatAnswer)
        grant = await self.victim.request(claim(job["id"], "victim"), WAIT)
        assert isinstance(grant, Grant)
        return AttemptRef(job=grant.job, attempt=grant.attempt)

    async def told(self, words: str) -> str:
        """Wait until the bot's log has a line of distrust with these words."""

        async def look() -> str | None:
            lines = self.bot.said().splitlines()
            return next((line for line in lines if "not believed" in line and words in line), None)

        return await self.fleet.until(look, f"the bot to tell of {words!r}")

    async def build(self) -> dict[str, Any]:
        return next(job for job in await self.fleet.jobs() if job["kind"] == "build")


def own_login(broker: Broker) -> str:
    """The broker's address for whoever has a user of its own there."""
    return f"amqp://127.0.0.1:{urlsplit(broker.amqp_url).port}/"


@pytest.fixture
async def scene(
    developer: Developer, tmp_path: Path, broker: Broker, registry: Registry
) -> AsyncIterator[Scene]:
    if broker.external:
        pytest.skip("users are made by rabbitmqctl")
    async with (
        fleet_of(developer.github, tmp_path, broker, registry, lease="300") as fleet,
        AsyncExitStack() as stack,
    ):
        bot = await fleet.start("serve")
        await fleet.ready()
        known = {
            name: Credential.parse(await fleet.credential(name, pool))
            for name, pool in (("victim", "default"), ("mallory", "forks"))
        }
        broker.define(await fleet.run("workers", "permissions"))
        prefix = fleet.settings["BLACKTREE_QUEUE_PREFIX"]

        async def connected(name: str) -> RabbitWorker:
            queue = RabbitWorker.connected(own_login(broker), known[name], prefix, wait=WAIT)
            return await stack.enter_async_context(queue)

        yield Scene(fleet, bot, developer, broker, await connected("victim"), await connected("mallory"))


def beat(worker: str, pool: str = "default", *attempts: AttemptRef, instance: str = "") -> Heartbeat:
    return Heartbeat(
        worker=worker, instance=instance or f"life of {worker}", pool=pool, slots=1,
        address="127.0.0.1", software="", attempts=list(attempts),
    )  # fmt: skip


def claim(job: str, worker: str) -> Claim:
    return Claim(
        job=job, worker=worker, instance=f"life of {worker}", nonce=uuid4().hex, public_key=Keys().public
    )


async def test_a_worker_claims_no_job_of_another_pool(scene: Scene) -> None:
    await scene.developer.push({PAGE: "wanted"})
    job = await scene.fleet.job("build", "queued")
    assert isinstance(await scene.mallory.request(beat("mallory", "forks"), WAIT), HeartbeatAnswer)

    for _ in range(20):
        answer = await scene.mallory.request(claim(job["id"], "mallory"), WAIT)
        assert answer == Refusal(reason=f"job {job['id']} is not for pool forks")

    assert (await scene.build())["state"] == "queued"
    told = await scene.told(f"job {job['id']} is not for pool forks")
    assert "worker=mallory" in told
    assert scene.bot.said().count("not for pool forks") == 1, "told once, not twenty times"


@pytest.mark.parametrize(
    ("attack", "why"),
    [
        (lambda _: beat("victim"), "worker mallory speaks as victim"),
        (lambda _: beat("mallory", "default"), "worker mallory is not of pool default"),
        (lambda had: claim(had.job, "victim"), "worker mallory speaks as victim"),
        (lambda had: claim(had.job, "mallory"), "is not for pool forks"),
        (lambda had: Lookup(job=had.job, attempt=had.attempt, key="k"), "is not worker mallory's"),
        (
            lambda had: Ready(job=had.job, attempt=had.attempt, release="r", addresses=["192.0.2.1:80"]),
            "is not worker mallory's",
        ),
    ],
    ids=["beats as another", "beats for another pool", "claims as another", "claims", "looks", "is ready"],
)
async def test_a_worker_asks_nothing_for_another(
    scene: Scene, attack: Callable[[AttemptRef], Asked], why: str
) -> None:
    had = await scene.granted()
    before = await scene.build()

    answer = await scene.mallory.request(attack(had), WAIT)

    assert isinstance(answer, Refusal)
    assert why in answer.reason
    await scene.told(why)
    assert await scene.build() == before
    assert "mallory" not in {worker["name"] for worker in await scene.fleet.api("/workers")}


async def test_a_worker_ends_no_attempt_of_another_and_writes_in_no_log_of_its(scene: Scene) -> None:
    had = await scene.granted()
    failure = Failed(fault=Fault.USER, reason="forged", sentence="forged")

    await scene.mallory.tell(LogChunk(job=had.job, attempt=had.attempt, offset=0, text="forged\n"))
    await scene.mallory.tell(Finished(job=had.job, attempt=had.attempt, at=now(), result=failure, steps=[]))

    for said in ("said=log", "said=finished"):
        assert "is not worker mallory's" in await scene.told(said)
    await scene.victim.tell(LogChunk(job=had.job, attempt=had.attempt, offset=0, text="genuine\n"))

    async def written() -> bool:
        return "genuine" in await scene.fleet.text(f"/jobs/{had.job}/log")

    await scene.fleet.until(written, "the victim's own line")
    assert "forged" not in await scene.fleet.text(f"/jobs/{had.job}/log")
    build = await scene.build()
    assert (build["state"], build["worker"], build["attempt"]) == ("running", "victim", 1)


async def test_a_heartbeat_that_lists_anothers_attempts_keeps_none(scene: Scene) -> None:
    had = await scene.granted()

    listed = beat("mallory", "forks", had, instance="life of victim")
    answer = await scene.mallory.request(listed, WAIT)

    assert isinstance(answer, HeartbeatAnswer)
    assert answer.lost == [had]


async def test_a_workers_login_at_the_broker_does_nothing_but_its_own_part(scene: Scene) -> None:
    topology, told = scene.topology, scene.topology.told
    theirs = [topology.requests, topology.events, topology.logs, topology.dead, topology.jobs("default")]

    read: list[bytes] = []

    async def keep(message: AbstractIncomingMessage) -> None:
        read.append(message.body)

    async def consume(channel: AbstractChannel, queue: str) -> None:
        await (await channel.get_queue(queue, ensure=False)).consume(keep, no_ack=True)

    async def publish(channel: AbstractChannel, queue: str) -> None:
        await channel.default_exchange.publish(aio_pika.Message(b"{}"), queue)

    async def delete(channel: AbstractChannel, queue: str) -> None:
        await channel.queue_delete(queue)

    async def purge(channel: AbstractChannel, queue: str) -> None:
        await (await channel.get_queue(queue, ensure=False)).purge()

    async def bind(channel: AbstractChannel, queue: str) -> None:
        mine = await channel.declare_queue(topology.orders("mallory"), exclusive=True)
        await mine.bind(told, queue)

    async def unmake(channel: AbstractChannel, _: str) -> None:
        await channel.exchange_delete(told)

    async def pose(channel: AbstractChannel, _: str) -> None:
        await channel.declare_queue(topology.orders("victim"), exclusive=True)

    login = Credential.parse((scene.fleet.folder / "mallory.credential").read_text())
    url = own_login(scene.broker).replace("//", f"//{topology.user('mallory')}:{login.broker_password}@")
    async with await aio_pika.connect(url) as connection:
        for deed in (consume, publish, delete, purge, bind, unmake, pose):
            for queue in theirs:
                with pytest.raises(ChannelClosed, match="ACCESS_REFUSED"):
                    await deed(await connection.channel(), queue)


async def test_what_was_sent_once_counts_once(scene: Scene) -> None:
    """Sent again by somebody who reads and writes all that the broker has."""
    async with _tapped(scene.broker) as bodies:
        had = await scene.granted()

        async def heard() -> list[bytes]:
            return [body for body in bodies if body.startswith(b"victim\n")]

        letters = await scene.fleet.until(heard, "the tap to hear the victim")
        # A new life of the victim, in which it has its attempt again.
        assert isinstance(await scene.victim.request(beat("victim", "default", had), WAIT), HeartbeatAnswer)

        async with await aio_pika.connect(scene.broker.amqp_url) as connection:
            channel = await connection.channel()
            told = await channel.get_exchange(scene.topology.told, ensure=False)
            for letter in letters:
                for queue in (scene.topology.requests, scene.topology.events):
                    await told.publish(aio_pika.Message(letter), queue)

        await scene.told("a request came twice")
        await scene.told("no worker that was added sealed it")  # a request is no event
    build = await scene.build()
    assert (build["state"], build["worker"], build["attempt"]) == ("running", "victim", 1)
    assert isinstance(await scene.victim.request(beat("victim", "default", had), WAIT), HeartbeatAnswer)


async def test_who_was_never_added_is_told_what_to_do(scene: Scene) -> None:
    forged = Credential("victim", "default", KeyPair.made(), KeyPair.made().public)
    prefix = scene.fleet.settings["BLACKTREE_QUEUE_PREFIX"]
    async with RabbitWorker.connected(scene.broker.amqp_url, forged, prefix) as forger:
        with pytest.raises(Outcast, match="blacktree workers add victim --pool"):
            await forger.request(beat("victim"), WAIT)

    assert "says_that_it_is=victim" in await scene.told("no worker that was added")
    assert await scene.fleet.api("/workers") == []


async def test_a_revoked_worker_loses_its_job_and_takes_no_other(
    developer: Developer, tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    async with fleet_of(developer.github, tmp_path, broker, registry, lease="300") as fleet:
        await fleet.start("serve")
        one = await fleet.start("worker", "one", lease="6")
        await fleet.ready()
        sha = await developer.push({"Dockerfile": dockerfile(f"RUN echo {uuid4().hex} && sleep 20")})
        job = await _building(fleet)

        assert "that others get: 1" in await fleet.run("workers", "revoke", "one")
        await fleet.start("worker", "two")

        await developer.status(sha, BUILD, "success")
        build = await fleet.job("build", "succeeded")
        assert (build["id"], build["worker"], build["attempt"]) == (job, "two", 2)

        async def idle() -> bool:
            return "lease lost" in one.said() and "worker one was revoked at" in one.said()

        await fleet.until(idle, "the revoked worker to say why it does nothing")
        assert one.said().count("takes no jobs") == 1
        assert "revoked" in await fleet.run("workers", "list")


async def test_the_doctor_says_on_a_worker_whether_the_bot_knows_it(
    developer: Developer, tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    async with fleet_of(developer.github, tmp_path, broker, registry) as fleet:
        await fleet.start("serve")
        await fleet.ready()
        known = {
            "data_dir": str(tmp_path / "worker"),
            "queue_url": broker.amqp_url,
            "queue_prefix": fleet.settings["BLACKTREE_QUEUE_PREFIX"],
            "worker_credential": await fleet.credential("one", "forks"),
        }

        _, told = await run(str(BLACKTREE), "doctor", **known)
        assert "as worker one of pool forks" in told
        await fleet.run("workers", "revoke", "one")
        code, told = await run(str(BLACKTREE), "doctor", **known)
        assert code == 1
        assert "worker one was revoked at" in told
        code, told = await run(str(BLACKTREE), "doctor", **known | {"worker_credential": "half of"})
        assert code == 1
        assert "BLACKTREE_WORKER_CREDENTIAL: it is no worker's credential" in told
