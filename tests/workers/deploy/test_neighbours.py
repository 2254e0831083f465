"""Who floods his log, forks without end or fills his volume hurts himself."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.parts.dockerd import Dockerd, engine_of_its_own
from tests.parts.engine import BASE_IMAGE, Engine
from tests.workers.bot import Bot
from tests.workers.deploy.test_deploy import SERVE, page, spec
from workers.contract.messages import Limits, Succeeded
from workers.engine.docker import DockerEngine
from workers.engine.engine import Command, ContainerSpec, prefixed
from workers.upkeep.room import Room

pytestmark = pytest.mark.timeout(900)
MB = 2**20
MOST = 3 * 10 * MB  # of one container's log
FLOOD = "while true; do echo $(seq 9999); done & "
# One that only doubles dies out as soon as its shells cannot fork; these stay, and the outer goes on trying.
BOMB = "(sleep 1; while true; do (while true; do sleep 600 & done); done) & "
LIMITS = Limits(memory=64 * MB, cpus=0.5, pids=50)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """These tests' own: they take long."""
    with engine_of_its_own("8g") as part:
        yield part


async def two(bot: Bot, engine: Engine, base: str, name: str, evil: str) -> tuple[Any, str]:
    """The container that does evil, and where its quiet neighbour is reached."""
    ended = await bot.run("quiet", spec(base, "quiet", SERVE.format("quiet"), environment="quiet"))
    assert isinstance(ended.result, Succeeded), bot.log("quiet")
    await bot.run("evil", spec(base, "evil", evil + SERVE.format("evil"), environment="evil"))
    containers = await asyncio.to_thread(engine.containers, f"io.blacktree.worker={name}")
    [container] = [one for one in containers if one.labels["io.blacktree.environment"] == "evil"]
    return container, bot.readies[0].addresses[0]


@pytest.mark.usefixtures("worker")
async def test_a_log_flood_takes_no_more_than_its_share_of_the_disk(
    bot: Bot, engine: Engine, docker_engine: DockerEngine, base: str, name: str
) -> None:
    container, neighbour = await two(bot, engine, base, name, FLOOD)
    root = await docker_engine.root()
    assert root is not None
    logs = root / "containers" / str(container.id)

    def size() -> int:
        found = 0
        for file in logs.glob("*-json.log*"):
            with contextlib.suppress(FileNotFoundError):  # it is turned over just now
                found += file.stat().st_size
        return found

    deadline = time.monotonic() + 400
    while len(list(logs.glob("*-json.log*"))) < 3:  # it is turned over for the second time
        assert time.monotonic() < deadline, f"{size()} bytes"
        assert await page(neighbour) == "quiet\n"
        await asyncio.sleep(0.1)
    until = time.monotonic() + 3
    while time.monotonic() < until:
        assert size() <= MOST + MB
        assert await page(neighbour) == "quiet\n"
        await asyncio.sleep(0.1)


@pytest.mark.usefixtures("worker")
async def test_a_fork_bomb_has_the_processes_of_its_own_container_and_no_more(
    bot: Bot, engine: Engine, base: str, name: str
) -> None:
    container, neighbour = await two(bot, engine, base, name, BOMB)

    async def processes() -> int:
        return int((await asyncio.to_thread(container.stats, stream=False))["pids_stats"]["current"])

    deadline = time.monotonic() + 300
    while (count := await processes()) < LIMITS.pids - 5:
        assert time.monotonic() < deadline, f"{count} processes"
    for _ in range(5):
        assert await processes() <= LIMITS.pids
        assert await page(neighbour) == "quiet\n"


@pytest.fixture
def small() -> Iterator[Dockerd]:
    with Dockerd("200m") as engine:
        yield engine


async def test_a_volume_that_fills_the_disk_stops_new_jobs_and_nothing_that_serves(
    small: Dockerd, name: str, tmp_path: Path
) -> None:
    engine, labels = DockerEngine(small.environ, name), prefixed({"worker": name})
    room = Room(engine, tmp_path, 20 * MB)
    assert await room.open()
    serving = await engine.start(
        ContainerSpec(
            name=f"blacktree-{name}",
            image=BASE_IMAGE,
            command=["sh", "-c", SERVE.format("quiet")],
            env={},
            limits=LIMITS,
            port=8080,
            address="127.0.0.1",
            network="bridge",
            labels=labels,
        )
    )
    fill = Command(
        name=f"blacktree-{name}-fill",
        image=BASE_IMAGE,
        command=["dd", "if=/dev/zero", "of=/data/all", "bs=1M"],
        limits=Limits(memory=400 * MB, cpus=1, pids=9),  # this engine's disk is in memory
        labels=labels,
        network="bridge",
        volumes={f"{name}-data": "/data"},
    )

    assert await engine.run(fill, lambda _: None) != 0

    assert await room.free() < MB
    assert await page(serving.address or "") == "quiet\n"
    assert not await room.open(), "a job would fail"
    assert await engine.remove_volume(f"{name}-data")
    await room.judge()
    assert await room.open()
    engine.close()
