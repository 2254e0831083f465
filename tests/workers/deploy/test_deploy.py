from __future__ import annotations

import asyncio
import contextlib
import io
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from config.trust import trusted
from tests.parts.engine import Engine
from tests.workers.bot import Bot
from tests.workers.conftest import MADE
from workers.contract.messages import (
    Credentials,
    DeploySpec,
    Failed,
    Fault,
    Finished,
    Limits,
    Privileges,
    Probe,
    Stopped,
    StopSpec,
    Succeeded,
    TaskSpec,
)
from workers.engine.making import takes

pytestmark = pytest.mark.usefixtures("worker")
SERVE = "mkdir /www; echo {0} > /www/index.html; echo serving {0}; exec httpd -f -p 8080 -h /www"


def spec(base: str, release: str, script: str, **more: Any) -> DeploySpec:
    fields: dict[str, object] = {
        "instance": "test", "repository": "acme/shop", "environment": "production",
        "release": release, "image": base,
        "pull": False, "port": 8080, "command": ["sh", "-c", script], "env": {"COLOUR": "green"},
        "limits": Limits(memory=64 * 2**20, cpus=0.5, pids=50),
        "probe": Probe(path="/", timeout=90, interval=0.1), "labels": {},
    }  # fmt: skip
    return DeploySpec.model_validate({**fields, **more})


def releases(engine: Engine, name: str) -> list[str]:
    found = engine.containers(f"io.blacktree.worker={name}")
    return sorted(container.labels["io.blacktree.release"] for container in found)


def networks(engine: Engine, name: str) -> int:
    return len(engine.networks(f"io.blacktree.worker={name}"))


def leftovers(engine: Engine, name: str) -> list[str]:
    """What a worker has on the engine."""
    label = f"io.blacktree.worker={name}"
    found: list[Any] = [*engine.containers(label), *engine.networks(label), *engine.volumes(label)]
    return [str(one.name) for one in found]


async def page(address: str) -> str:
    async with httpx2.AsyncClient(verify=trusted(), trust_env=False, timeout=60) as client:
        return (await client.get(f"http://{address}/")).text


async def serving(address: str, text: str) -> None:
    """Returns once `address` answers with `text`."""
    async with asyncio.timeout(90):
        while True:
            with contextlib.suppress(httpx2.HTTPError):
                assert await page(address) == text
                return
            await asyncio.sleep(0.1)


def in_volume(engine: Engine, base: str, volume: str, command: list[str]) -> bytes:
    """The output of a command that sees a volume as /data."""
    said: bytes = engine.client.containers.run(
        base, command, volumes=[f"{volume}:/data"], remove=True, network_mode="none"
    )
    return said


async def deployed(bot: Bot, base: str, release: str) -> Finished:
    ended = await bot.run(release, spec(base, release, SERVE.format(release)))
    assert isinstance(ended.result, Succeeded), bot.log(release)
    return ended


@pytest.mark.usefixtures("last_words")
async def test_a_healthy_release_is_switched_to(bot: Bot, engine: Engine, base: str, name: str) -> None:
    ended = await deployed(bot, base, "r1")
    assert [step.name for step in ended.steps] == ["pull", "start", "check", "switch"]
    assert await page(bot.readies[0].addresses[0]) == "r1\n"
    assert "serving r1" in bot.log("r1")
    assert "live at http://shop.example" in bot.log("r1")
    [container] = engine.containers(f"io.blacktree.worker={name}")
    host = container.attrs["HostConfig"]
    assert (host["Memory"], host["NanoCpus"], host["PidsLimit"]) == (64 * 2**20, 500_000_000, 50)
    assert host["RestartPolicy"]["Name"] == "always"
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
    assert await page(bot.readies[0].addresses[0]) == "old\n"
    assert [ready.release for ready in bot.readies] == ["old"]


async def test_a_crash_shows_the_containers_last_lines(bot: Bot, base: str) -> None:
    await bot.run("r1", spec(base, "r1", "for i in $(seq 30); do echo line $i; done; exit 1"))
    assert bot.log("r1").partition("last lines")[2].count("line ") == 20


async def test_a_server_of_another_protocol_is_healthy_when_it_stays_connected(bot: Bot, base: str) -> None:
    script = "while :; do nc -l -p 8080 -e sh -c 'echo hello; read x'; done"
    ended = await bot.run("r1", spec(base, "r1", script))
    assert isinstance(ended.result, Succeeded), bot.log("r1")
    assert "browsers at the environment's address get an error" in bot.log("r1")
    assert "no place for a database" in bot.log("r1")


@pytest.mark.parametrize(
    ("server", "words"),
    [
        ("httpd -f -p 127.0.0.1:8080", "It listens on 127.0.0.1:8080 alone, which nobody outside reaches"),
        ("httpd -f -p 3000", "It listens on 3000: write `port: 3000` in .blacktree.yml"),
        ("sleep 60", "It listens nowhere"),
    ],
)
async def test_where_an_app_listens_instead_is_said(bot: Bot, base: str, server: str, words: str) -> None:
    probe = Probe(path="/", timeout=4, interval=0.1)
    ended = await bot.run("r1", spec(base, "r1", f"exec {server}", probe=probe))
    assert isinstance(ended.result, Failed)
    assert words in ended.result.sentence


async def test_on_the_hosts_network_what_else_listens_there_is_nobodys_to_know(bot: Bot, base: str) -> None:
    more = {"privileges": Privileges(host_network=True), "probe": Probe(path="/", timeout=2, interval=0.1)}
    ended = await bot.run("r1", spec(base, "r1", "sleep 60", **more))
    assert isinstance(ended.result, Failed)
    assert "The app must listen on 0.0.0.0" in ended.result.sentence


async def test_an_answer_of_500_is_not_healthy(bot: Bot, base: str) -> None:
    script = (
        "mkdir -p /www/cgi-bin;"
        "printf '#!/bin/sh\\nprintf \"Status: 503 No\\\\r\\\\n\\\\r\\\\n\"' > /www/cgi-bin/x;"
        "chmod +x /www/cgi-bin/x; exec httpd -f -p 8080 -h /www"
    )
    probe = Probe(path="/cgi-bin/x", timeout=5, interval=0.1)
    ended = await bot.run("r1", spec(base, "r1", script, probe=probe))
    assert isinstance(ended.result, Failed)
    assert "answered 50" in ended.result.sentence


@pytest.mark.parametrize(("users", "fault"), [(False, Fault.OURS), (True, Fault.USER)])
async def test_a_refused_switch_removes_the_new_release(
    bot: Bot, engine: Engine, base: str, name: str, users: bool, fault: Fault
) -> None:
    bot.refusal, bot.users = "superseded", users
    ended = await bot.run("r1", spec(base, "r1", SERVE.format("x")))
    assert isinstance(ended.result, Failed)
    assert (ended.result.fault, ended.result.reason) == (fault, "not_switched")
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
    ended = await bot.finished("r1")
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


async def test_the_release_command_runs_once_in_the_new_image_with_all_that_the_release_has(
    bot: Bot, engine: Engine, base: str, name: str
) -> None:
    bot.credentials = Credentials(env={"PASSWORD": "correct-horse"})
    command = ["sh", "-c", "echo $COLOUR $PASSWORD; echo migrated >> /data/done; id -u; touch /x || true"]
    more = {
        "release_command": command, "volumes": {f"{name}-data": "/data"}, "user": "65534", "read_only": True,
    }  # fmt: skip
    engine.client.volumes.create(f"{name}-data", labels={"io.blacktree.worker": name})
    engine.client.containers.run(
        base, ["chmod", "777", "/data"], volumes=[f"{name}-data:/data"], remove=True, network_mode="none"
    )

    ended = await bot.run("r1", spec(base, "r1", "mkdir /tmp/w; cp /data/done /tmp/w/index.html;"
                                     " exec httpd -f -p 8080 -h /tmp/w", **more))  # fmt: skip

    assert isinstance(ended.result, Succeeded), bot.log("r1")
    assert [step.name for step in ended.steps] == ["pull", "release", "start", "check", "switch"]
    said = bot.log("r1").partition("── release\n")[2].partition("── release took")[0]
    assert sorted(said.splitlines()) == ["65534", "green ***", "touch: /x: Read-only file system"]
    assert await page(bot.readies[0].addresses[0]) == "migrated\n"
    [container] = engine.containers(f"io.blacktree.worker={name}")
    assert "PASSWORD=correct-horse" in container.attrs["Config"]["Env"]


async def test_what_runs_once_in_an_image_has_its_entrypoint_as_its_processes_have(
    bot: Bot, base: str, entered: str
) -> None:
    release = spec(
        base, "r1", SERVE.format("r1"), image=entered, release_command=["sh", "-c", "echo $SCHEME"]
    )
    ended = await bot.run("r1", release)
    assert isinstance(ended.result, Succeeded), bot.log("r1")
    assert "── release\npostgres\n" in bot.log("r1")

    told = {"name": "nightly", "command": ["sh", "-c", "echo by $SCHEME"], "timeout": 90, "release": release}
    ended = await bot.run("t1", TaskSpec.model_validate(told))
    assert isinstance(ended.result, Succeeded), bot.log("t1")
    assert "── task\nby postgres\n" in bot.log("t1")


async def test_a_release_command_is_run_where_the_entrypoint_takes_none(
    bot: Bot, engine: Engine, base: str, name: str
) -> None:
    tag = f"{name}-shell-form"
    dockerfile = f"FROM {base}\nENTRYPOINT mkdir -p /www; exec httpd -f -p 8080 -h /www\n"
    engine.client.images.build(fileobj=io.BytesIO(dockerfile.encode()), tag=tag, rm=True)
    try:
        release = spec(base, "r1", "", image=tag, command=None, release_command=["echo", "migrated"])
        ended = await bot.run("r1", release)
        assert isinstance(ended.result, Succeeded), bot.log("r1")
        assert "── release\nmigrated\n" in bot.log("r1")
    finally:
        engine.client.images.remove(tag, force=True)


@pytest.mark.parametrize(
    ("entrypoint", "taken"),
    [
        ([], True),
        (["/app"], True),
        (["/sbin/tini", "--"], True),
        (["sh", "-c", 'exec "$@"', "--"], True),
        (["/bin/sh", "-c", 'prepare; exec "$0" "$@"'], True),
        (["/usr/bin/env", "-c", "app"], True),
        (["/bin/sh", "-c", "/app serve"], False),
        (["/bin/bash", "-o", "pipefail", "-c", "cd $HOME && ./app"], False),
    ],
)
def test_an_entrypoint_in_the_shell_form_takes_no_command(entrypoint: list[str], taken: bool) -> None:
    assert takes(entrypoint) is taken


@pytest.fixture
def entered(engine: Engine, base: str, name: str) -> Iterator[str]:
    """An image whose ENTRYPOINT makes ready what its commands need, as those of many projects do."""
    script = 'export SCHEME=postgres; exec "$@"'
    tag = f"{name}-entered"
    dockerfile = f"FROM {base}\nENTRYPOINT {json.dumps(['sh', '-c', script, 'entrypoint'])}\n"
    engine.client.images.build(fileobj=io.BytesIO(dockerfile.encode()), tag=tag, rm=True)
    yield tag
    engine.client.images.remove(tag, force=True)


@pytest.mark.parametrize(
    ("script", "timeout", "reason", "words"),
    [
        ("echo no such table; exit 3", 60, "release_failed", "exit code 3"),
        ("sleep 60", 1, "release_timeout", "longer than 1 s"),
    ],
)
async def test_a_failed_release_command_stops_the_deploy(
    bot: Bot, engine: Engine, base: str, name: str, script: str, timeout: float, reason: str, words: str
) -> None:
    more = {"release_command": ["sh", "-c", script], "release_timeout": timeout}
    ended = await bot.run("r1", spec(base, "r1", SERVE.format("r1"), **more))
    assert isinstance(ended.result, Failed)
    assert (ended.result.fault, ended.result.reason, ended.result.step) == (Fault.USER, reason, "release")
    assert words in ended.result.sentence
    assert not leftovers(engine, name)


async def test_all_replicas_are_healthy_before_the_switch(bot: Bot, base: str) -> None:
    ended = await bot.run("r1", spec(base, "r1", SERVE.format("$(hostname)"), replicas=3))
    assert isinstance(ended.result, Succeeded), bot.log("r1")
    [ready] = bot.readies
    assert len({await page(address) for address in ready.addresses}) == 3
    assert all(f"#{place} healthy" in bot.log("r1") for place in (1, 2, 3))
    beat = await bot.until(lambda: next((b for b in bot.beats if len(b.containers) == 3), None))
    assert {state.address for state in beat.containers} == set(ready.addresses)


async def test_one_bad_replica_and_none_of_them_stays(bot: Bot, engine: Engine, base: str, name: str) -> None:
    script = f"mkdir /data/first || exit 4; {SERVE.format('x')}"
    more = {"replicas": 2, "volumes": {f"{name}-data": "/data"}}
    ended = await bot.run("r1", spec(base, "r1", script, **more))
    assert isinstance(ended.result, Failed)
    assert "exit code 4" in ended.result.sentence
    assert not leftovers(engine, name), "nor the volume that was made for them"


@pytest.mark.parametrize(
    ("script", "more", "healthy"),
    [
        ("exec nc -ll -p 8080 -e cat", {"probe": {"kind": "tcp"}}, "a TCP connection stays open"),
        (SERVE.format("x"), {"probe": {"status": 200}}, "GET / answered 200"),
        (SERVE.format("x"), {"probe": {"status": 204}}, None),
        ("exec nc -ll -p 8080 -e cat", {"probe": {"path": "/up"}}, None),
    ],
)
async def test_a_probe_asks_what_it_is_told_to(
    bot: Bot, base: str, script: str, more: dict[str, Any], healthy: str | None
) -> None:
    probe = {"timeout": 90 if healthy else 1.5, "interval": 0.1, **more["probe"]}
    ended = await bot.run("r1", spec(base, "r1", script, probe=probe))
    assert isinstance(ended.result, Succeeded if healthy else Failed), bot.log("r1")
    assert f"healthy: {healthy}" in bot.log("r1") or not healthy


async def test_the_images_own_healthcheck_decides_where_it_is_to(
    bot: Bot, engine: Engine, base: str, name: str
) -> None:
    checked = with_healthcheck(engine, base, name)
    probe = {"kind": "image", "interval": 0.1}
    script = "exec httpd -f -p 8080 -h /"
    first = spec(checked, "r1", f"touch /ok; {script}", probe={**probe, "timeout": 90})
    assert isinstance((await bot.run("r1", first)).result, Succeeded)
    ended = await bot.run("r2", spec(checked, "r2", script, probe={**probe, "timeout": 10}))
    assert isinstance(ended.result, Failed)
    assert "HEALTHCHECK says" in ended.result.sentence
    assert "not ok" in ended.result.sentence
    ended = await bot.run("r3", spec(base, "r3", script, probe={**probe, "timeout": 5}))
    assert isinstance(ended.result, Failed)
    assert ended.result.reason == "no_healthcheck"


def with_healthcheck(engine: Engine, base: str, name: str) -> str:
    """An image whose health is whether there is a file /ok."""
    made = engine.client.containers.create(base, labels={MADE: name})
    test = "HEALTHCHECK --interval=200ms --retries=1 CMD test -e /ok || { echo not ok; exit 1; }"
    return str(made.commit(changes=[test]).id)


@pytest.mark.usefixtures("last_words")
async def test_a_container_may_do_little_by_default(bot: Bot, base: str) -> None:
    script = "grep -E 'CapBnd|NoNewPrivs' /proc/self/status; mknod /x b 8 0; " + SERVE.format("r1")
    ended = await bot.run("r1", spec(base, "r1", script))
    assert isinstance(ended.result, Succeeded), bot.log("r1")
    bounding = sum(1 << number for number in (0, 1, 3, 4, 5, 6, 7, 8, 10))  # linux/capability.h
    assert re.search(rf"CapBnd:\s+0*{bounding:x}\n", bot.log("r1"))
    assert re.search(r"NoNewPrivs:\s+1", bot.log("r1"))
    assert "mknod: /x: Operation not permitted" in bot.log("r1")


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"privileges": {"host_mounts": ["/var/run/docker.sock:/sock"]}}, "engine_socket"),
        ({"privileges": {"host_mounts": ["/:/host"], "privileged": True}}, "engine_socket"),
        ({"privileges": {"host_mounts": ["relative:/x"]}}, "bad_mount"),
        ({"privileges": {"host_mounts": ["/no/such/folder:/x"]}}, "start_failed"),
        ({"privileges": {"host_network": True}, "replicas": 2}, "replicas"),
    ],
)
async def test_nobody_gets_the_engines_socket_or_what_cannot_be(
    bot: Bot, engine: Engine, base: str, name: str, more: dict[str, Any], reason: str
) -> None:
    ended = await bot.run("r1", spec(base, "r1", SERVE.format("r1"), **more))
    assert isinstance(ended.result, Failed)
    assert (ended.result.fault, ended.result.reason) == (Fault.USER, reason), ended.result
    assert not leftovers(engine, name)


async def test_environments_reach_each_other_only_through_a_network_that_both_name(
    bot: Bot, engine: Engine, base: str, name: str
) -> None:
    for place, shared in (("one", []), ("two", ["back"]), ("three", ["back"])):
        told = spec(base, place, SERVE.format(place), environment=place, networks=shared)
        assert isinstance((await bot.run(place, told)).result, Succeeded), bot.log(place)
    there = {one.labels["io.blacktree.environment"]: one
             for one in engine.containers(f"io.blacktree.worker={name}")}  # fmt: skip
    addresses = {
        place: [network["IPAddress"] for network in one.attrs["NetworkSettings"]["Networks"].values()]
        for place, one in there.items()
    }

    def fetch(place: str, host: str, patience: int = 1) -> str:
        script = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w {patience} {host} 8080 2>&1"
        said: Any = there[place].exec_run(["sh", "-c", script]).output
        return str(said.decode().splitlines()[-1])

    assert fetch("two", "three", 60) == "three", "by its environment's name"
    assert fetch("one", addresses["one"][0], 60) == "one"
    assert fetch("one", "two", 60) == "nc: bad address 'two'"
    for address in (*addresses["two"], *addresses["three"]):
        assert fetch("one", address) == "nc: timed out"
    assert fetch("two", addresses["one"][0]) == "nc: timed out"


async def test_without_a_proxy_the_port_stays_and_the_log_says_that_there_is_downtime(
    bot: Bot, engine: Engine, base: str, name: str, free_port: Callable[[], int]
) -> None:
    port = free_port()
    told = {"host_port": port, "volumes": {f"{name}-data": "/data"}}
    assert isinstance((await bot.run("r1", spec(base, "r1", SERVE.format("r1"), **told))).result, Succeeded)

    ended = await bot.run("r2", spec(base, "r2", SERVE.format("r2"), serving="r1", **told))

    assert isinstance(ended.result, Succeeded), bot.log("r2")
    assert [ready.addresses for ready in bot.readies] == [[f"127.0.0.1:{port}"]] * 2
    assert await page(f"127.0.0.1:{port}") == "r2\n"
    assert "there is downtime: without a proxy they would share port" in bot.log("r2")
    assert releases(engine, name) == ["r2"]

    ended = await bot.run("r3", spec(base, "r3", "exit 5", serving="r2", **told))

    assert isinstance(ended.result, Failed)
    await serving(f"127.0.0.1:{port}", "r2\n")
    assert "serves again" in bot.log("r3")
    [container] = engine.containers(f"io.blacktree.worker={name}")
    assert not str(container.name).endswith(".aside")
    assert container.attrs["HostConfig"]["RestartPolicy"]["Name"] == "always"
    assert len(engine.volumes(f"io.blacktree.worker={name}")) == 1


async def test_a_stop_removes_the_environment_and_no_other(
    bot: Bot, engine: Engine, base: str, name: str
) -> None:
    for release, place in (("r1", "production"), ("r2", "staging")):
        told = {"volumes": {f"{name}-{place}": "/data"}, "networks": ["back"], "environment": place}
        ended = await bot.run(release, spec(base, release, SERVE.format(release), **told))
        assert isinstance(ended.result, Succeeded), bot.log(release)
    asleep = StopSpec(instance="test", repository="acme/shop", environment="production")

    assert isinstance((await bot.run("sleep", asleep)).result, Succeeded)

    assert releases(engine, name) == ["r2"]
    assert networks(engine, name) == 2, "its own, and the one that it shares"
    assert len(engine.volumes(f"io.blacktree.worker={name}")) == 2

    gone = asleep.model_copy(update={"volumes": True})
    assert isinstance((await bot.run("stop", gone)).result, Succeeded)

    assert [volume.name for volume in engine.volumes(f"io.blacktree.worker={name}")] == [f"{name}-staging"]


async def test_a_release_gets_the_time_to_end_that_it_asks_for(
    bot: Bot, engine: Engine, base: str, name: str
) -> None:
    script = "trap 'sleep 3; touch /data/ended; exit' TERM; httpd -p 8080 -h /; while :; do sleep 0.1; done"
    told = {"volumes": {f"{name}-data": "/data"}, "grace": 20}
    assert isinstance((await bot.run("r1", spec(base, "r1", script, **told))).result, Succeeded)
    bot.retired = ["r1"]
    await bot.until(lambda: bot.beats and not bot.beats[-1].containers)
    ended = engine.client.containers.run(
        base, ["ls", "/data"], volumes=[f"{name}-data:/data"], remove=True, network_mode="none"
    )
    assert ended == b"ended\n"
