"""Compose files as they are written, and what they mean here."""

from __future__ import annotations

from typing import Any

import pytest

from config.errors import ConfigError
from config.importing.compose import asked, found
from config.importing.found import Found
from config.processes import processes

HERE = frozenset({"compose.yaml", "src", "Dockerfile"})


def read(text: str, files: dict[str, str] | None = None) -> Found:
    return found("compose.yaml", text, files or {}, lambda path: path.partition("/")[0] in HERE)


def place(text: str, files: dict[str, str] | None = None) -> dict[str, Any]:
    """The production environment that a file means, which is a valid one."""
    said = read(text, files)
    assert said.faults == []
    said.repository()
    environment: dict[str, Any] = said.data["environments"]["production"]
    return environment


def services(*lines: str) -> str:
    return "services:\n" + "\n".join(f"  {line}" for line in lines)


TYPICAL = """
name: shop
x-app: &app
  build: .
  environment: &env
    DATABASE_URL: postgres://postgres:${POSTGRES_PASSWORD}@db/shop
    SECRET_KEY: ${SECRET_KEY:?make one}
    LOG_LEVEL: ${LOG_LEVEL:-info}
services:
  app:
    <<: *app
    ports: ["127.0.0.1:8080:3000"]
    volumes: ["uploads:/srv/uploads"]
    depends_on: {db: {condition: service_healthy}, migrate: {condition: service_completed_successfully}}
    healthcheck:
      {test: [CMD, curl, -f, localhost:3000/healthz], start_period: 1m30s, interval: 5s, timeout: 2s}
    deploy: {replicas: 2, resources: {limits: {memory: 1.5g, cpus: "0.5", pids: 100}}}
    stop_grace_period: 1m
  worker:
    <<: *app
    command: celery -A shop worker
    mem_limit: 256m
  migrate:
    <<: *app
    command: [./manage.py, migrate]
  db:
    image: postgres:${PG:-17}
    environment: {POSTGRES_PASSWORD: "${POSTGRES_PASSWORD}", POSTGRES_DB: shop}
    volumes: [db_data:/var/lib/postgresql/data]
    healthcheck: {test: pg_isready -U postgres, interval: 10s}
  adminer: {image: adminer, profiles: [dev]}
volumes: {uploads: , db_data: }
"""


def test_what_is_built_becomes_processes_and_all_else_services() -> None:
    config = read(TYPICAL).repository()
    production = config.environments["production"]
    meant = {one.name: one for one in processes(production, config.image_of(production))}

    assert {*config.images} == {"app"}, "what is built alike is built once"
    assert {*meant} == {"web", "worker"}
    assert {*production.services} == {"db"}
    assert config.environments["preview"] == production
    web = meant["web"]
    assert (web.port, web.served, web.replicas, web.grace) == (3000, True, 2, 60)
    assert (web.limits.memory, web.limits.cpus, web.limits.pids) == ("1536m", 0.5, 100)
    assert (web.health.command, web.health.timeout) == (["curl", "-f", "localhost:3000/healthz"], 111)
    assert meant["worker"].command == ["celery", "-A", "shop", "worker"]
    assert meant["worker"].limits.memory == "256m"
    assert not meant["worker"].listens
    assert production.volumes == {"uploads": "/srv/uploads"}
    assert production.release_command == ["./manage.py", "migrate"], "others wait for its end"


def test_a_service_s_password_without_a_value_is_made_and_told_to_what_is_built() -> None:
    production = place(TYPICAL)
    db = production["services"]["db"]

    assert db["image"] == "postgres:17"
    assert db["generate"] == ["POSTGRES_PASSWORD"]
    assert db["env"] == {"POSTGRES_DB": "shop"}
    assert db["provides"] == {"DATABASE_URL": "postgres://postgres:{POSTGRES_PASSWORD}@db/shop"}
    assert db["healthcheck"]["command"] == ["sh", "-c", "pg_isready -U postgres"]
    assert production["secrets"] == ["SECRET_KEY"], "what nobody makes, somebody sets"
    assert production["processes"]["web"]["env"] == {"LOG_LEVEL": "info"}


def test_a_password_that_is_made_and_told_to_nobody_is_left_out_with_its_name() -> None:
    db = "db: {image: postgres:17, environment: {POSTGRES_PASSWORD: '${DB_PASSWORD}'}}"

    untold = read(services("web: {build: .}", db))
    told = read(services("web: {build: ., environment: [DB_PASSWORD]}", db))

    [line] = untold.left_out
    assert line.startswith("compose.yaml:3: services.db.environment.POSTGRES_PASSWORD: is made here")
    assert "name DB_PASSWORD" in line
    assert told.left_out == []


def test_all_that_is_left_out_is_told_by_line_and_key() -> None:
    assert read(TYPICAL).left_out == [
        "compose.yaml:31: services.adminer: is left out: it has the profile dev,"
        " which COMPOSE_PROFILES in .env would start",
        "compose.yaml:10: services.app: is called web here since visitors reach it:"
        " the others reach it as web",
        "compose.yaml:12: services.app.ports.0:"
        " visitors reach 3000 by the environment's host name: no port 8080 is opened",
    ]


@pytest.mark.parametrize(
    ("lines", "web", "port"),
    [
        (["a: {build: a, ports: [80]}", "b: {build: b, ports: [81]}"], "a", 80),
        (["a: {build: a}", "b: {build: b, ports: ['81']}"], "b", 81),
        (["a: {build: a, ports: [80]}", "b: {build: b, labels: [blacktree.web], ports: [1:81]}"], "b", 81),
        (["a: {build: a, ports: [80]}", "b: {build: b, labels: {blacktree.web: 9000}}"], "b", 9000),
        (["a: {build: a, ports: [80]}", "b: {build: b, labels: [blacktree.web=false], ports: [2]}"], "a", 80),
        (["a: {build: a, ports: [80]}", "web: {build: b, ports: [81]}"], "web", 81),
        (["a: {build: a}", "b: {build: b, expose: [8000]}"], "b", 8000),
        (["a: {build: a, ports: ['53:53/udp', '8080:80']}", "b: {build: b}"], "a", 80),
        (["a: {build: a, ports: [{target: 80, published: '8080'}]}"], "a", 80),
        (["a: {build: a}"], "a", None),
    ],
)
def test_visitors_reach_what_is_labelled_or_published_first(
    lines: list[str], web: str, port: int | None
) -> None:
    said = place(services(*lines))["processes"]["web"]

    assert said.get("port") == port
    assert read(services(*lines)).data["images"][said.get("image", web)]["context"] == {"web": "b"}.get(
        web, web
    )


def test_who_runs_an_image_that_another_one_builds_is_a_process_of_it() -> None:
    text = services(
        "app: {build: ., image: acme/shop, ports: [80]}", "clock: {image: acme/shop, command: ./clock}"
    )

    assert place(text)["processes"]["clock"] == {"command": ["./clock"]}


def test_what_is_built_and_keeps_data_never_runs_beside_its_predecessor() -> None:
    db = "db: {build: db, volumes: ['data:/var/lib/postgresql/data']}"
    text = services("web: {build: ., ports: [80], volumes: ['up:/up']}", db, "clock: {build: .}")

    overlaps = {name: one.get("overlap", True) for name, one in place(text)["processes"].items()}
    assert overlaps == {"web": True, "db": False, "clock": True}


def test_paths_of_an_image_are_the_repository_s() -> None:
    text = services(
        "web: {build: {context: ./web, dockerfile: docker/prod, target: run, args: [A=1, B=2]}, ports: [1]}"
    )

    assert read(text).data["images"] == {
        "web": {
            "context": "web",
            "dockerfile": "web/docker/prod",
            "target": "run",
            "args": {"A": "1", "B": "2"},
        }
    }


def test_variables_come_from_env_files_of_the_repository() -> None:
    text = services("web: {build: ., ports: [$PORT], env_file: [./app.env], environment: {B: own, C: , D: }}")
    files = {".env": "PORT=81\nC=of the file\n", "app.env": "A=${PORT}\nB=other\n"}

    assert asked("compose.yaml", text) == [".env", "app.env"]
    web = place(text, files)["processes"]["web"]
    assert web["port"] == 81
    assert web["env"] == {"A": "81", "B": "own", "C": "of the file"}
    assert place(text, files)["secrets"] == ["D"]


def test_a_service_extends_another_of_the_file() -> None:
    text = services(
        "base: {build: ., environment: {A: 1, B: 2}, expose: [1]}",
        "web: {extends: {service: base}, environment: {B: 3}, ports: [80]}",
    )

    assert place(text)["processes"]["web"]["env"] == {"A": "1", "B": "3"}


def test_a_profile_that_the_repository_s_env_names_is_active() -> None:
    text = services("web: {build: ., ports: [80]}", "cache: {image: redis:8, profiles: [all]}")

    assert "services" not in place(text)
    assert place(text, {".env": "COMPOSE_PROFILES=all,more"})["services"] == {"cache": {"image": "redis:8"}}


@pytest.mark.parametrize(
    ("service", "key", "told"),
    [
        ("{build: ., privileged: true}", "privileged", "only for repositories that the instance trusts"),
        (
            "{build: ., network_mode: host}",
            "network_mode",
            "`host_network: true`; to be reached, `ports` will do",
        ),
        ("{build: ., network_mode: 'service:db'}", "network_mode", "one network of its own"),
        ("{build: ., cap_add: [NET_ADMIN]}", "cap_add", "trusts"),
        ("{build: ., devices: [/dev/kvm]}", "devices", "runs_on"),
        ("{build: ., pid: host}", "pid", "trusts"),
        ("{build: ., entrypoint: [x]}", "entrypoint", "ENTRYPOINT in the Dockerfile"),
        ("{build: ., working_dir: /x}", "working_dir", "WORKDIR in the Dockerfile"),
        ("{build: ., secrets: [key]}", "secrets", "name it in `environment` without a value"),
        ("{build: ., configs: [key]}", "configs", "COPY it"),
        ("{build: ., deploy: {mode: global}}", "deploy.mode", "write `replicas`"),
        ("{build: ., volumes: ['/srv/data:/data']}", "volumes.0", "name a volume (`data:/data`)"),
        ("{build: ., volumes: ['./data:/data']}", "volumes.0", "name a volume (`data:/data`)"),
        ("{build: ., volumes: ['~/x:/data']}", "volumes.0", "`host_mounts` in a .blacktree.yml"),
        ("{build: ., volumes: ['../x:/data']}", "volumes.0", "is not mounted"),
        ("{build: ., volumes: ['/var/run/docker.sock:/s']}", "volumes.0", "the whole worker"),
        ("{build: ., ports: ['3000-3005:3000-3005']}", "ports.0", "each of a range"),
        ("{build: {context: ., dockerfile_inline: FROM x}}", "build.dockerfile_inline", "into a file"),
        ("{build: {context: 'https://github.com/a/b'}}", "build.context", "another repository"),
        ("{build: {additional_contexts: {a: b}}}", "build.additional_contexts", "one context"),
        ("{build: {args: [A]}}", "build.args.A", "has no value"),
        ("{build: ., command: [$GONE]}", "command.0", "GONE has no value: write ${GONE:-VALUE}"),
        (
            "{build: ., environment: {A: 'x-${GONE:?ask ada}'}}",
            "environment.A",
            "GONE has no value (ask ada)",
        ),
        ("{build: ., environment: {A: '$GONE'}}", "environment.A", "write A without a value"),
        ("{build: ., environment: {A: '${'}}", "environment.A", "write $$ for a $"),
        ("{build: ., env_file: secret.env}", "env_file", "{path: secret.env, required: false}"),
        ("{build: ., extends: {file: x.yaml, service: a}}", "extends", "other files are not read"),
        (
            "{build: ., extends: {service: wub}}",
            "extends",
            "there is no service wub to extend. Did you mean web?",
        ),
        ("{build: ., mem_limit: lots}", "mem_limit", "must be a size"),
        ("{build: ., healthcheck: {test: [x]}}", "healthcheck", "must begin with CMD"),
        ("{build: ., labels: [blacktree.web=maybe]}", "labels", "blacktree.web must be true, or the port"),
        ("[build]", "", "must be a mapping"),
    ],
)
def test_what_cannot_be_done_here_is_told_with_what_to_write_instead(
    service: str, key: str, told: str
) -> None:
    faults = read(services(f"web: {service}")).faults

    where = f"services.web.{key}" if key else "services.web"
    assert [one for one in faults if one.startswith(f"compose.yaml:2: {where}: ") and told in one], faults


@pytest.mark.parametrize(
    ("service", "told"),
    [
        (
            "{image: postgres, volumes: ['./init.sql:/docker-entrypoint-initdb.d/a.sql']}",
            "a `build` that COPYs them",
        ),
        ("{image: postgres, environment: {POSTGRES_USER: $WHO}}", "WHO has no value"),
        ("{image: 'a b'}", "must be an image in a registry"),
        ("{command: x}", "has neither `build` nor `image`"),
        ("{image: x, labels: [blacktree.web]}", "is for what is built here"),
        ("{image: x, volumes: ['shared:/x']}", "what is built shares volumes with nobody else"),
    ],
)
def test_what_a_service_cannot_have_is_told(service: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(services("web: {build: ., ports: [80], volumes: ['shared:/s']}", f"db: {service}")).repository()

    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("service", "told"),
    [
        (
            "{build: ., volumes: ['.:/app', ./src:/app/src, /app/node_modules]}",
            "with this commit's files in it",
        ),
        ("{build: ., hostname: x}", "others reach it by its service's name"),
        ("{build: ., tmpfs: /tmp}", "is left out"),
        ("{build: ., privileges: x}", "is not known here, and left out. Did you mean privileged?"),
        ("{build: ., ports: ['80', '81']}", "visitors do not reach 81"),
        ("{build: ., restart: 'no'}", "is started again"),
    ],
)
def test_what_matters_less_is_left_out_and_told(service: str, told: str) -> None:
    said = read(services(f"web: {service}"))

    said.repository()
    assert said.faults == []
    assert any(told in line for line in said.left_out), said.left_out


@pytest.mark.parametrize(
    "service",
    [
        "{build: ., container_name: x, networks: [a], init: true, tty: true, logging: {a: b}, x-mine: 1}",
        "{build: ., privileged: false, network_mode: bridge, entrypoint: , cap_add: []}",
        "{build: {context: ., cache_from: [x]}, pull_policy: always, develop: {watch: []}, restart: always}",
    ],
)
def test_what_holds_here_anyway_is_not_worth_a_word(service: str) -> None:
    said = read(services(f"web: {service}"))

    assert (said.faults, said.left_out) == ([], [])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1", "compose.yaml:1: must be a mapping with `services` in it"),
        ("services: {", "compose.yaml:1: is not YAML"),
        ("services: {a: !!python/none x}", "compose.yaml:1: the tag"),
        ("", "compose.yaml:1: must be"),
        (services("db: {image: postgres}"), "nothing is built here"),
        ("include: [x]\n" + services("web: {build: .}"), "include: other files are not read"),
        (services("web: {build: .}", "web_: {build: .}"), "would be called web"),
        (services("a: {build: ., ports: [1]}", "web: {build: .}"), "would be called web, as another is"),
        (services("a: {build: ., user: x}", "b: {build: .}"), "say it in the Dockerfile"),
        (
            services(
                "a: {build: ., depends_on: {b: {condition: service_completed_successfully}}}", "b: {build: .}"
            ),
            "write the `command` that runs once",
        ),
        (
            services("a: {build: ., volumes: ['v:/a']}", "b: {build: ., volumes: ['v:/b']}"),
            "mount it at one path",
        ),
        ("volumes: {v: {external: true}}\n" + services("a: {build: .}"), "leave `external` out"),
    ],
)
def test_a_file_that_cannot_be_run_says_why(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text).repository()

    assert told in str(caught.value)


def test_what_grows_by_extending_or_by_variables_is_bounded() -> None:
    many = services("base: {build: .}", *(f"s{number}: {{extends: base}}" for number in range(64)))
    large = services(f"web: {{build: ., command: ['{'$A' * 4000}']}}")

    assert told(many) == "compose.yaml: has over 64 services"
    assert "becomes longer than 8192 characters" in told(large, {".env": f"A={'x' * 8000}"})
    assert ".env is over 65536 bytes" in told(services("web: {build: .}"), {".env": "x" * 70_000})
    odd = services("web: {build: ., " + ", ".join(f"odd{number}: 1" for number in range(2000)) + "}")
    assert len(read(odd).left_out) == 2000
    refused = services("web: {build: ., volumes: [" + ", ".join("/x:/y" for _ in range(60)) + "]}")
    assert told(refused).splitlines()[-1] == "compose.yaml: and 10 more faults"


KEYS = (
    "build command deploy depends_on env_file environment expose extends healthcheck image labels profiles"
    " ports restart user volumes networks network_mode secrets platform stop_grace_period"
)


def told(text: str, files: dict[str, str] | None = None) -> str:
    """What is told of a file; empty if it can be run."""
    try:
        read(text, files).repository()
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "value",
    ["[]", "{}", "text", "[[]]", "[{}]", "{a: {b: []}}", "{a: }", "1", "", "[1, x, {}]", "{d: {d: [[[]]]}}"],
)
def test_whatever_stands_there_is_read_or_told_of_and_nothing_breaks(value: str) -> None:
    """A file is anybody's: it may never be what a bot stumbles over."""
    tried = [f"services: {value}", f"services: {{web: {value}}}", f"volumes: {value}\nservices: {{}}"]
    for key in KEYS.split():
        tried += [services(f"web: {{{one}, {key}: {value}}}") for one in ("build: .", "image: x", "x-none: ")]

    assert {told(text).partition(":")[0] for text in tried} <= {"", "compose.yaml"}
