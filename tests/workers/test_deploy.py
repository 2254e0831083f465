from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest

from tests.parts.engine import Engine
from tests.workers.bot import Bot
from workers.contract.messages import (
    DeploySpec,
    Failed,
    Fault,
    Finished,
    Limits,
    Probe,
    Stopped,
    StopSpec,
    Succeeded,
)

pytestmark = pytest.mark.usefixtures("worker")
SERVE = "mkdir /www; echo {0} > /www/index.html; echo serving {0}; exec httpd -f -p 8080 -h /www"


def spec(base: str, release: str, script: str, **more: Any) -> DeploySpec:
    fields: dict[str, object] = {
        "instance": "test", "repository": "acme/shop", "environment": "production",
        "release": release, "image": base,
        "pull": False, "port": 8080, "command": ["sh", "-c", script], "env": {"COLOUR": "green"},
        "limits": Limits(memory=64 * 2**20, cpus=0.5, pids=50),
        "probe": Probe(path="/", timeout=5, interval=0.1), "labels": {},
    }  # fmt: skip
    return DeploySpec.model_validate({**fields, **more})


def releases(engine: Engine, name: str) -> list[str]:
    found = engine.containers(f"io.blacktree.worker={name}")
    return sorted(container.labels["io.blacktree.release"] for container in found)


def networks(engine: Engine, name: str) -> int:
    return len(engine.networks(f"io.blacktree.worker={name}"))


async def deployed(bot: Bot, base: str, release: str) -> Finished:
    ended = await bot.run(release, spec(base, release, SERVE.format(release)))
    assert isinstance(ended.result, Succeeded), bot.log(release)
    return ended


async def test_a_healthy_release_is_switched_to(bot: Bot, engine: Engine, base: str, name: str) -> None:
    ended = await deployed(bot, base, "r1")
    assert [step.name for step in ended.steps] == ["pull", "start", "check", "switch"]
    async with httpx2.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"http://{bot.readies[0].addresses[0]}/")).text == "r1\n"
    assert "serving r1" in bot.log("r1")
    assert "live at http://shop.example" in bot.log("r1")
    [container] = engine.containers(f"io.blacktree.worker={name}")
    host = container.attrs["HostConfig"]
    assert (host["Memory"], host["NanoCpus"], host["PidsLimit"]) == (64 * 2**20, 500_000_000, 50)
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert host["Init"] is True
    assert "no-new-privileges" in host["SecurityOpt"]
    assert "COLOUR=green" in container.attrs["Config"]["Env"]
    beat = await bot.until(lambda: next((b for b in bot.beats if b.containers and not b.attempts), None))
    assert [(c.release, c.running) for c in beat.containers] == [("r1", True)]


async def test_the_address_stays_when_the_container_restarts(
    bot: Bot, engine: Engine, base: str, name: str
) -> None:
    await deployed(bot, base, "r1")
    [container] = engine.containers(f"io.blacktree.worker={name}")
    await asyncio.to_thread(container.restart, timeout=0)
    container.reload()
    [published] = container.attrs["NetworkSettings"]["Ports"]["8080/tcp"]
    assert f"{published['HostIp']}:{published['HostPort']}" == bot.readies[0].addresses[0]


@pytest.mark.parametrize(
    ("script", "more", "reason", "words"),
    [
        ("echo dying; exit 7", {}, "crashed", "exit code 7"),
        ("sleep 60", {"probe": Probe(path="/", timeout=1, interval=0.1)}, "unhealthy", "nothing listens"),
        (SERVE.format("x"), {"port": None}, "no_port", "EXPOSE"),
        ("", {"command": ["/no/such/program"]}, "crashed", "cannot be run (exit code 127)"),
        ("", {"image": "sha256:" + "0" * 64}, "image_missing", "not on this worker"),
    ],
)  # fmt: skip
async def test_a_bad_release_leaves_the_old_one_serving(
    bot: Bot, engine: Engine, base: str, name: str,
    script: str, more: dict[str, Any], reason: str, words: str,
) -> None:  # fmt: skip
    await deployed(bot, base, "old")
    ended = await bot.run("new", spec(base, "new", script, **more))
    assert isinstance(ended.result, Failed)
    assert ended.result.reason == reason, ended.result
    assert words in ended.result.sentence
    assert releases(engine, name) == ["old"]
    async with httpx2.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"http://{bot.readies[0].addresses[0]}/")).text == "old\n"
    assert [ready.release for ready in bot.readies] == ["old"]


async def test_a_crash_shows_the_containers_last_lines(bot: Bot, base: str) -> None:
    await bot.run("r1", spec(base, "r1", "for i in $(seq 30); do echo line $i; done; exit 1"))
    assert bot.log("r1").partition("last lines")[2].count("line ") == 20


async def test_a_server_of_another_protocol_is_healthy_when_it_stays_connected(bot: Bot, base: str) -> None:
    script = "while :; do nc -l -p 8080 -e sh -c 'echo hello; read x'; done"
    ended = await bot.run("r1", spec(base, "r1", script))
    assert isinstance(ended.result, Succeeded), bot.log("r1")
    assert "does not speak HTTP" in bot.log("r1")


async def test_an_answer_of_500_is_not_healthy(bot: Bot, base: str) -> None:
    script = (
        "mkdir -p /www/cgi-bin;"
        "printf '#!/bin/sh\\nprintf \"Status: 503 No\\\\r\\\\n\\\\r\\\\n\"' > /www/cgi-bin/x;"
        "chmod +x /www/cgi-bin/x; exec httpd -f -p 8080 -h /www"
    )
    probe = Probe(path="/cgi-bin/x", timeout=2, interval=0.1)
    ended = await bot.run("r1", spec(base, "r1", script, probe=probe))
    assert isinstance(ended.result, Failed)
    assert "answered 50" in ended.result.sentence


async def test_a_refused_switch_removes_the_new_release(
    bot: Bot, engine: Engine, base: str, name: str
) -> None:
    bot.refusal = "superseded"
    ended = await bot.run("r1", spec(base, "r1", SERVE.format("x")))
    assert isinstance(ended.result, Failed)
    assert (ended.result.fault, ended.result.reason) == (Fault.OURS, "not_switched")
    assert releases(engine, name) == []
    assert networks(engine, name) == 0


async def test_a_lost_answer_to_ready_is_asked_for_again(
    bot: Bot, engine: Engine, base: str, name: str
) -> None:
    bot.silences = 1
    await deployed(bot, base, "r1")
    assert len(bot.readies) == 2
    assert releases(engine, name) == ["r1"]


async def test_a_deploy_that_is_cancelled_while_it_switches_completes(
    bot: Bot, engine: Engine, base: str, name: str
) -> None:
    bot.silences = 1
    await bot.offer("r1", spec(base, "r1", SERVE.format("x")))
    await bot.until(lambda: bot.readies)
    await bot.cancel(name, "r1")
    ended = await bot.finished("r1")
    assert isinstance(ended.result, Succeeded)
    assert releases(engine, name) == ["r1"]


async def test_a_cancelled_deploy_leaves_nothing(bot: Bot, engine: Engine, base: str, name: str) -> None:
    await bot.offer("r1", spec(base, "r1", "sleep 60", probe=Probe(path="/", timeout=60, interval=0.1)))
    await bot.until(lambda: bot.started("r1", "check"))
    await bot.cancel(name, "r1")
    ended = await bot.finished("r1", 10)
    assert isinstance(ended.result, Stopped)
    assert releases(engine, name) == []
    assert networks(engine, name) == 0


async def test_a_retired_release_is_removed(bot: Bot, engine: Engine, base: str, name: str) -> None:
    await deployed(bot, base, "old")
    await deployed(bot, base, "new")
    assert releases(engine, name) == ["new", "old"]
    bot.retired = ["old"]
    await bot.until(lambda: bot.beats and [c.release for c in bot.beats[-1].containers] == ["new"])
    assert releases(engine, name) == ["new"]


async def test_a_stop_removes_the_environment_and_no_other(
    bot: Bot, engine: Engine, base: str, name: str
) -> None:
    await deployed(bot, base, "r1")
    other = spec(base, "r2", SERVE.format("r2"), environment="staging")
    assert isinstance((await bot.run("r2", other)).result, Succeeded)
    ended = await bot.run("stop", StopSpec(instance="test", repository="acme/shop", environment="production"))
    assert isinstance(ended.result, Succeeded)
    assert releases(engine, name) == ["r2"]
    assert networks(engine, name) == 1
