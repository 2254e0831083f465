"""RabbitMQ as its makers advise: a cluster, TLS both ways, narrow logins; and when it is unwell."""

from __future__ import annotations

import asyncio
import itertools
import os
import shlex
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest

from tests.instance import BLACKTREE, Instance, Process, instance
from tests.integration.conftest import PAGE, Developer, dockerfile
from tests.integration.test_cli import _run as run
from tests.integration.test_truths import BUILD, slow
from tests.parts.cluster import Cluster
from tests.parts.registry import Registry

BOT = "bot:of-the-cluster"
PREVIEW = "blacktree/deploy (preview)"
_prefixes = (f"cluster-{os.getpid()}-{number}" for number in itertools.count())


@dataclass
class Scene:
    """A bot and two workers at the cluster, each with the login that docs/operations.md gives it."""

    cluster: Cluster
    fleet: Instance
    bot: Process
    workers: list[Process]
    developer: Developer

    async def pulled(self, *steps: str) -> tuple[int, str]:
        """A new pull request, with its head."""
        name = uuid4().hex
        return await self.developer.open_pull({PAGE: name, "Dockerfile": dockerfile(*steps)}, name)

    async def control(self, *arguments: str) -> str:
        return await asyncio.to_thread(self.cluster.control, *arguments)

    async def says(self, process: Process, words: str, times: int = 1) -> None:
        async def look() -> bool:
            return process.said().count(words) >= times

        await self.fleet.until(look, f"{process.log.name} to say {words!r}")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster() as part:
        part.control("add_user", *BOT.split(":"))
        yield part


@pytest.fixture
async def scene(
    developer: Developer, tmp_path: Path, cluster: Cluster, registry: Registry
) -> AsyncIterator[Scene]:
    prefix = next(_prefixes)
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    (line,) = (
        line for line in page.splitlines() if line.strip().startswith("rabbitmqctl set_permissions bot ")
    )
    _, *allowed = shlex.split(line.replace("blacktree", prefix))
    await asyncio.to_thread(cluster.control, *allowed)
    settings = {
        "queue_url": cluster.url(BOT),
        "queue_prefix": prefix,
        **cluster.certificates,
        "secret_key": "of all bots of this instance",
        "registry": f"{registry.address}/acme",
        "registry_username": registry.username,
        "registry_password": registry.password,
        "proxy": "none",
        "lease": "300",
    }
    async with instance(tmp_path, developer.github, **settings) as fleet:
        bot = await fleet.start("serve")
        await fleet.ready()
        for name in ("one", "two"):
            await fleet.credential(name)
        definitions = await fleet.run("workers", "permissions")
        await asyncio.to_thread(cluster.nodes[0].define, definitions)
        workers = [await fleet.start("worker", name, queue_url=cluster.url()) for name in ("one", "two")]

        async def there() -> bool:
            return len(await fleet.api("/workers")) == len(workers)

        await fleet.until(there, "both workers to be known")
        yield Scene(cluster, fleet, bot, workers, developer)


async def test_nodes_that_are_lost_in_turn_lose_no_job_and_have_none_done_twice(scene: Scene) -> None:
    pulls = []
    for node in scene.cluster.nodes:
        pulls += [await scene.pulled(slow()), await scene.pulled(slow())]
        await scene.fleet.job("build", "running")

        await asyncio.to_thread(node.kill)

        pulls.append(await scene.pulled())
        await scene.developer.status(pulls[-1][1], PREVIEW, "success")
        await asyncio.to_thread(node.start)
        await scene.control("await_online_nodes", "3")
    for _, sha in pulls:
        await scene.developer.status(sha, PREVIEW, "success")

    jobs = await scene.fleet.jobs()
    assert [(job["kind"], job["state"], job["attempt"]) for job in jobs] == [
        (kind, "succeeded", 1) for _ in pulls for kind in ("build", "deploy")
    ]
    for process in (scene.bot, *scene.workers):
        assert "queue reconnected" in process.said()
        assert "Traceback" not in process.said()


@pytest.mark.parametrize(
    ("low", "enough"),
    [
        (("set_vm_memory_high_watermark", "absolute", "1MiB"), ("set_vm_memory_high_watermark", "0.4")),
        (("set_disk_free_limit", "100000GB"), ("set_disk_free_limit", "50MB")),
    ],
    ids=["memory", "disk"],
)
async def test_an_alarm_of_the_broker_is_told_and_nothing_is_lost_by_it(
    scene: Scene, low: tuple[str, ...], enough: tuple[str, ...]
) -> None:
    fleet, developer = scene.fleet, scene.developer
    here = {name.removeprefix("BLACKTREE_").lower(): value for name, value in scene.bot.env.items()}
    _, before = await scene.pulled(slow())
    await fleet.job("build", "running")

    await scene.control(*low)

    for process in (scene.bot, *scene.workers):
        await scene.says(process, "queue takes nothing")
    assert await _alarm(fleet) == "1.0"
    assert not await fleet._is_ready()
    code, told = await run(str(BLACKTREE), "doctor", **here)
    assert code == 1
    assert "it takes nothing: it is low on memory or disk" in told
    assert "→ give RabbitMQ's machine memory or disk" in told
    _, meanwhile = await scene.pulled()
    await developer.status(meanwhile, BUILD, "pending")

    await scene.control(*enough)

    for sha in (before, meanwhile):
        await developer.status(sha, PREVIEW, "success")
    assert {job["attempt"] for job in await fleet.jobs()} == {1}
    for process in (scene.bot, *scene.workers):
        await scene.says(process, "queue takes again")
        assert "Traceback" not in process.said()
    assert await _alarm(fleet) == "0.0"


async def _alarm(fleet: Instance) -> str:
    """What /metrics says."""
    async with httpx2.AsyncClient(timeout=60) as http:
        page = (await http.get(f"{fleet.url}/metrics", headers=fleet.headers)).text
    return next(line.split()[1] for line in page.splitlines() if line.startswith("blacktree_queue_alarm "))


async def test_a_build_outlasts_what_the_broker_gives_a_consumer_to_acknowledge(scene: Scene) -> None:
    """By default 30 minutes, of which a worker takes 20; here the broker is much quicker than it."""
    await scene.control("eval", "rpc:multicall(application, set_env, [rabbit, consumer_timeout, 3000]).")
    try:
        for worker in scene.workers:  # what is connected already has the time-out of before
            await worker.kill()
            await worker.start()

        _, sha = await scene.pulled(slow())

        await scene.developer.status(sha, BUILD, "success")
    finally:
        await scene.control(
            "eval", "rpc:multicall(application, set_env, [rabbit, consumer_timeout, 1800000])."
        )
    assert any("timed out" in node.log.read_text() for node in scene.cluster.nodes)
    build = next(job for job in await scene.fleet.jobs() if job["kind"] == "build")
    assert (build["state"], build["attempt"]) == ("succeeded", 1)
    for process in (scene.bot, *scene.workers):
        assert "Traceback" not in process.said()


async def test_who_shows_the_broker_no_certificate_is_told_so(cluster: Cluster, tmp_path: Path) -> None:
    known = {"data_dir": str(tmp_path), "queue_url": cluster.url(BOT)}

    code, told = await run(str(BLACKTREE), "doctor", **known, queue_ca=cluster.certificates["queue_ca"])

    assert code == 1
    assert "it wants another certificate of ours" in told
    _, told = await run(str(BLACKTREE), "doctor", **known)
    assert "CERTIFICATE_VERIFY_FAILED" in told
    assert "of-the-cluster" not in told
