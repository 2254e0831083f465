"""Kamal's `config/deploy.yml`, and what it means here."""

from __future__ import annotations

import pytest

from config.errors import ConfigError
from config.importing.kamal import found

TEXT = """
service: shop
image: acme/shop
servers:
  web:
    hosts: [192.0.2.1]
  job:
    hosts: [192.0.2.2]
    cmd: bin/jobs
    options: {memory: 1g, cpus: 2, network: host}
proxy:
  ssl: true
  host: shop.example.com
  app_port: 3000
  healthcheck: {path: /healthz}
registry: {server: ghcr.io, username: ada, password: [KAMAL_REGISTRY_PASSWORD]}
builder: {arch: amd64, args: {RUBY_VERSION: 3.4}, secrets: [NPM_TOKEN], dockerfile: docker/prod}
env:
  clear: {RAILS_LOG_TO_STDOUT: 1, DB_HOST: shop-db}
  secret: [RAILS_MASTER_KEY]
volumes: ["storage:/rails/storage", "/srv/x:/x"]
deploy_timeout: 90
drain_timeout: 20
retain_containers: 4
aliases: {console: app exec}
accessories:
  db:
    image: mysql:8.4
    host: 192.0.2.3
    port: "127.0.0.1:3306:3306"
    env: {clear: {MYSQL_DATABASE: shop}, secret: [MYSQL_ROOT_PASSWORD]}
    directories: [data:/var/lib/mysql]
    files: [config/my.cnf:/etc/mysql/my.cnf]
  cache: {image: redis:8, host: 192.0.2.3}
"""


def test_roles_become_processes_and_accessories_services() -> None:
    config = found("deploy.yml", TEXT).repository()
    production = config.environments["production"]

    assert (production.domain, production.port) == ("shop.example.com", 3000)
    assert (production.health.path, production.health.timeout) == ("/healthz", 90)
    assert (production.drain, production.keep) == (20, 4)
    assert production.env == {"RAILS_LOG_TO_STDOUT": "1", "DB_HOST": "shop-db"}
    assert production.secrets == ["RAILS_MASTER_KEY"]
    assert production.volumes == {"storage": "/rails/storage"}
    assert {*production.processes} == {"web", "job"}
    job = production.processes["job"]
    assert job.command == ["bin/jobs"]
    assert job.limits is not None
    assert (job.limits.memory, job.limits.cpus) == ("1g", 2)
    assert production.services["db"].generate == ["MYSQL_ROOT_PASSWORD"]
    assert production.services["db"].volumes == {"data": "/var/lib/mysql"}
    assert production.services["cache"].image == "redis:8"
    assert config.environments["preview"].domain is None, "each preview has a name of its own"
    image = config.images["app"]
    assert (image.dockerfile, image.args, image.platforms) == (
        "docker/prod",
        {"RUBY_VERSION": "3.4"},
        ["linux/amd64"],
    )
    assert image.secrets == ["NPM_TOKEN"]


@pytest.mark.parametrize(
    "told",
    [
        "deploy.yml:4: servers: workers ask for jobs",
        "deploy.yml:10: servers.job.options.network: is left out",
        "deploy.yml:16: registry: is left out: is the instance's setting REGISTRY",
        "deploy.yml:21: volumes: /srv/x of a host is not mounted: name a volume for /x",
        "deploy.yml:25: aliases: is left out",
        "deploy.yml:27: accessories.db: is reached as db, not as shop-db; its data is not moved",
        "deploy.yml:33: accessories.db.files: no file is mounted",
    ],
)
def test_what_is_left_out_is_told_with_its_line(told: str) -> None:
    lines = found("deploy.yml", TEXT).left_out

    assert [line for line in lines if line.startswith(told)], lines


def test_servers_without_roles_are_the_environment_itself() -> None:
    production = found("deploy.yml", "{service: a, image: a/a, servers: [192.0.2.1]}").data["environments"]

    assert production["production"] == {"port": 80, "health": {"path": "/up"}}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1", "must be a mapping with `service` and `image`"),
        ("service: a\nimage: b\nenv: {A: <%= x %>", "ERB"),
        ("[", "deploy.yml:1: is not YAML"),
    ],
)
def test_what_cannot_be_read_is_told(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        found("deploy.yml", text)

    assert told in str(caught.value)


@pytest.mark.parametrize("value", ["[]", "{}", "text", "[[]]", "[{}]", "{a: {b: []}}", "", "1"])
@pytest.mark.parametrize(
    "key",
    ["servers", "proxy", "builder", "env", "volumes", "accessories", "deploy_timeout", "registry"],
    ids=str,
)
def test_whatever_stands_there_is_read_or_told_of(key: str, value: str) -> None:
    said = found("deploy.yml", f"{{service: a, image: b, {key}: {value}}}")

    assert said.file == "deploy.yml"
