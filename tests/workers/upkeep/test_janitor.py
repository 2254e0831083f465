"""The disk: what is pruned, what is never, and that a worker without room takes no job. With an engine and
disks of its own that are really full."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from structlog.testing import capture_logs

from config.fields import size_bytes
from config.settings import Settings
from tests.parts.dockerd import Dockerd
from tests.parts.engine import BASE_IMAGE
from tests.workers.bot import Bot
from tests.workers.build.test_build import spec as build_spec
from tests.workers.conftest import TOKEN, GitHost
from tests.workers.deploy.test_deploy import spec as deploy_spec
from workers.attempt import Attempt
from workers.build.build import temporary_tag
from workers.contract.memory import MemoryQueue
from workers.contract.messages import (
    AttemptRef,
    Credentials,
    Event,
    Failed,
    Fault,
    Limits,
    StopSpec,
    Succeeded,
)
from workers.engine.buildkit import find_builder
from workers.engine.docker import DockerEngine
from workers.engine.engine import Command, StoredImage
from workers.upkeep import janitor
from workers.upkeep.disk import Needed
from workers.upkeep.janitor import Janitor, work_folder
from workers.upkeep.room import Room
from workers.worker import Worker

MB = 2**20
OURS = {"io.blacktree.repository": "acme/shop", "io.blacktree.instance": "here"}


@pytest.fixture(scope="module")
def own() -> Iterator[Dockerd]:
    with Dockerd("200m") as engine:
        yield engine


@pytest.fixture
async def engine_port(own: Dockerd, name: str) -> AsyncIterator[DockerEngine]:
    engine = DockerEngine(own.environ, name)
    yield engine
    engine.close()
    own.client.containers.prune()
    for image in own.client.images.list():
        if BASE_IMAGE not in image.tags:
            own.client.images.remove(str(image.id), force=True)


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was used a moment ago may go."""
    monkeypatch.setattr(janitor, "_SETTLED", 0.0)


def stored(own: Dockerd, reference: str, labels: dict[str, str] = OURS, size: int = 1 * MB) -> str:
    """An image of `size` bytes that nothing else shares; its id."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo("random")
        entry.size = size
        archive.addfile(entry, io.BytesIO(os.urandom(size)))
    name, _, tag = reference.partition(":")
    changes = ['CMD ["true"]', *(f"LABEL {key}={value}" for key, value in labels.items())]
    own.client.api.import_image_from_data(packed.getvalue(), repository=name, tag=tag, changes=changes)
    return str(own.client.images.get(reference).id)


def left(own: Dockerd) -> set[str]:
    return {str(image.id) for image in own.client.images.list() if BASE_IMAGE not in image.tags}


class Rounds:
    """A janitor with what it is told."""

    def __init__(self, engine: DockerEngine, folder: Path, **settings: str) -> None:
        self.settings = Settings.model_validate(
            {"data_dir": folder, "worker_name": "w", "firewall": False, **settings}
        )
        self.running: list[Attempt] = []
        self.over: set[AttemptRef] = set()
        self.needed: Needed | None = None
        self.mirrors: list[int] = []
        self.room = Room(engine, folder, size_bytes(self.settings.disk_free))
        self.janitor = Janitor(
            self.settings, engine, self.room, lambda: self.running, self.over, lambda: self.needed, self.prune
        )

    async def prune(self, budget: int) -> list[str]:
        self.mirrors.append(budget)
        return []

    async def round(self, *needed: str, instance: str = "here", ago: float = 0) -> None:
        """One round after the bot has said what is needed."""
        self.needed = Needed(instance, frozenset(needed), asyncio.get_running_loop().time() - ago)
        await self.janitor.round()


async def used(engine: DockerEngine, image: str) -> StoredImage:
    return next(one for one in await engine.images() if one.id == image)


async def test_images_over_the_budget_go_but_none_that_anything_needs(
    own: Dockerd, engine_port: DockerEngine, tmp_path: Path
) -> None:
    oldest, runs, stopped, only_copy, middle, youngest = (
        stored(own, f"acme/shop:{name}") for name in ("oldest", "runs", "stopped", "only", "middle", "young")
    )
    base = stored(own, "golang:1", labels={})
    others = stored(own, "acme/other:1", labels=OURS | {"io.blacktree.instance": "there"})
    own.client.containers.create(stopped)
    own.client.containers.create(runs)
    own.client.api.tag(youngest, "acme/shop", "only")
    kept = {runs, stopped, only_copy, base, others}
    rounds = Rounds(engine_port, tmp_path, image_budget="1500k", disk_free="1m")

    await rounds.janitor.round()
    await rounds.round(only_copy, instance="")
    await rounds.round(only_copy, ago=120)
    assert left(own) == kept | {oldest, middle, youngest}, (
        "nothing goes before the bot has said what is needed"
    )

    await engine_port.note_use(await used(engine_port, oldest))
    await rounds.round(only_copy)
    assert left(own) == kept | {oldest}, "the least recently used ones went"
    assert (await used(engine_port, runs)).used > (await used(engine_port, oldest)).used, "it is in use now"
    assert (await used(engine_port, only_copy)).references == (), "its tag has moved, and it is there"


async def test_while_space_is_short_budgets_shrink_but_what_is_needed_stays(
    own: Dockerd, engine_port: DockerEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed, needless = stored(own, "acme/shop:1"), stored(own, "acme/shop:2")
    rounds = Rounds(engine_port, tmp_path, disk_free="900000g", mirror_budget="8k")
    await rounds.round(f"elsewhere/shop@{needed}")
    assert left(own) == {needed}
    assert rounds.mirrors == [8192, 4096, 2048, 1024, 0]
    assert "900000.0 GiB (DISK_FREE)" in rounds.room.problem
    assert not await rounds.room.open()

    fresh = stored(own, "acme/shop:3")
    monkeypatch.setattr(janitor, "_SETTLED", 600.0)
    await rounds.round(needed)
    assert left(own) == {needed, fresh}, "the bot may not have heard of it yet"
    assert needless not in left(own)


async def test_a_round_removes_what_an_attempt_could_not(
    own: Dockerd, engine_port: DockerEngine, tmp_path: Path
) -> None:
    async def tell(_: Event) -> None:
        pass

    over, runs = AttemptRef(job="1-1", attempt=1), AttemptRef(job="1-2", attempt=1)
    rounds = Rounds(engine_port, tmp_path, disk_free="1m")
    attempts = [
        Attempt(ref, StopSpec(instance="", repository="", environment=""), Credentials(),
                work_folder(tmp_path) / f"{ref.job}-{ref.attempt}", tell)
        for ref in (over, runs)
    ]  # fmt: skip
    commands = []
    for attempt in attempts:
        attempt.folder.mkdir(parents=True)
        own.client.api.tag(BASE_IMAGE, "acme/shop", temporary_tag("w", attempt.ref))
        labels = {
            "io.blacktree.worker": "w",
            "io.blacktree.job": attempt.ref.job,
            "io.blacktree.attempt": "1",
        }
        command = Command(
            f"blacktree-command-{attempt.ref.job}",
            BASE_IMAGE,
            ["sleep", "60"],
            Limits(memory=8 * MB, cpus=1, pids=9),
            labels,
        )
        commands.append(asyncio.create_task(engine_port.run(command, print)))
    for network in ("idle", "stopped"):
        own.client.api.create_network(network, labels={"io.blacktree.worker": "w"})
    own.client.containers.create(BASE_IMAGE, network="stopped")
    while len(await engine_port.commands()) < 2:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    rounds.running = attempts[1:]
    rounds.over.add(over)
    await rounds.janitor.round()
    assert [path.name for path in work_folder(tmp_path).iterdir()] == ["1-2-1"]
    assert [container.name for container in await engine_port.commands()] == ["blacktree-command-1-2"]
    assert await engine_port.tags("blacktree-") == [f"acme/shop:{temporary_tag('w', runs)}"]
    assert await engine_port.networks({"worker": "w"}) == ["stopped"]
    assert rounds.over == set()
    for command_run in commands:
        command_run.cancel()
    await asyncio.gather(*commands, return_exceptions=True)
    own.client.containers.prune()
    own.client.networks.prune()
    own.client.api.remove_image(f"acme/shop:{temporary_tag('w', runs)}")


# -- a worker on full disks --------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "blacktree-test", folder], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
async def at_work(
    own: Dockerd,
    engine_port: DockerEngine,
    queue: MemoryQueue,
    bot: Bot,
    settings: Settings,
    small_disk: Path,
    name: str,
) -> AsyncIterator[Settings]:
    """A worker whose data is on one full-size disk and whose engine is on another."""
    here = settings.model_copy(update={"data_dir": small_disk, "disk_free": "30m", "worker_slots": 1})
    bot.instance = "here"
    worker = Worker(
        here, queue, engine_port, lambda: find_builder(own.environ, f"blacktree-{name}-"), own.environ
    )
    running = asyncio.create_task(worker.run())
    await bot.until(lambda: bot.beats)
    yield here
    worker.stop(now=True)
    await asyncio.wait_for(running, 90)


def fill(folder: Path, but: int) -> Path:
    """Fill the disk of `folder` but for `but` bytes."""
    filler = folder / "filler"
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free - but)
    return filler


async def test_without_room_a_worker_takes_no_job_says_why_and_takes_it_when_there_is_room(
    bot: Bot, queue: MemoryQueue, at_work: Settings
) -> None:
    nothing = StopSpec(instance="here", repository="acme/shop", environment="production")
    with capture_logs() as logs:
        filler = fill(at_work.data_dir, 10 * MB)
        await bot.offer("a", nothing)
        beat = await bot.until(lambda: next((beat for beat in bot.beats if beat.problem), None))
        assert f"10.0 MiB in {at_work.data_dir} is free, and a job needs 30.0 MiB" in beat.problem
        assert beat.disk_free <= 10 * MB
        async with asyncio.timeout(60):  # a slot that was waiting looks for room, and gives it back
            while await queue.depth("default") != 1:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert bot.claims == []
        filler.unlink()
        assert isinstance((await bot.finished("a")).result, Succeeded)
        await bot.until(lambda: not bot.beats[-1].problem)
    assert [log["problem"] for log in logs if log["event"] == "no job is taken"] == [beat.problem]


@pytest.mark.usefixtures("at_work")
async def test_a_build_that_runs_out_of_space_is_ours_and_the_next_try_has_more(
    own: Dockerd, engine_port: DockerEngine, bot: Bot, git: GitHost, name: str
) -> None:
    bot.credentials = Credentials(git_username="x-access-token", git_password=TOKEN)
    needless = stored(own, "acme/shop:old", size=60 * MB)
    filler = fill(own.disk, 40 * MB)
    sha = git.commit({"Dockerfile": f"FROM {BASE_IMAGE}\nRUN dd if=/dev/zero of=/big bs=1M count=60\n"})
    first = await bot.run("a", build_spec(git, sha, name))
    assert isinstance(first.result, Failed), bot.log("a")
    assert (first.result.fault, first.result.reason) == (Fault.OURS, "disk_full"), bot.log("a")
    second = await bot.run("b", build_spec(git, sha, name))
    assert isinstance(second.result, Succeeded), bot.log("b")
    assert needless not in left(own)
    filler.unlink()
    assert own.client.df()["BuildCache"]
    await engine_port.prune_cache(0)
    assert not own.client.df()["BuildCache"]


async def test_services_leave_the_networks_of_releases_that_are_gone_while_nothing_deploys(
    engine_port: DockerEngine, own: Dockerd, tmp_path: Path
) -> None:
    rounds, mine = Rounds(engine_port, tmp_path), {"io.blacktree.worker": "w"}
    old, _ = (own.client.networks.create(name, labels=mine) for name in ("left-old", "left-new"))
    started = [
        own.client.containers.create(
            BASE_IMAGE,
            name=f"blacktree-{name}",
            labels={**mine, f"io.blacktree.{label}": name},
            network="left-new",
        )
        for name, label in (("db", "service"), ("r2", "release"))
    ]
    old.connect(started[0])
    try:
        stop = StopSpec(instance="here", repository="acme/shop", environment="other")
        for spec in (deploy_spec(BASE_IMAGE, "r3", ""), stop):
            rounds.running = [cast("Attempt", SimpleNamespace(spec=spec, folder=tmp_path))]
            await rounds.round()
            there = await engine_port.networks({"worker": "w"})
            assert sorted(there) == ["left-new", *(["left-old"] if spec is not stop else [])]
    finally:
        for container in started:
            container.remove(force=True)
        for network in own.client.networks.list(filters={"label": "io.blacktree.worker=w"}):
            network.remove()
