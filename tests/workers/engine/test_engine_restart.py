"""An engine that goes away in the middle of a build, and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from config.settings import Settings
from tests.parts.dockerd import Dockerd
from tests.parts.engine import BASE_IMAGE
from tests.workers.bot import Bot
from tests.workers.build.test_build import left, spec
from tests.workers.conftest import TOKEN, GitHost
from tests.workers.process.test_process import alive
from workers.contract.memory import MemoryQueue
from workers.contract.messages import Credentials, Failed, Fault, Succeeded
from workers.engine.buildkit import find_builder
from workers.engine.cli import CliBuilder
from workers.engine.docker import DockerEngine
from workers.worker import Worker

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def own() -> Iterator[Dockerd]:
    with Dockerd() as engine:
        yield engine


@pytest.fixture(params=["BuildKit", "classic"])
async def at_work(
    own: Dockerd, queue: MemoryQueue, bot: Bot, settings: Settings, name: str, request: pytest.FixtureRequest
) -> AsyncIterator[Worker]:
    """A worker with two slots on that engine, and each of the builders that speak to it by themselves."""
    bot.credentials = Credentials(git_username="x-access-token", git_password=TOKEN)
    where = own.environ if request.param == "BuildKit" else {**own.environ, "DOCKER_HOST": "unix:///nowhere"}
    builder = await find_builder(where, f"blacktree-{name}-")
    assert isinstance(builder, CliBuilder)
    assert request.param in builder.description
    builder._environ = own.environ
    here = settings.model_copy(update={"disk_free": "1m"})
    worker = Worker(
        here, queue, DockerEngine(own.environ, name), lambda: asyncio.sleep(0, builder), own.environ
    )
    running = asyncio.create_task(worker.run())
    yield worker
    worker.stop(now=True)
    await asyncio.wait_for(running, 90)


@pytest.mark.usefixtures("at_work")
@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_an_engine_restart_in_the_middle_of_a_build_ends_in_a_built_image(
    own: Dockerd, bot: Bot, git: GitHost, queue: MemoryQueue, settings: Settings, name: str, how: str
) -> None:
    marker = "6" + str(int(name[-4:], 16))
    script = f"test $NUMBER = 2 || {{ trap 'exit 1' TERM; sleep {marker} & wait; }}"
    sha = git.commit({"Dockerfile": f"FROM {BASE_IMAGE}\nARG NUMBER\nRUN {script}\n"})
    await bot.offer("a", spec(git, sha, name, args={"NUMBER": "1"}))
    async with asyncio.timeout(120):
        while not any(line.startswith("sleep") for line in alive(marker)):  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    await asyncio.to_thread(own.kill if how == "kill" else own.stop)

    first = await bot.finished("a")
    assert isinstance(first.result, Failed), bot.log("a")
    assert (first.result.fault, first.result.reason) == (Fault.OURS, "engine_gone"), (
        first.result,
        bot.log("a"),
    )
    await bot.offer("a", spec(git, sha, name, args={"NUMBER": "2"}))
    beat = await bot.until(lambda: next((beat for beat in bot.beats if beat.problem), None))
    assert own.url in beat.problem
    assert "does not answer" in beat.problem
    async with asyncio.timeout(90):  # a slot that was waiting for it looks for its engine, and gives it back
        while await queue.depth("default") != 1:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert len(bot.claims) == 1, "no slot takes a job without an engine"

    await asyncio.to_thread(own.start)

    second = await bot.finished("a", attempt=2)
    assert isinstance(second.result, Succeeded), bot.log("a")
    assert second.result.image is not None
    image = own.client.images.get(second.result.image.digest)
    assert sorted(image.tags) == sorted([f"{name}/shop:{sha}", f"{name}/shop:main"])
    assert left(settings) == []
