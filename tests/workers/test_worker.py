from __future__ import annotations

import asyncio
import errno
import os

import pytest
from structlog.testing import capture_logs

from config.errors import ConfigError
from config.settings import Settings
from tests.parts.engine import Engine
from tests.workers.bot import Bot
from tests.workers.contract.conftest import eventually
from tests.workers.deploy.test_deploy import SERVE, releases, spec
from workers import main, slot
from workers.build.build import temporary_tag
from workers.contract import memory
from workers.contract.memory import MemoryQueue
from workers.contract.messages import (
    AttemptRef,
    Drain,
    Failed,
    Fault,
    Finished,
    Offer,
    Probe,
    Stopped,
    Succeeded,
    edition,
)
from workers.engine.docker import DockerEngine
from workers.engine.login import places
from workers.upkeep.janitor import alone, config_prefix, sweep, work_folder
from workers.worker import Worker

SLOW = Probe(path="/", timeout=60, interval=0.1)


@pytest.mark.usefixtures("worker")
async def test_a_job_is_claimed_with_a_fresh_nonce_and_finished(bot: Bot, base: str) -> None:
    for job in ("a", "b"):
        assert isinstance((await bot.run(job, spec(base, job, SERVE.format(job)))).result, Succeeded)
    assert len({claim.nonce for claim in bot.claims}) == 2
    assert bot.beats[0].software.startswith("blacktree ")


@pytest.mark.usefixtures("worker")
async def test_a_refused_offer_is_dropped(bot: Bot, queue: MemoryQueue) -> None:
    await queue.offer(Offer(job="unknown", pool="default"))
    await bot.until(lambda: bot.claims)
    beats = len(bot.beats)
    await bot.until(lambda: len(bot.beats) > beats + 1)
    assert len(bot.claims) == 1
    assert await queue.depth("default") == 0


@pytest.mark.usefixtures("worker")
async def test_a_worker_says_its_labels_and_takes_from_the_lines_that_it_is_told(
    bot: Bot, queue: MemoryQueue
) -> None:
    beat = await bot.until(lambda: next(iter(bot.beats), None))
    assert set(beat.labels) & {"amd64", "arm64"}
    await queue.offer(Offer(job="strange", pool="default+gpu"))

    bot.lines = ["default+gpu"]
    await bot.until(lambda: bot.claims)
    assert bot.claims[0].job == "strange"


@pytest.mark.usefixtures("worker")
async def test_an_offer_is_settled_by_the_job_that_was_granted_for_it(
    bot: Bot, queue: MemoryQueue, base: str
) -> None:
    bot.specs["granted"], bot.instead = spec(base, "granted", SERVE.format("granted")), {"offered": "granted"}
    await queue.offer(Offer(job="offered", pool="default"))

    assert isinstance((await bot.finished("granted")).result, Succeeded)
    await bot.until(lambda: bot.beats[-1].attempts == [])
    assert [claim.job for claim in bot.claims] == ["offered"]
    assert await queue.depth("default") == 0


@pytest.mark.usefixtures("worker")
async def test_two_slots_work_at_once_and_heartbeats_say_so(bot: Bot, base: str) -> None:
    for job in ("a", "b", "c"):
        await bot.offer(job, spec(base, job, "sleep 60", environment=job, probe=SLOW))
    beat = await bot.until(lambda: next((beat for beat in bot.beats if len(beat.attempts) == 2), None))
    assert {ref.job for ref in beat.attempts} == {"a", "b"}


@pytest.mark.usefixtures("worker")
async def test_a_worker_says_which_images_it_keeps_so_that_it_is_told_them_once(bot: Bot) -> None:
    for kept in (["shop@sha256:1", "shop@sha256:2"], ["shop@sha256:2"], []):
        bot.kept = kept
        # The first of these was answered with the list, the second with none: it is the same.
        await bot.until(lambda: [beat.kept for beat in bot.beats[-3:]] == [edition(bot.kept)] * 3)


@pytest.mark.usefixtures("worker")
async def test_no_offer_is_held_for_as_long_as_a_broker_allows(
    bot: Bot, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its default is 30 minutes: https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout"""
    acknowledged = asyncio.Event()

    async def ack(_: object) -> None:
        acknowledged.set()

    assert slot.EARLY_ACK < 25 * 60
    monkeypatch.setattr(memory._Taken, "ack", ack)
    monkeypatch.setattr(slot, "EARLY_ACK", 0.1)
    await bot.offer("a", spec(base, "a", "sleep 60", probe=SLOW))
    await bot.until(lambda: bot.started("a", "check"))

    await asyncio.wait_for(acknowledged.wait(), 60)

    assert not any(isinstance(event, Finished) for event in bot.events)
    bot.cancelled = [AttemptRef(job="a", attempt=1)]
    assert isinstance((await bot.finished("a")).result, Stopped)


@pytest.mark.usefixtures("worker")
async def test_a_heartbeats_answer_cancels(bot: Bot, base: str) -> None:
    await bot.offer("a", spec(base, "a", "sleep 60", probe=SLOW))
    await bot.until(lambda: bot.started("a", "check"))
    bot.cancelled = [AttemptRef(job="a", attempt=1)]
    assert isinstance((await bot.finished("a")).result, Stopped)


@pytest.mark.usefixtures("worker")
async def test_an_attempt_whose_lease_is_lost_is_stopped_and_told_to_nobody(
    bot: Bot, base: str, engine: Engine, name: str
) -> None:
    await bot.offer("a", spec(base, "a", "sleep 60", probe=SLOW))
    await bot.until(lambda: bot.started("a", "check"))
    bot.lost = [AttemptRef(job="a", attempt=1)]
    await bot.until(lambda: bot.beats[-1].attempts == [] and not releases(engine, name))
    assert not any(isinstance(event, Finished) for event in bot.events)


@pytest.mark.usefixtures("worker")
async def test_an_attempt_that_cannot_renew_its_lease_stops_itself(
    bot: Bot, base: str, engine: Engine, name: str
) -> None:
    bot.lease = 10
    await bot.offer("a", spec(base, "a", "sleep 60", probe=SLOW))
    await bot.until(lambda: bot.started("a", "check"))
    bot.silent = True
    async with asyncio.timeout(60):
        while releases(engine, name):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)
    assert not any(isinstance(event, Finished) for event in bot.events)


async def test_a_drained_worker_ends_what_runs_and_takes_nothing_more(
    bot: Bot, worker: Worker, base: str, queue: MemoryQueue
) -> None:
    worker._settings = worker._settings.model_copy(update={"shutdown": 120.0})  # however slowly it starts
    await bot.offer("a", spec(base, "a", "sleep 1;" + SERVE.format("a")))
    await bot.until(lambda: bot.started("a", "check"))
    worker.stop()
    await bot.offer("b", spec(base, "b", SERVE.format("b")))
    assert isinstance((await bot.finished("a")).result, Succeeded)
    last = await bot.until(lambda: next((beat for beat in bot.beats if beat.stopped), None))
    assert last.draining
    assert await queue.depth("default") == 1


async def test_what_runs_too_long_while_draining_is_stopped_for_another_worker(
    bot: Bot, worker: Worker, base: str, engine: Engine, name: str
) -> None:
    await bot.offer("a", spec(base, "a", "sleep 60", probe=SLOW))
    await bot.until(lambda: bot.started("a", "check"))
    worker.stop(now=True)
    ended = await bot.finished("a")
    assert isinstance(ended.result, Failed)
    assert (ended.result.fault, ended.result.reason) == (Fault.OURS, "worker_stopping")
    assert releases(engine, name) == []


@pytest.mark.usefixtures("worker")
async def test_a_worker_that_is_ordered_to_drain_takes_any_time_for_it_and_ends(
    bot: Bot, base: str, queue: MemoryQueue, settings: Settings
) -> None:
    seconds = settings.shutdown + 1
    await bot.offer("a", spec(base, "a", f"sleep {seconds};" + SERVE.format("a"), probe=SLOW))
    await bot.until(lambda: bot.started("a", "check"))
    await queue.order(settings.worker, Drain())
    await bot.until(lambda: bot.beats[-1].draining)
    await bot.offer("b", spec(base, "b", SERVE.format("b")))
    assert isinstance((await bot.finished("a")).result, Succeeded)
    await bot.until(lambda: bot.beats[-1].stopped)
    assert await queue.depth("default") == 1


async def test_a_worker_that_drains_and_is_stopped_gets_no_more_time_than_any(
    bot: Bot, worker: Worker, base: str, queue: MemoryQueue, settings: Settings
) -> None:
    await bot.offer("a", spec(base, "a", "sleep 60", probe=SLOW))
    await bot.until(lambda: bot.started("a", "check"))
    await queue.order(settings.worker, Drain())
    await bot.until(lambda: bot.beats[-1].draining)
    worker.stop()
    ended = await bot.finished("a")
    assert isinstance(ended.result, Failed)
    assert ended.result.reason == "worker_stopping"


async def test_a_worker_of_its_own_needs_a_real_queue() -> None:
    with pytest.raises(ConfigError, match="BLACKTREE_QUEUE_URL"):
        await main.run(Settings())


async def test_without_docker_a_worker_waits_says_what_to_do_and_stops_when_told(
    settings: Settings, queue: MemoryQueue
) -> None:
    worker = main.worker(settings, queue, {**os.environ, "DOCKER_HOST": "unix:///nowhere.sock"})
    with capture_logs() as logs:
        working = asyncio.create_task(worker.run())
        await eventually(lambda: any("nowhere.sock" in line.get("why", "") for line in logs))
        worker.stop()
        await asyncio.wait_for(working, 60)

    (told,) = [line for line in logs if line["event"] == "waiting for the engine"]
    assert "DOCKER_HOST" in told["why"]


@pytest.mark.parametrize("host", ["http://", "gopher://docker.test"])
async def test_a_docker_that_cannot_be_is_not_waited_for(
    settings: Settings, queue: MemoryQueue, host: str
) -> None:
    worker = main.worker(settings, queue, {**os.environ, "DOCKER_HOST": host})
    with pytest.raises(ConfigError, match="DOCKER_HOST"):
        await worker.run()


async def test_a_second_worker_in_the_same_folder_says_so(settings: Settings) -> None:
    with alone("one", settings.data_dir):
        second = alone("two", settings.data_dir)
        with pytest.raises(ConfigError, match=r"in use by worker one .process \d+.*BLACKTREE_DATA_DIR"):
            second.__enter__()
    with alone("two", settings.data_dir):
        pass


async def test_a_worker_is_alone_on_a_full_disk_too(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with alone("one", settings.data_dir), pytest.raises(ConfigError, match="in use by"):
        alone("two", settings.data_dir).__enter__()


async def test_leftovers_are_removed_at_the_start(
    settings: Settings, docker_engine: DockerEngine, engine: Engine, name: str, base: str
) -> None:
    (work_folder(settings.data_dir) / "old-1").mkdir(parents=True)
    config = places(os.environ) / f"{config_prefix(name, settings.data_dir)}old"
    config.mkdir()
    mine = {"io.blacktree.worker": name}
    tag = temporary_tag(name, AttemptRef(job="1-1", attempt=1))
    engine.client.api.tag(base, f"{name}/shop", tag)
    engine.client.networks.create(name, labels=mine)
    never = mine | {"io.blacktree.release": "never started"}
    engine.client.containers.create(base, labels=never, name=f"blacktree-{name}-1")
    serving = engine.client.containers.run(
        base, ["sleep", "60"], labels=mine | {"io.blacktree.release": "serves"}, detach=True,
        name=f"blacktree-{name}-2",
    )  # fmt: skip
    engine.client.containers.run(
        base, ["sleep", "60"], labels=mine | {"io.blacktree.command": name}, detach=True,
        name=f"blacktree-{name}-3",
    )  # fmt: skip
    await sweep(name, settings.data_dir, docker_engine, os.environ)
    assert list(work_folder(settings.data_dir).iterdir()) == []
    assert not config.exists()
    assert [container.id for container in engine.containers(f"io.blacktree.worker={name}")] == [serving.id]
    assert engine.networks(f"io.blacktree.worker={name}") == []
    assert engine.client.images.list(f"{name}/shop") == []
