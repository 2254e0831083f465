"""A process or a service may ask for a TCP port: what it may say, and who may say it."""

from __future__ import annotations

from typing import Any

import pytest

from config.authority import governed, strangers, unheard
from config.errors import ConfigError
from config.processes import exposing, processes
from config.repository import Repository, parse
from config.settings import Settings
from workers.contract.messages import ProcessSpec
from workers.contract.services import ServiceSpec
from workers.deploy.services import settings

FILE = "environments: {production: {processes: {web: {}, db: {expose: tcp/5432, %s}}, %s}}"


SERVICES = "environments: {%s: {services: {db: {image: 'postgres:17', %s}}}}"


def of(config: Repository) -> Any:
    place = config.environments["production"]
    return next(one for one in processes(place, config.image_of(place)) if one.name == "db")


def test_an_exposed_process_listens_there_is_asked_by_tcp_and_its_address_is_told() -> None:
    db = of(parse(FILE % ("replicas: 2", "port: 8080")))
    assert (db.port, db.expose, db.served, db.health.kind) == (5432, 5432, False, "tcp")
    spec = ProcessSpec.told("db", db.settings, "image", {})
    assert (spec.port, spec.served, spec.probe.kind) == (5432, True, "tcp")
    plain = {key: value for key, value in db.settings.items() if key != "expose"}
    assert not ProcessSpec.told("db", plain, "image", {}).served, "a release from before this key"


@pytest.mark.parametrize(
    ("process", "place", "why"),
    [
        ("path: /db", "", "visitors reach it by HTTP"),
        ("overlap: false", "", "leave `overlap` out"),
        ("port: 5433", "", "leave `port` out"),
        ("", "host_network: true", "its port is the host's already"),
        ("", "target: swarm", "not to a swarm's service"),
    ],
)
def test_what_does_not_go_together_with_a_tcp_port_is_told(process: str, place: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        parse(FILE % (process, place))


@pytest.mark.parametrize("said", ["udp/53", "tcp/0", "tcp/65536", "tcp/05", "5432", "tcp/x"])
def test_a_port_is_written_in_one_way(said: str) -> None:
    with pytest.raises(ConfigError, match="must be tcp/PORT"):
        parse(f"environments: {{production: {{processes: {{db: {{expose: {said}}}}}}}}}")


def test_another_branchs_commit_exposes_nothing_and_hides_nothing() -> None:
    ruling, bare = parse(FILE % ("", "")), parse(FILE.replace("expose: tcp/5432, %s", "") % "")
    assert of(governed(ruling, bare)).expose == 5432
    assert of(governed(bare, ruling)).expose is None
    assert unheard(bare, ruling) == ["environments.production.processes.db.expose"]


def test_an_instance_that_gives_no_ports_says_so_and_gives_none_of_the_proxys() -> None:
    ((key, why),) = exposing(parse(FILE % ("", "")))
    assert (key, "TCP_PORTS" in why) == ("environments.production.processes.db.expose", True)
    assert Settings(tcp_ports="21000-21099").tcp_ports
    with pytest.raises(ValueError, match="TCP_PORTS"):
        Settings(tcp_ports="20999-21099")


def exposed(config: Repository, place: str) -> str | None:
    return config.environments[place].services["db"].expose


def test_an_exposed_service_is_told_where_it_listens_and_none_is_restarted_that_is_not() -> None:
    [said] = parse(SERVICES % ("production", "expose: tcp/5432")).environments["production"].services.values()
    [bare] = parse(SERVICES % ("production", "")).environments["production"].services.values()
    assert ServiceSpec.told("place", "db", said).port == 5432
    assert settings(ServiceSpec.told("place", "db", said)) != settings(ServiceSpec.told("place", "db", bare))
    kept = ServiceSpec.told("place", "db", bare).model_dump(exclude_defaults=True)
    assert "port" not in kept, "the settings of services that run already do not change"


def test_a_services_port_is_the_default_branchs_in_previews_too_and_a_forks_has_none() -> None:
    ruling = parse(SERVICES % ("preview", "expose: tcp/5432"))
    bare = parse(SERVICES % ("preview", "env: {A: b}"))
    assert exposed(governed(ruling, bare), "preview") == "tcp/5432"
    assert governed(ruling, bare).environments["preview"].services["db"].env == {"A": "b"}
    assert exposed(governed(bare, ruling), "preview") is None
    plain = parse(SERVICES % ("preview", ""))
    assert unheard(plain, ruling) == ["environments.preview.services.db.expose"]
    assert unheard(ruling, plain) == [], "who says nothing of it is told nothing, as of any other key"
    assert exposed(strangers(ruling, ruling), "preview") is None
    main = parse(SERVICES % ("production", "expose: tcp/5432"))
    theirs = parse(SERVICES % ("production", "expose: tcp/22"))
    assert exposed(governed(main, theirs), "production") == "tcp/5432"


def test_an_instance_that_gives_no_ports_gives_services_none() -> None:
    ((key, why),) = exposing(parse(SERVICES % ("production", "expose: tcp/5432")))
    assert (key, "TCP_PORTS" in why) == ("environments.production.services.db.expose", True)
