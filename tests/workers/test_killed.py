"""kill -9 of a worker in each step: nothing goes on, and its next start removes all that it left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable

import pytest

from config.settings import Settings
from tests.parts.engine import Engine
from tests.workers.bot import Bot
from tests.workers.build.test_build import spec
from tests.workers.conftest import TOKEN, GitHost
from tests.workers.process.test_process import alive
from tests.workers.victim import Orders
from workers import main
from workers.build.build import temporary_prefix
from workers.contract.memory import MemoryQueue
from workers.contract.messages import BuildSpec, Credentials, ImageTest, RegistryLogin
from workers.engine.login import places
from workers.upkeep.janitor import config_prefix


@pytest.fixture
async def silent_registry() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """Takes connections and never answers; its address, and whether somebody has come."""
    came, over = asyncio.Event(), asyncio.Event()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.set()
        await over.wait()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", came
        over.set()


def left(settings: Settings, engine: Engine) -> list[str]:
    """What is left of attempts, in the order in which they make it."""
    work, name = settings.data_dir / "work", settings.worker
    images = engine.client.images.list()
    temporary = [tag for image in images for tag in image.tags if f":{temporary_prefix(name)}" in tag]
    configs = places(os.environ).glob(f"{config_prefix(name, settings.data_dir)}*")
    containers = engine.containers(f"io.blacktree.command={config_prefix(name, settings.data_dir)}")
    return [
        *(["folder"] if list(work.iterdir()) else []),
        *(["login"] if list(configs) else []),
        *(["tag"] if temporary else []),
        *(["container"] if containers else []),
    ]


@contextlib.asynccontextmanager
async def killed_later(settings: Settings, job: BuildSpec, login: str) -> AsyncIterator[None]:
    """A worker that does `job` in a process of its own, killed at the end of the block."""
    logins = [RegistryLogin(host=login, username="u", password="p")]
    credentials = Credentials(git_username="x-access-token", git_password=TOKEN, registries=logins)
    orders = Orders(data_dir=str(settings.data_dir), name=settings.worker, spec=job, credentials=credentials)
    victim = await asyncio.create_subprocess_exec(
        "setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-m", "tests.workers.victim",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert victim.stdin is not None
        victim.stdin.write(orders.model_dump_json().encode())
        victim.stdin.close()
        yield
    finally:
        victim.kill()
        await victim.wait()


async def until(seen: Callable[[], object]) -> None:
    async with asyncio.timeout(90):
        while not seen():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def started_again(settings: Settings, queue: MemoryQueue, bot: Bot) -> None:
    """Start the worker anew, in this process, and stop it when it works."""
    worker = main.worker(settings, queue, os.environ)
    running = asyncio.create_task(worker.run())
    await bot.until(lambda: bot.beats)
    worker.stop()
    await asyncio.wait_for(running, 90)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("step", "leaves"),
    [
        ("checkout", ["folder"]),
        ("build", ["folder", "login"]),
        ("test", ["folder", "tag", "container"]),
        ("push", ["folder", "tag"]),
    ],
)
async def test_after_kill_9_nothing_goes_on_and_the_next_start_removes_what_is_left(
    step: str,
    leaves: list[str],
    settings: Settings,
    queue: MemoryQueue,
    bot: Bot,
    git: GitHost,
    engine: Engine,
    name: str,
    base: str,
    silent_registry: tuple[str, asyncio.Event],
) -> None:
    address, came = silent_registry
    marker = "7" + str(int(name[-6:], 16))
    slow = f"RUN sleep {marker}\n" if step == "build" else ""
    sha = git.commit({"Dockerfile": f"FROM {base}\nLABEL of={name}\n{slow}"})
    if step == "checkout":
        git.before_fetch.clear()
    reference = f"{address}/{name}/shop"
    test = ImageTest(command=["sleep", marker], timeout=60) if step == "test" else None
    async with killed_later(
        settings, spec(git, sha, name, reference, push=True, cache=False, test=test), address
    ):
        if step in ("build", "test"):
            await until(lambda: any(line.startswith("sleep") for line in alive(marker)))
        else:
            await asyncio.wait_for((git.fetching if step == "checkout" else came).wait(), 90)
    if step != "test":  # the engine goes on with that one: its container is what is left
        await until(lambda: not alive(marker))
    await until(lambda: not alive(str(settings.data_dir)))
    assert left(settings, engine) == leaves

    await started_again(settings, queue, bot)

    assert left(settings, engine) == []
    assert alive(marker) == []
