"""Several processes of one release: all of them go live, or none does."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings
from tests.parts.engine import Engine
from tests.workers.bot import Bot
from tests.workers.conftest import MADE
from tests.workers.deploy.test_deploy import SERVE, in_volume, leftovers, page, spec
from tests.workers.deploy.test_killed_deploy import at_work, killed
from workers.contract.memory import MemoryQueue
from workers.contract.messages import DeploySpec, Failed, Limits, Probe, ProcessSpec, StopSpec, Succeeded
from workers.tools import Tools

NEVER = Probe(kind="command", command=["false"], timeout=4, interval=1)
UP = Probe(kind="up", timeout=90, interval=0.1, lasts=0.5)
# Of what ends before that; on a busy machine it takes its time.
LASTS: dict[str, Any] = {"probe": UP.model_copy(update={"lasts": 30.0})}
WORK = (
    "trap 'echo {0} ended >> /data/said; exit' TERM; echo {0} began >> /data/said;"
    " while :; do sleep 0.1; done"
)


def process(base: str, name: str, script: str, **more: Any) -> ProcessSpec:
    fields: dict[str, Any] = {
        "name": name, "image": base, "port": None, "served": False, "command": ["sh", "-c", script],
        "env": {}, "limits": Limits(memory=64 * 2**20, cpus=0.5, pids=50), "probe": UP,
    }  # fmt: skip
    return ProcessSpec.model_validate({**fields, **more})


def web(base: str, text: str, name: str = "web", **more: Any) -> ProcessSpec:
    told = {"port": 8080, "served": True, "probe": Probe(timeout=90, interval=0.1), **more}
    return process(base, name, SERVE.format(text), **told)


def several(base: str, release: str, *processes: ProcessSpec, **more: Any) -> DeploySpec:
    return spec(base, release, "", processes=list(processes), **more)


def running(engine: Engine, name: str) -> list[tuple[str, str]]:
    found = engine.containers(f"io.blacktree.worker={name}")
    labels = [one.labels for one in found if one.status == "running"]
    return sorted((one["io.blacktree.release"], one["io.blacktree.process"]) for one in labels)


def another_image(engine: Engine, base: str, name: str) -> str:
    """An image with a page of its own."""
    made = engine.client.containers.create(base, ["true"], labels={MADE: name})
    serve = json.dumps(["sh", "-c", SERVE.format("image")])
    said: Any = made.commit(repository=f"test/{name}", changes=[f"CMD {serve}"])
    made.remove()
    return str(said.id)


pytestmark = pytest.mark.usefixtures("base")


@pytest.mark.usefixtures("worker", "last_words")
async def test_every_process_of_every_image_is_healthy_before_the_one_switch(
    bot: Bot, engine: Engine, base: str, name: str
) -> None:
    other = another_image(engine, base, name)
    try:
        told = several(
            base, "r1",
            web(other, "", command=None), web(base, "api", "api", replicas=2),
            process(base, "worker", "echo works; sleep 60"),
            release_command=["echo", "migrated"],
        )  # fmt: skip

        ended = await bot.run("r1", told)

        assert isinstance(ended.result, Succeeded), bot.log("r1")
        assert bot.log("r1").count("migrated") == 1
        [ready] = bot.readies
        assert [await page(one) for one in ready.addresses] == ["image\n"]
        assert [await page(one) for one in ready.further["api"]] == ["api\n", "api\n"]
        assert set(ready.further) == {"api"}, "nobody is sent to what only works"
        assert running(engine, name) == [("r1", "api"), ("r1", "api"), ("r1", "web"), ("r1", "worker")]
        assert "worker works" in bot.log("r1")
        assert "worker healthy: it has stayed up for 0.5 s" in bot.log("r1")
        assert "api#2 healthy" in bot.log("r1")
        beat = await bot.until(lambda: next((b for b in bot.beats if len(b.containers) == 4), None))
        assert sorted(one.process for one in beat.containers) == ["api", "api", "web", "worker"]
    finally:
        engine.remove(f"io.blacktree.worker={name}")
        engine.client.images.remove(other, force=True)


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (("worker", "echo no queue; exit 3", LASTS), "worker: The container ended with exit code 3"),
        (("worker", "sleep 0.3; exit 0", LASTS), "worker: The container ended with exit code 0"),
        (
            ("worker", "sleep 60", {"probe": NEVER}),
            "worker: The container was not healthy within 4 s: its `command` of `health` says",
        ),
        (
            ("api", "sleep 60", {"port": 9000, "served": True, "probe": Probe(timeout=1, interval=0.1)}),
            "api: Port 9000",
        ),
    ],
)  # fmt: skip
async def test_one_process_that_fails_leaves_everything_as_it_was(
    bot: Bot, engine: Engine, base: str, name: str, bad: tuple[str, str, dict[str, Any]], words: str
) -> None:
    old = several(base, "old", web(base, "old"), process(base, "worker", "sleep 60"))
    assert isinstance((await bot.run("old", old)).result, Succeeded), bot.log("old")
    before = leftovers(engine, name)
    which, script, more = bad

    ended = await bot.run("new", several(base, "new", web(base, "new"), process(base, which, script, **more)))

    assert isinstance(ended.result, Failed)
    assert words in ended.result.sentence
    assert [ready.release for ready in bot.readies] == ["old"]
    assert leftovers(engine, name) == before
    assert running(engine, name) == [("old", "web"), ("old", "worker")]
    assert await page(bot.readies[0].addresses[0]) == "old\n"


@pytest.mark.usefixtures("worker")
async def test_a_command_in_the_container_says_when_it_is_healthy(bot: Bot, base: str) -> None:
    probe = Probe(kind="command", command=["test", "-f", "/tmp/ready"], timeout=90, interval=0.1)
    told = several(base, "r1", process(base, "worker", "sleep 1; touch /tmp/ready; sleep 60", probe=probe))
    ended = await bot.run("r1", told)
    assert isinstance(ended.result, Succeeded), bot.log("r1")
    assert "its `command` of `health` says healthy" in bot.log("r1")
    assert (bot.readies[0].addresses, bot.readies[0].further) == ([], {})


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("overlap", [True, False])
async def test_a_worker_ends_before_its_successor_begins_or_after_as_it_was_said(
    bot: Bot, engine: Engine, base: str, name: str, overlap: bool
) -> None:
    volumes = {f"{name}-data": "/data"}

    def release(which: str) -> DeploySpec:
        worker = process(base, "worker", WORK.format(which), overlap=overlap, grace=20)
        return several(base, which, web(base, which), worker, volumes=volumes, serving="r1")

    assert isinstance((await bot.run("r1", release("r1"))).result, Succeeded), bot.log("r1")
    assert isinstance((await bot.run("r2", release("r2"))).result, Succeeded), bot.log("r2")

    still = [("r1", "web"), ("r1", "worker")] if overlap else [("r1", "web")]
    assert running(engine, name) == [*still, ("r2", "web"), ("r2", "worker")]
    bot.retired = ["r1"]
    await bot.until(lambda: bot.beats and {one.release for one in bot.beats[-1].containers} == {"r2"})
    said = in_volume(engine, base, f"{name}-data", ["cat", "/data/said"]).decode().splitlines()
    orders = {True: ["r1 began", "r2 began", "r1 ended"], False: ["r1 began", "r1 ended", "r2 began"]}
    assert said == orders[overlap]


@pytest.mark.usefixtures("worker")
async def test_what_ended_for_a_successor_that_fails_works_again(
    bot: Bot, engine: Engine, base: str, name: str
) -> None:
    alone = {"overlap": False, "grace": 1}
    old = several(base, "old", web(base, "old"), process(base, "clock", "sleep 600", **alone))
    assert isinstance((await bot.run("old", old)).result, Succeeded), bot.log("old")
    before = leftovers(engine, name)

    new = several(
        base, "new", web(base, "new"), process(base, "clock", "exit 4", **LASTS, **alone), serving="old"
    )  # fmt: skip
    ended = await bot.run("new", new)

    assert isinstance(ended.result, Failed)
    assert "clock: The container ended with exit code 4" in ended.result.sentence
    assert "serves again" in bot.log("new")
    assert leftovers(engine, name) == before
    assert running(engine, name) == [("old", "clock"), ("old", "web")]


async def test_what_ended_for_a_successor_works_again_after_a_kill_but_never_beside_it(
    bot: Bot, engine: Engine, base: str, name: str, tmp_path: Path,
    settings: Settings, tools: Tools, queue: MemoryQueue,
) -> None:  # fmt: skip
    alone = {"overlap": False, "grace": 1}
    async with at_work(settings, tools, queue):
        old = several(base, "old", web(base, "old"), process(base, "clock", "sleep 600", **alone))
        assert isinstance((await bot.run("old", old)).result, Succeeded), bot.log("old")
    new = several(
        base, "new", web(base, "new"), process(base, "clock", "sleep 600", **alone), serving="old"
    )  # fmt: skip

    await killed(tmp_path, name, "new", "check", new)

    assert any(one.endswith(".alone.aside") for one in leftovers(engine, name))
    async with at_work(settings, tools, queue):
        beats = len(bot.beats)
        await bot.until(lambda: len(bot.beats) > beats + 2)
        assert ("old", "clock") not in running(engine, name), "its successor may have been switched to"
        bot.retired = ["new"]
        await bot.until(lambda: running(engine, name) == [("old", "clock"), ("old", "web")] or None)


@pytest.mark.usefixtures("worker")
async def test_processes_reach_each_other_by_their_names_and_a_stop_ends_them_all(
    bot: Bot, engine: Engine, base: str, name: str
) -> None:
    asks = "until wget -qO /data/got http://api:8080/; do sleep 0.2; done; sleep 60"
    told = several(
        base, "r1", web(base, "api", "api", served=False), process(base, "worker", asks),
        volumes={f"{name}-data": "/data"},
    )  # fmt: skip
    assert isinstance((await bot.run("r1", told)).result, Succeeded), bot.log("r1")

    async with asyncio.timeout(120):
        while True:
            with contextlib.suppress(Exception):
                assert in_volume(engine, base, f"{name}-data", ["cat", "/data/got"]) == b"api\n"
                break
            await asyncio.sleep(0.2)

    stop = StopSpec(instance="test", repository="acme/shop", environment="production")
    assert isinstance((await bot.run("stop", stop)).result, Succeeded)
    assert running(engine, name) == []
