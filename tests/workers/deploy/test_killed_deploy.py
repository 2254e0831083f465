"""A worker or an engine is killed in a deploy: the old release serves, and nothing of the new one stays."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings
from tests.parts.dockerd import Dockerd, engine_of_its_own
from tests.parts.engine import BASE_IMAGE, Engine
from tests.workers.bot import Bot
from tests.workers.deploy.test_deploy import SERVE, deployed, leftovers, page, releases, serving, spec
from workers.contract.memory import MemoryQueue
from workers.contract.messages import Failed, Fault, Succeeded
from workers.engine.builder import Builder
from workers.engine.docker import DockerEngine
from workers.tools import Tools
from workers.worker import Worker

pytestmark = pytest.mark.timeout(600)
DEPLOYER = Path(__file__).with_name("deployer.py")


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """These tests' own: they take long."""
    with engine_of_its_own("8g") as part:
        yield part


@contextlib.asynccontextmanager
async def at_work(settings: Settings, tools: Tools, queue: MemoryQueue) -> AsyncIterator[None]:
    async def builder() -> Builder:
        return tools.builder

    worker = Worker(settings, queue, tools.engine, builder, os.environ)
    running = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        worker.stop(now=True)
        await asyncio.wait_for(running, 90)


async def killed(
    folder: Path,
    name: str,
    release: str,
    step: str,
    told: Any,
    words: str = "HALTED",
    begun: Callable[[], bool] = lambda: True,
) -> None:
    """Deploy in another process, and kill -9 it when it has done `step`, or when its log has `words`.

    And what these announce has `begun`.
    """
    order = {"worker": name, "owner": name, "job": release, "step": step, "folder": str(folder / "x"),
             "spec": told.model_dump(mode="json")}  # fmt: skip
    child = await asyncio.create_subprocess_exec(
        sys.executable, str(DEPLOYER), json.dumps(order), stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    said = b""
    try:
        async with asyncio.timeout(150):
            while words.encode() not in said:
                line = await child.stdout.readline()
                assert line, said.decode()
                said += line
            while not begun():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    finally:
        child.kill()
        await child.wait()


@pytest.mark.parametrize("step", ["pull", "release", "start", "check", "switch"])
async def test_a_worker_killed_in_any_step_leaves_the_old_release_serving_and_nothing_new(
    bot: Bot, engine: Engine, base: str, name: str, tmp_path: Path,
    settings: Settings, tools: Tools, queue: MemoryQueue, step: str,
) -> None:  # fmt: skip
    async with at_work(settings, tools, queue):
        await deployed(bot, base, "old")
    before = leftovers(engine, name)
    command = ["sh", "-c", "echo HALTED; sleep 60"] if step == "release" else None

    new = spec(base, "new", SERVE.format("new"), replicas=2, networks=["back"], release_command=command)

    await killed(tmp_path, name, "new", step, new)

    assert await page(bot.readies[0].addresses[0]) == "old\n"
    assert (len(leftovers(engine, name)) > len(before)) is (step != "pull")
    bot.retired = ["new"]
    async with at_work(settings, tools, queue):
        await bot.until(lambda: leftovers(engine, name) == before)
    assert await page(bot.readies[0].addresses[0]) == "old\n"


async def test_the_next_attempt_takes_away_what_a_killed_one_left(
    bot: Bot, engine: Engine, base: str, name: str, tmp_path: Path,
    settings: Settings, tools: Tools, queue: MemoryQueue,
) -> None:  # fmt: skip
    told = spec(base, "new", SERVE.format("new"), replicas=2)
    await killed(tmp_path, name, "new", "check", told)
    async with at_work(settings, tools, queue):
        ended = await bot.run("new", told)
    assert isinstance(ended.result, Succeeded)
    assert releases(engine, name) == ["new", "new"]


@pytest.mark.parametrize(
    ("script", "words"),
    [(SERVE.format("new"), "HALTED"), ("sleep 60", "HALTED"), ("sleep 60", "so there is downtime")],
    ids=["when the new one is healthy", "when it is not", "while the old one stops"],
)
async def test_without_a_proxy_the_old_release_serves_again_after_its_worker_was_killed(
    bot: Bot, engine: Engine, base: str, name: str, tmp_path: Path, free_port: Callable[[], int],
    settings: Settings, tools: Tools, queue: MemoryQueue, script: str, words: str,
) -> None:  # fmt: skip
    port = free_port()
    async with at_work(settings, tools, queue):
        old = spec(base, "old", SERVE.format("old"), host_port=port)
        assert isinstance((await bot.run("old", old)).result, Succeeded)
    before = leftovers(engine, name)

    new = spec(base, "new", script, host_port=port, serving="old")

    def aside() -> bool:
        return any(one.endswith(".aside") for one in leftovers(engine, name))

    await killed(tmp_path, name, "new", "start", new, words, aside)

    assert aside()
    bot.retired = ["new"]
    async with at_work(settings, tools, queue):
        await bot.until(lambda: leftovers(engine, name) == before)
        await bot.until(lambda: [state.running for state in bot.beats[-1].containers] == [True])
    await serving(f"127.0.0.1:{port}", "old\n")


@pytest.mark.parametrize(("step", "live_restore"), [("release", False), ("check", True)])
async def test_an_engine_killed_in_a_deploy_leaves_the_old_release_serving_and_nothing_new(
    bot: Bot, name: str, settings: Settings, tools: Tools, queue: MemoryQueue, step: str, live_restore: bool
) -> None:
    command = ["sh", "-c", "echo HALTED; sleep 60"] if step == "release" else None
    with Dockerd("300m", *(["--live-restore"] if live_restore else [])) as own:
        port = DockerEngine(own.environ, name)
        tools = Tools(**{**vars(tools), "engine": port})
        async with at_work(settings.model_copy(update={"disk_free": "1m"}), tools, queue):
            await deployed(bot, BASE_IMAGE, "old")
            [old] = own.client.containers.list()
            started = old.attrs["State"]["StartedAt"]
            await bot.offer("new", spec(BASE_IMAGE, "new", "sleep 60", release_command=command,
                                        probe={"timeout": 60, "interval": 0.1}))  # fmt: skip
            await bot.until(lambda: bot.started("new", step))
            await bot.until(lambda: len(own.client.containers.list()) > 1 or None)

            await asyncio.to_thread(own.kill)
            ended = await bot.finished("new")
            await asyncio.to_thread(own.start)

            assert isinstance(ended.result, Failed)
            assert (ended.result.fault, ended.result.reason) == (Fault.OURS, "engine_gone")
            bot.retired = ["new"]
            await bot.until(
                lambda: (
                    [(state.release, state.running) for state in bot.beats[-1].containers] == [("old", True)]
                )
            )
            await serving(bot.readies[0].addresses[0], "old\n")
            old.reload()
            assert (old.attrs["State"]["StartedAt"] == started) is live_restore
