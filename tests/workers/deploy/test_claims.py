"""What an image says of itself is never taken for what we say."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from typing import Any

import pytest

from tests.parts.engine import Engine
from tests.workers.bot import Bot
from tests.workers.conftest import MADE
from tests.workers.deploy.test_deploy import SERVE, deployed, leftovers, releases, spec
from workers.contract.messages import Failed, Fault, Succeeded
from workers.engine.docker import DockerEngine
from workers.engine.labels import NAMES, claims, read, whole

pytestmark = pytest.mark.usefixtures("worker")
LIES = {"address": "unix//var/run/docker.sock", "release": "r1", "secrets": "PATH", "restart": "no"}


def lying(engine: Engine, base: str, name: str, labels: dict[str, str]) -> str:
    """An image as its Dockerfile would make it."""
    made = engine.client.containers.create(base, labels={MADE: name})
    changes = [f'LABEL io.blacktree.{key}="{value}"' for key, value in labels.items()]
    image = str(made.commit(changes=changes).id)
    made.remove()
    return image


@pytest.mark.parametrize("lie", LIES)
async def test_an_image_that_speaks_for_us_is_not_deployed(
    bot: Bot, engine: Engine, base: str, name: str, lie: str
) -> None:
    image = lying(engine, base, name, {lie: LIES[lie]})
    ended = await bot.run("r2", spec(image, "r2", SERVE.format("r2")))
    assert isinstance(ended.result, Failed)
    assert (ended.result.fault, ended.result.reason) == (Fault.USER, "reserved_label")
    assert f"io.blacktree.{lie}" in ended.result.sentence
    assert not leftovers(engine, name)


async def test_the_labels_of_a_build_do_not_keep_an_image_from_being_deployed(
    bot: Bot, engine: Engine, base: str, name: str
) -> None:
    image = lying(engine, base, name, {"repository": "acme/other", "instance": "elsewhere", "sha": "a"})
    ended = await bot.run("r2", spec(image, "r2", SERVE.format("r2")))
    assert isinstance(ended.result, Succeeded), bot.log("r2")
    [container] = engine.containers(f"io.blacktree.worker={name}")
    assert container.labels["io.blacktree.repository"] == "acme/shop"


@pytest.fixture
def impostor(engine: Engine, base: str, name: str) -> Iterator[Any]:
    """A container that somebody else has started, of an image that says whose it is: r1's, and crashing."""
    image = lying(engine, base, name, {"worker": name, **LIES})
    started = engine.client.containers.run(
        image, ["sh", "-c", "exit 9"], detach=True, name=f"{NAMES}{name}-impostor"
    )
    started.wait()
    yield started
    started.remove(force=True)


async def test_a_container_counts_as_ours_by_no_word_of_its_image(
    bot: Bot, engine: Engine, docker_engine: DockerEngine, base: str, name: str, impostor: Any
) -> None:
    await deployed(bot, base, "r1")
    asked = {"worker": name, "release": "r1"}
    assert releases(engine, name) == ["r1", "r1"], "so it looks to whoever trusts labels"
    assert [one.labels["io.blacktree.release"] for one in await docker_engine.containers(asked)] == ["r1"]
    at = len(bot.beats)
    await bot.nudge(name)
    beat = await bot.until(lambda: next((beat for beat in bot.beats[at:] if beat.containers), None))
    assert [(one.running, one.address) for one in beat.containers] == [(True, bot.readies[0].addresses[0])]
    bot.retired = ["r1"]
    await bot.until(lambda: releases(engine, name) == ["r1"])
    impostor.reload()
    assert impostor.status == "exited", "it is not ours to remove"


async def test_what_a_dockerfile_says_while_it_is_built_counts_for_nothing(
    engine: Engine, docker_engine: DockerEngine, base: str, name: str
) -> None:
    """The classic builder's steps are containers with the labels of the image as far as it is made."""
    lies = " ".join(f"io.blacktree.{key}={value}" for key, value in ({"worker": name} | LIES).items())
    dockerfile = f"FROM {base}\nLABEL {MADE}={name} {lies}\nRUN sleep 5\n"
    building = asyncio.create_task(asyncio.to_thread(_build, engine, dockerfile))
    seen: list[Any] = []
    while not seen and not building.done():
        seen = await asyncio.to_thread(engine.containers, f"io.blacktree.worker={name}")
        assert await docker_engine.containers({"worker": name}) == []
    await building
    assert seen, "the lie was told"


def _build(engine: Engine, dockerfile: str) -> None:
    engine.client.images.build(fileobj=io.BytesIO(dockerfile.encode()), rm=True, forcerm=True)


def test_all_labels_are_always_set_and_no_others_are_read() -> None:
    told = whole({"io.blacktree.worker": "w", "mine": "x"})
    assert read(told) == {"io.blacktree.worker": "w"}
    assert told["io.blacktree.address"] == told["io.blacktree.release"] == "", "so that no image can say it"
    assert set(claims(told)) == {key for key in told if key.startswith("io.blacktree.")} - {
        "io.blacktree.repository", "io.blacktree.instance",
    }  # fmt: skip
    assert claims(None) == ()
    with pytest.raises(ValueError, match=r"io\.blacktree\.new is not always set"):
        whole({"io.blacktree.new": ""})


def test_an_image_claims_to_be_a_worker_that_the_bot_started() -> None:
    assert claims({"io.blacktree.scaling.worker": "cloud-2", "maintainer": "ada"}) == (
        "io.blacktree.scaling.worker",
    )
