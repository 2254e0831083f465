"""Deploys to a Swarm of one node, for real.

A kernel without IPVS has no routing mesh: there each task's own port serves.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from docker.errors import APIError

from tests.parts.dockerd import engine_of_its_own
from tests.parts.engine import Engine
from tests.parts.registry import Registry
from tests.parts.waiting import wait_for
from tests.workers.bot import Bot
from tests.workers.deploy.test_deploy import SERVE, page, spec
from workers.contract.messages import Credentials, Failed, Fault, RegistryLogin, StopSpec, Succeeded
from workers.deploy import names
from workers.deploy.swarm import converged, errors, failed, progress, reached
from workers.engine.services import Service, Task

pytestmark = pytest.mark.timeout(900)
NEW, OLD = "new", "old"


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """These tests' own: they take long."""
    with engine_of_its_own("8g") as part:
        yield part


@pytest.fixture(scope="module")
def swarm(engine: Engine) -> Iterator[Engine]:
    """The engine as the only manager of a Swarm; it leaves one that was made here."""
    made = engine.client.info()["Swarm"]["LocalNodeState"] == "inactive"
    bridges = {network.name for network in engine.client.networks.list()}
    if made:
        engine.client.swarm.init(advertise_addr="127.0.0.1")
    yield engine
    if made:
        engine.client.swarm.leave(force=True)
        if "docker_gwbridge" not in bridges:
            engine.client.networks.get("docker_gwbridge").remove()


@pytest.fixture
def service(swarm: Engine, name: str) -> Iterator[str]:
    """The name of production's service; nothing of it stays."""
    service = names.service(name, "acme/shop", "production")
    yield service
    services: list[Any] = swarm.client.services.list(filters={"name": service})
    for one in services:
        one.remove()
    for secret in swarm.client.secrets.list(filters={"label": f"io.blacktree.service={service}"}):
        secret.remove()
    wait_for(lambda: _without_network(swarm, service), "its network goes", 120)


def _without_network(engine: Engine, name: str) -> bool:
    for network in engine.client.networks.list(names=[name]):
        with contextlib.suppress(APIError):  # a task that ends has it still
            network.remove()
    return not engine.client.networks.list(names=[name])


def swarmed(base: str, release: str, name: str, script: str = "", **more: Any) -> Any:
    told = {"target": "swarm", "instance": name, "stability": 1, "grace": 1, **more}
    return spec(base, release, script or SERVE.format(release), **told)


def found(engine: Engine, service: str) -> Any:
    services: Any = engine.client.services
    return services.get(service)


def secrets(engine: Engine, service: str) -> list[str]:
    found = engine.client.secrets.list(filters={"label": f"io.blacktree.service={service}"})
    return sorted(secret.attrs["Spec"]["Labels"]["io.blacktree.secret"] for secret in found)


# First: the others make one, which goes at the end of this module.
@pytest.mark.usefixtures("worker")
async def test_without_a_swarm_a_deploy_says_so(bot: Bot, engine: Engine, base: str, name: str) -> None:
    if engine.client.info()["Swarm"]["ControlAvailable"]:
        pytest.skip("this engine manages a Swarm")
    ended = await bot.run("r1", swarmed(base, "r1", name))
    assert isinstance(ended.result, Failed)
    assert (ended.result.fault, ended.result.reason) == (Fault.FINAL, "no_swarm")


@pytest.mark.usefixtures("worker", "swarm")
async def test_a_service_is_made_rolled_over_rolled_back_and_removed(
    bot: Bot, engine: Engine, base: str, name: str, service: str
) -> None:
    bot.credentials = Credentials(env={"PASSWORD": "correct-horse", "EMPTY": ""})
    shown = "mkdir /www; cat $PASSWORD_FILE > /www/index.html; echo {0} >> /www/index.html; "
    script = shown + "exec httpd -f -p 8080 -h /www"
    first = swarmed(base, "r1", name, script.format("-r1"), replicas=2, user="0", read_only=False)

    ended = await bot.run("r1", first)

    assert isinstance(ended.result, Succeeded), bot.log("r1")
    assert [step.name for step in ended.steps] == ["pull", "start", "check", "switch"]
    assert len(bot.readies[0].addresses) in (1, 2), "the mesh's, or each task's own"
    for address in bot.readies[0].addresses:
        assert await page(address) == "correct-horse-r1\n"
    assert "healthy at" in bot.log("r1")
    assert ".2 (" in bot.log("r1"), "progress of each replica"
    made = found(engine, service).attrs["Spec"]
    assert made["UpdateConfig"]["Order"] == made["RollbackConfig"]["Order"] == "start-first"
    assert (made["UpdateConfig"]["Parallelism"], made["UpdateConfig"]["FailureAction"]) == (1, "rollback")
    task = made["TaskTemplate"]
    assert task["Resources"]["Limits"] == {"NanoCPUs": 500_000_000, "MemoryBytes": 64 * 2**20, "Pids": 50}
    assert task["Placement"]["Preferences"] == [{"Spread": {"SpreadDescriptor": "node.id"}}]
    assert task["ContainerSpec"]["CapabilityDrop"] == ["ALL"]
    assert task["LogDriver"] == {"Name": "json-file", "Options": {"max-size": "10m", "max-file": "3"}}
    assert "correct-horse" not in str(made)
    assert secrets(engine, service) == ["PASSWORD"]
    there = [("r1", True, f"{service}.1"), ("r1", True, f"{service}.2")]
    await bot.until(
        lambda: [(state.release, state.running, state.name) for state in bot.beats[-1].containers] == there
    )

    bot.credentials = Credentials(env={"PASSWORD": "battery-staple"})
    late: dict[str, Any] = {"replicas": 2, "stability": 5}  # on a busy machine it ends later than it might
    bad = await bot.run("r2", swarmed(base, "r2", name, "echo no database; exit 7", **late))

    assert isinstance(bad.result, Failed), bot.log("r2")
    assert (bad.result.fault, bad.result.step) == (Fault.USER, "start")
    assert "Swarm rolled the service back" in bad.result.sentence
    assert "non-zero exit (7)" in bad.result.sentence
    assert "no database" in bot.log("r2")
    assert await running(engine, service) == {"r1"}
    assert secrets(engine, service) == ["PASSWORD"], "the failed one's is gone"

    script = shown + "mkfifo /x; exec cat /x"
    deaf = swarmed(base, "r3", name, script.format("-r3"), probe={"timeout": 2, "interval": 0.1})
    bad = await bot.run("r3", deaf)

    assert isinstance(bad.result, Failed), bot.log("r3")
    assert bad.result.reason == "unhealthy", "Swarm was content, we are not"
    assert await running(engine, service) == {"r1"}

    ended = await bot.run("r4", swarmed(base, "r4", name))

    assert isinstance(ended.result, Succeeded), bot.log("r4")
    assert "completed" in bot.log("r4")
    assert await running(engine, service) == {"r4"}
    assert await page(bot.readies[-1].addresses[0]) == "r4\n"

    gone = StopSpec(instance=name, repository="acme/shop", environment="production", target="swarm")
    ended = await bot.run("stop", gone)

    assert isinstance(ended.result, Succeeded), bot.log("stop")
    assert engine.client.services.list(filters={"name": service}) == []
    assert secrets(engine, service) == []
    assert engine.client.networks.list(names=[service]) == []


async def running(engine: Engine, service: str) -> set[str]:
    def look() -> set[str]:
        tasks = found(engine, service).tasks({"desired-state": "running"})
        return {task["Spec"]["ContainerSpec"]["Labels"]["io.blacktree.release"] for task in tasks}

    return await asyncio.to_thread(look)


@pytest.mark.usefixtures("worker", "swarm")
async def test_a_first_release_that_fails_leaves_nothing_on_the_swarm(
    bot: Bot, engine: Engine, base: str, name: str, service: str
) -> None:
    bot.credentials = Credentials(env={"PASSWORD": "correct-horse"})
    for release, script, more in (
        ("r1", "exit 7", {}),
        ("r2", "", {"release_command": ["sh", "-c", "nslookup production; exit 3"]}),
    ):
        ended = await bot.run(release, swarmed(base, release, name, script, **more))
        assert isinstance(ended.result, Failed)
        assert ended.result.fault is Fault.USER, ended.result
    bot.refusal = "superseded"
    assert isinstance((await bot.run("r3", swarmed(base, "r3", name))).result, Failed)
    assert engine.client.services.list(filters={"name": service}) == []
    assert secrets(engine, service) == []
    assert engine.client.networks.list(names=[service]) == []


@pytest.mark.usefixtures("worker", "swarm")
async def test_a_retired_release_of_a_service_goes_back_to_the_one_before(
    bot: Bot, engine: Engine, base: str, name: str, service: str
) -> None:
    for release in ("r1", "r2"):
        assert isinstance((await bot.run(release, swarmed(base, release, name))).result, Succeeded)
    bot.retired = ["r2"]
    await bot.until(lambda: [state.release for state in bot.beats[-1].containers] == ["r1"])
    bot.retired = ["r1", "r2"]
    await bot.until(lambda: bot.beats[-1].containers == [])
    assert engine.client.services.list(filters={"name": service}) == []


@pytest.mark.usefixtures("worker", "swarm")
async def test_every_node_pulls_with_the_attempts_login(
    bot: Bot, engine: Engine, base: str, name: str, service: str, registry: Registry
) -> None:
    login = RegistryLogin(host=registry.address, username=registry.username, password=registry.password)
    reference = f"{registry.address}/{name}"
    engine.client.images.get(base).tag(reference, "latest")
    auth = {"username": registry.username, "password": registry.password}
    engine.client.images.push(reference, "latest", auth_config=auth)
    digest = registry.digest(name, "latest")
    engine.client.images.remove(f"{reference}:latest")
    bot.credentials = Credentials(registries=[login])

    ended = await bot.run("r1", swarmed(f"{reference}@{digest}", "r1", name, SERVE.format("r1"), pull=True))

    assert isinstance(ended.result, Succeeded), bot.log("r1")
    [task] = found(engine, service).tasks()
    assert task["Spec"]["ContainerSpec"]["Image"] == f"{reference}@{digest}"


def task(slot: int, state: str, release: str = NEW, **more: Any) -> Task:
    known: dict[str, Any] = {"id": f"{slot}{state}", "wanted": "running", "error": "", "exit_code": 0,
                             "host": "", "port": None, "node": "n"}  # fmt: skip
    return Task(**{**known, "slot": slot, "state": state, "release": release, **more})


def seen(*tasks: Task, update: str = "", **more: Any) -> Service:
    known: dict[str, Any] = {"name": "shop", "labels": {}, "replicas": 2, "update_said": "",
                             "previous": None, "port": None}  # fmt: skip
    return Service(**{**known, "update": update, "tasks": tasks, **more})


DONE = (task(1, "running"), task(2, "running"))
BROKEN = task(2, "failed", error="task: non-zero exit (7)", wanted="shutdown")
STUCK = task(2, "pending", error="no suitable node")


@pytest.mark.parametrize(
    ("service", "done", "why"),
    [
        (seen(*DONE), True, ""),
        (seen(*DONE, update="completed"), True, ""),
        (seen(*DONE, update="updating"), False, ""),
        (seen(*DONE, task(2, "running", OLD), update="completed"), False, ""),
        (seen(task(1, "running"), task(2, "preparing")), False, ""),
        (seen(task(1, "running"), STUCK), False, ""),
        (seen(task(1, "running"), BROKEN), False, "ended while it started: task: non-zero exit (7)"),
        (seen(task(1, "complete")), False, "ended while it started: it ended with exit code 0"),
        (seen(BROKEN, update="updating"), False, ""),
        (seen(BROKEN, update="rollback_started"), False, "rolled the service back: task: non-zero exit (7)"),
        (seen(BROKEN, update="rollback_paused"), False, "rolled the service back (rollback_paused): task"),
        (seen(*DONE, update="rollback_completed", update_said="why"), False, "rolled the service back: why"),
    ],
)  # fmt: skip
def test_swarm_has_rolled_over_or_failed_or_is_still_at_it(service: Service, done: bool, why: str) -> None:
    assert converged(service, NEW) is done
    assert why in failed(service, NEW)
    assert bool(why) is bool(failed(service, NEW))


def test_progress_and_errors_are_those_of_the_new_release() -> None:
    service = seen(STUCK, BROKEN, task(1, "running", OLD, error="old news"), update="updating")
    assert list(progress(service, NEW)) == [
        "shop.2 (2failed) failed: task: non-zero exit (7)",
        "shop.2 (2pending) pending: no suitable node",
        "shop: updating: ",
    ]
    assert errors(service.tasks, NEW) == "no suitable node; task: non-zero exit (7)"


def test_a_service_is_reached_at_the_mesh_or_at_each_of_its_tasks() -> None:
    told = spec("image", NEW, "", target="swarm")
    own = [task(1, "running", port=30_001), task(2, "running", port=30_002, host="10.0.0.2")]
    assert reached(seen(*own, port=30_000), told, "10.0.0.1") == ["10.0.0.1:30000"]
    assert reached(seen(*own), told, "10.0.0.1") == ["10.0.0.1:30001", "10.0.0.2:30002"]
