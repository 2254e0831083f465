"""A worker with a real engine and real git over HTTP, and a small bot that grants what a test asks for."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from config.settings import Settings
from tests.parts.engine import Engine
from tests.workers.bot import Bot
from tests.workers.source.githost import TOKEN as TOKEN
from tests.workers.source.githost import GitHost as GitHost
from tests.workers.source.githost import serving
from workers.contract.memory import MemoryQueue
from workers.deploy import health, service_health
from workers.engine import cgroups, cli, piping
from workers.engine.builder import Builder
from workers.engine.buildkit import find_builder
from workers.engine.docker import DockerEngine
from workers.engine.limits import own_limit
from workers.registry.registries import Registries
from workers.source.mirrors import Mirrors
from workers.tools import Tools
from workers.worker import Worker

MADE = "blacktree.test"  # the label of what a test makes itself, beside the worker


@pytest.fixture(scope="module", autouse=True)
def _patient() -> Iterator[None]:
    """What a worker waits for on its own machine takes long where other tests run beside."""
    waits = (
        (cgroups, "_PATIENCE"),
        (cli, "_SETTLING"),
        (health, "_ASKING"),
        (piping, "_SOON"),
    )
    with pytest.MonkeyPatch.context() as patched:
        for module, seconds in waits:
            patched.setattr(module, seconds, 60.0)
        yield


@pytest.fixture
async def git(tmp_path: Path) -> AsyncIterator[GitHost]:
    async with serving(tmp_path / "github") as host:
        yield host


@pytest.fixture(scope="module")
def base(engine: Engine) -> str:
    return engine.base_image()


@pytest.fixture
def name(engine: Engine) -> Iterator[str]:
    """A worker's name; all that it labels is removed afterwards, and the test's own images."""
    name = f"test-{secrets.token_hex(4)}"
    yield name
    engine.remove(f"io.blacktree.worker={name}")
    engine.remove(f"{MADE}={name}")


@pytest.fixture
def settings(tmp_path: Path, name: str) -> Settings:
    return Settings(
        data_dir=tmp_path / "data", worker_name=name, worker_slots=2, lease=6, shutdown=5, firewall=False
    )


@pytest.fixture
async def queue() -> MemoryQueue:
    return MemoryQueue()


@pytest.fixture
def docker_engine(name: str) -> Iterator[DockerEngine]:
    engine = DockerEngine(os.environ, name)
    yield engine
    engine.close()


@pytest.fixture
async def tools(name: str, queue: MemoryQueue, docker_engine: DockerEngine, settings: Settings) -> Tools:
    builder = await find_builder(os.environ, f"blacktree-{name}-", own_limit(settings))
    return Tools(
        name,
        "127.0.0.1",
        docker_engine,
        builder,
        queue,
        os.environ,
        Mirrors(settings.data_dir / "mirrors", os.environ),
        Registries(settings),
        own_limit(settings),
    )


@pytest.fixture
def last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a container printed until it was healthy is in the log, however busy this machine is."""
    for module in (health, service_health):
        monkeypatch.setattr(module, "_LAST_WORDS", 3.0)


@pytest.fixture
async def bot(queue: MemoryQueue) -> AsyncIterator[Bot]:
    bot = Bot(queue)
    serving = asyncio.create_task(bot.serve())
    yield bot
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


@pytest.fixture
async def worker(
    settings: Settings,
    queue: MemoryQueue,
    tools: Tools,
    bot: Bot,  # noqa: ARG001
    base: str,  # noqa: ARG001
) -> AsyncIterator[Worker]:
    async def builder() -> Builder:
        return tools.builder

    worker = Worker(settings, queue, tools.engine, builder, os.environ)
    running = asyncio.create_task(worker.run())
    yield worker
    worker.stop(now=True)
    await asyncio.wait_for(running, 90)
