"""What a container is kept from, and what the engine's words mean: pure tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.workers.deploy.test_deploy import spec
from workers.contract.failure import Failure
from workers.contract.messages import AttemptRef, Limits, Probe
from workers.contract.services import Healthcheck
from workers.deploy import aside, names
from workers.deploy.parts import Part, parts
from workers.deploy.probe import fits
from workers.deploy.pull import port_of
from workers.engine.containers import (
    CAPABILITIES,
    confined,
    container,
    happening,
    healthcheck,
    holds_socket,
    image,
)
from workers.engine.engine import Command, prefixed

ELSEWHERE = "unix:///srv/engine/its.sock"


@pytest.mark.parametrize(
    ("path", "engine", "holds"),
    [
        ("/var/run/docker.sock", "", True),
        ("/run/docker.sock", "", True),
        ("/run", "", True),
        ("/var/run/", "", True),
        ("/var", "", True),
        ("/", "", True),
        ("//", "", True),
        ("/srv/../run/./docker.sock", "", True),
        ("/run/containerd", "", True),
        ("/srv/engine", ELSEWHERE, True),
        ("/srv/engine/its.sock", ELSEWHERE, True),
        ("/mnt/run/docker.sock", "", True),  # perhaps the same, seen through another mount
        ("/srv/engine", "", False),
        ("/srv", "tcp://10.0.0.1:2376", False),
        ("/running", "", False),
        ("/var/lib/shop", "", False),
    ],
)
def test_a_mount_that_would_give_the_engines_socket_is_known(path: str, engine: str, holds: bool) -> None:
    assert holds_socket(path, engine) is holds


def command(**more: Any) -> Command:
    return Command("c", "image", ["run"], Limits(memory=64 << 20, cpus=0.5, pids=9), {}, **more)


def test_a_link_to_the_engines_socket_is_followed(tmp_path: Path) -> None:
    (tmp_path / "innocent").symlink_to("/run")
    with pytest.raises(Failure, match="engine's socket"):
        confined(command(mounts=[f"{tmp_path}/innocent:/x"]), "", {})


def test_what_a_container_gets_unless_it_asks_for_more() -> None:
    plain = confined(command(), "", {})
    assert (plain["cap_drop"], plain["cap_add"]) == (["ALL"], CAPABILITIES)
    assert plain["security_opt"] == ["no-new-privileges"]
    assert (plain["mem_limit"], plain["memswap_limit"], plain["pids_limit"]) == (64 << 20, 64 << 20, 9)
    assert plain["mounts"] == []
    assert "privileged" not in plain

    told = command(read_only=True, volumes={"v": "/data"}, mounts=["/srv:/srv:ro"], privileged=True)
    asked = confined(told, "", {})
    assert (asked["privileged"], asked["read_only"], set(asked["tmpfs"])) == (True, True, {"/tmp", "/run"})
    assert [(m["Type"], m["Source"], m["Target"], m["ReadOnly"]) for m in asked["mounts"]] == [
        ("volume", "v", "/data", False),
        ("bind", "/srv", "/srv", True),
    ]


@pytest.mark.parametrize(
    ("test", "has"), [(None, False), ([], False), (["NONE"], False), (["CMD-SHELL", "x"], True)]
)
def test_an_image_has_a_healthcheck_of_its_own_or_none(test: list[str] | None, has: bool) -> None:
    config: dict[str, Any] = {
        "ExposedPorts": {"9/udp": {}, "81/tcp": {}, "80/tcp": {}},
        "Healthcheck": test and {"Test": test},
    }
    found = image({"Id": "sha256:1", "Config": config})
    assert (found.healthcheck, found.ports) == (has, (80, 81))


def test_a_container_is_told_with_its_health_and_its_secrets() -> None:
    log = [{"Output": "first"}, {"Output": "no database\n"}]
    found = container({
        "Id": "1", "Name": "/shop", "RestartCount": 2,
        "State": {"Status": "running", "ExitCode": 0, "OOMKilled": False,
                  "Health": {"Status": "unhealthy", "Log": log}},
        "Config": {"Labels": {"io.blacktree.secrets": "A,B"}, "Env": ["A=x=y", "B=", "C=open"]},
        "HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "10.0.0.1", "HostPort": "22001"}]}},
    })  # fmt: skip
    assert (found.name, found.address, found.restarts) == ("shop", "10.0.0.1:22001", 2)
    assert (found.health, found.health_said, found.secrets) == ("unhealthy", "no database", ("x=y",))


@pytest.mark.parametrize(
    ("action", "attributes", "what", "code"),
    [
        ("die", {"exitCode": "137"}, "die", 137),
        ("oom", {}, "oom", None),
        ("health_status: unhealthy", {}, "health_status", None),
    ],
)
def test_an_event_says_what_happened(
    action: str, attributes: dict[str, str], what: str, code: int | None
) -> None:
    told = happening({"Action": action, "Actor": {"ID": "1", "Attributes": attributes}})
    assert (told.what, told.exit_code) == (what, code)


@pytest.mark.parametrize(
    ("status", "code", "healthy"),
    [(None, 200, True), (None, 404, True), (None, 500, False), (204, 204, True), (204, 200, False)],
)
def test_an_answer_fits_what_it_should_be(status: int | None, code: int, healthy: bool) -> None:
    assert fits(code, Probe(status=status, timeout=1, interval=1)) is healthy


def test_the_port_is_the_one_that_was_said_or_the_first_exposed() -> None:
    exposed = image({"Id": "1", "Config": {"ExposedPorts": {"81/tcp": {}, "80/tcp": {}}}})
    assert port_of(spec("image", "r1", "", port=8080), exposed) == 8080
    assert port_of(spec("image", "r1", "", port=None), exposed) == 80
    with pytest.raises(Failure, match="EXPOSE"):
        port_of(spec("image", "r1", "", port=None), image({"Id": "1"}))


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({}, ""),
        ({"host_port": 80}, "without a proxy they would share port 80"),
        ({"privileges": {"host_network": True}}, "on the host's network they would share its ports"),
    ],
)
def test_where_old_and_new_share_a_port_only_one_can_run(more: dict[str, Any], why: str) -> None:
    assert aside.one_port(Part(spec("image", "r1", "", **more), port=8080)) == why
    if why:
        with pytest.raises(Failure, match="2 replicas cannot run at once"):
            aside.one_port(Part(spec("image", "r1", "", replicas=2, **more), port=8080))


def test_names_tell_workers_repositories_environments_and_instances_apart() -> None:
    assert len({
        names.network("w1", "i", "a/b", "c"), names.network("w2", "i", "a/b", "c"),
        names.network("w1", "j", "a/b", "c"), names.network("w1", "i", "a/b-c", ""),
        names.network("w1", "i", "A/b", "c"), names.shared_network("w1", "a/b", "c"),
        names.service("i", "a/b", "c"), names.service("j", "a/b", "c"), names.shared_overlay("i", "a/b", "c"),
    }) == 9  # fmt: skip
    long = names.service("i", "o" * 39 + "/" + "r" * 100, "e" * 40)
    assert re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,62}", long), "as Swarm takes it"
    assert names.container(spec("image", "r1", "")) != names.container(spec("image", "r1", ""))


def test_a_release_with_more_replicas_than_its_network_holds_gets_another_network() -> None:
    def network(replicas: int) -> str:
        return names.network("w", "i", "a/b", "c", names.room(spec("image", "r1", "", replicas=replicas)))

    assert network(1) == network(14)
    assert len({network(14), network(15), network(100)}) == 3


def test_a_container_that_stands_aside_is_known_by_its_name_alone() -> None:
    assert names.is_aside(names.aside("shop"))
    assert names.aside(names.aside("shop")) == names.aside("shop")
    assert names.back(names.aside("shop")) == names.back("shop") == "shop"


@pytest.mark.parametrize(
    ("labels", "seconds"), [({}, 10), ({"grace": "2.5"}, 2.5), ({"grace": "0"}, 0), ({"grace": "soon"}, 10)]
)
def test_the_grace_of_a_container_is_on_its_label(labels: dict[str, str], seconds: float) -> None:
    assert names.grace(prefixed(labels)) == seconds


def test_labels_of_a_release_are_found_again_by_its_job() -> None:
    told, ref = spec("image", "r1", "", grace=25), AttemptRef(job="7-1", attempt=2)
    labels = {**names.labels("w", told, ref), **names.release_labels(told)}
    assert prefixed(names.job("w", told, ref)).items() <= labels.items()
    assert prefixed(names.place("w", told)).items() <= labels.items()
    assert names.grace(labels) == 25


def test_each_process_is_as_a_release_of_its_own_and_only_web_has_the_hosts_port() -> None:
    limits = {"memory": 2**26, "cpus": 1, "pids": 9}
    probe = {"timeout": 5, "interval": 1}
    one: dict[str, Any] = {
        "image": "i", "port": None, "served": False, "command": None, "limits": limits, "probe": probe,
    }  # fmt: skip
    told = [
        {**one, "name": "web", "image": "w", "served": True, "env": {"A": "web"}},
        {**one, "name": "clock", "replicas": 2, "env": {"A": "clock"}, "grace": 3, "overlap": False},
    ]

    web, clock = parts(spec("image", "r1", "", processes=told, host_port=80))

    assert (web.spec.image, web.spec.host_port, web.served, web.overlap) == ("w", 80, True, True)
    assert (clock.spec.image, clock.spec.host_port, clock.served, clock.overlap) == ("i", None, False, False)
    assert (clock.spec.env, clock.spec.grace, clock.spec.replicas) == ({"A": "clock"}, 3, 2)
    assert names.room(web.spec) == names.room(clock.spec) == 7
    assert not aside.one_port(clock), "what has no port shares none"
    assert [part.name for part in parts(spec("image", "r1", ""))] == ["web"]


@pytest.mark.parametrize(
    ("check", "told"),
    [
        (None, None),
        (Healthcheck(command=[], interval=1), {"test": ["NONE"]}),
        (
            Healthcheck(command=["ask", "it"], interval=0.5),
            {"test": ["CMD", "ask", "it"], "interval": 5 * 10**8, "timeout": 5 * 10**9, "retries": 3},
        ),
        (
            Healthcheck(command=["ask"], interval=60, patience=30),
            {"test": ["CMD", "ask"], "interval": 60 * 10**9, "timeout": 60 * 10**9, "retries": 3},
        ),
    ],
)
def test_what_is_asked_instead_of_an_images_own_healthcheck(
    check: Healthcheck | None, told: dict[str, Any] | None
) -> None:
    assert healthcheck(check) == told
