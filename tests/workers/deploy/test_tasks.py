"""Tasks on a real engine: each has what its release has, and nothing of one is left, however it ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.parts.engine import Engine
from tests.workers.bot import Bot
from tests.workers.deploy.test_deploy import SERVE, spec
from tests.workers.deploy.test_processes import process, several, web
from workers.contract.messages import Credentials, DeploySpec, Failed, Fault, Stopped, Succeeded, TaskSpec
from workers.deploy.task import as_process, said

pytestmark = pytest.mark.usefixtures("worker")


def task(release: DeploySpec, script: str, **more: Any) -> TaskSpec:
    told = {"name": "nightly", "command": ["sh", "-c", script], "timeout": 120, "release": release, **more}
    return TaskSpec.model_validate(told)


def running(engine: Engine, name: str) -> list[str]:
    """The containers of tasks that a worker has."""
    found = engine.containers(f"io.blacktree.worker={name}")
    return [str(one.name) for one in found if "-task-" in str(one.name)]


async def failed(bot: Bot, job: str, told: TaskSpec) -> Failed:
    result = (await bot.run(job, told)).result
    assert isinstance(result, Failed), bot.log(job)
    return result


async def test_a_task_has_what_its_release_has_and_its_end_is_told(
    bot: Bot, engine: Engine, base: str, name: str
) -> None:
    volume = f"blacktree-{name}"
    release = several(
        base, "r1", web(base, "hello"), process(base, "worker", "sleep 60", env={"ROLE": "worker"}),
        volumes={volume: "/data"},
    )  # fmt: skip
    bot.credentials = Credentials(env={"TOKEN": "hidden-word"})
    assert isinstance((await bot.run("r1", release)).result, Succeeded), bot.log("r1")
    there = engine.networks(f"io.blacktree.worker={name}")

    ended = await bot.run(
        "t1",
        task(release, "echo $COLOUR $TOKEN $ROLE $BLACKTREE_TASK; wget -qO- web:8080; touch /data/was"),
    )
    assert isinstance(ended.result, Succeeded), bot.log("t1")
    assert [step.name for step in ended.steps] == ["pull", "task"]
    assert "green *** nightly\nhello" in bot.log("t1")
    ended = await bot.run("t2", task(release, "echo as $ROLE; ls /data", process="worker"))
    assert "as worker\nwas" in bot.log("t2")

    wrong = await failed(bot, "t3", task(release, "echo oh; exit 3"))
    assert (wrong.fault, wrong.reason, wrong.exit_code, wrong.step) == (Fault.USER, "task_failed", 3, "task")
    assert wrong.sentence == "nightly ended with exit code 3: its output in the log says why"
    late = await failed(bot, "t4", task(release, "sleep 60", timeout=1))
    assert (late.reason, late.exit_code) == ("task_timeout", None)
    assert "lasted longer than 1 s" in late.sentence

    await bot.offer("t5", task(release, "echo begins; sleep 60"))
    await bot.until(lambda: "begins" in bot.log("t5"))
    await bot.cancel(name, "t5")
    assert isinstance((await bot.finished("t5")).result, Stopped)

    assert running(engine, name) == []
    assert engine.networks(f"io.blacktree.worker={name}") == there
    labels = [one.labels["io.blacktree.release"] for one in engine.containers(f"io.blacktree.worker={name}")]
    assert labels == ["r1", "r1"]  # what is live was never touched


async def test_a_task_of_a_release_that_is_not_here_says_so_and_may_be_tried_again(
    bot: Bot, base: str
) -> None:
    release = spec(base, "gone", SERVE.format("x"))

    result = await asyncio.wait_for(failed(bot, "t1", task(release, "true")), 150)

    assert (result.fault, result.reason, result.step) == (Fault.OURS, "release_gone", "pull")


def test_a_task_of_a_process_that_is_no_more_is_the_users_to_say_again() -> None:
    release = several("base", "r1", web("base", "hello"))
    assert as_process(task(release, "true", process="web")).image == "base"

    with pytest.raises(Exception, match="What is live has no process worker"):
        as_process(task(release, "true", process="worker"))


def test_what_was_killed_is_told_of_its_memory() -> None:
    limits = spec("base", "r1", "").limits

    assert said(137, limits) == (
        "ended with exit code 137: it was killed, as is what takes more memory than 64 MB (limits.memory)"
    )
