"""Services in `.blacktree.yml`: short forms, faults that name the key, and whose word counts."""

from __future__ import annotations

import pytest

from config.authority import governed, strangers, unheard
from config.errors import ConfigError
from config.repository import parse
from config.services import Service, filled

PLACE = "environments:\n  production:\n    services: {services}\n"


def faults(services: str, more: str = "") -> str:
    with pytest.raises(ConfigError) as caught:
        parse(PLACE.format(services=services) + more)
    return str(caught.value)


def test_an_image_alone_is_a_service_and_a_command_alone_its_health_check() -> None:
    file = PLACE.format(services="{cache: redis:8, db: {image: postgres:17, healthcheck: pg_isready -q}}")
    cache, db = parse(file).environments["production"].services.values()
    assert (cache.image, cache.healthcheck, cache.generate, cache.limits.memory) == (
        "redis:8",
        None,
        [],
        "512m",
    )
    assert db.healthcheck is not None
    assert (db.healthcheck.command, db.healthcheck.timeout) == (["pg_isready", "-q"], 120)


@pytest.mark.parametrize(
    ("services", "told"),
    [
        (
            "{db: {image: postgres:17, provids: {}}}",
            "services.db.provids: there is no such key. Did you mean provides?",
        ),
        ("{db: {image: postgres:17, backup: {}}}", "services.db.backup.command: is missing"),
        ("{db: }", "services.db.image: is missing"),
        ("{db: Postgres 17}", "services.db.image: must be an image in a registry, such as postgres:17"),
        ("{db: 'https://ghcr.io/a'}", "services.db.image: must be an image in a registry"),
        ("{DB: redis}", "services.DB: must have small letters"),
        ("{production: redis}", "services.production: is the name that an environment's own containers have"),
        ("{pr-7: redis}", "services.pr-7: is the name that an environment's own containers have"),
        (
            "{db: {image: a, generate: [PASSWORD], provides: {URL: 'x{PASWORD}'}}}",
            "provides.URL: there is no {PASWORD}. Known are PASSWORD. Did you mean PASSWORD?",
        ),
        ("{db: {image: a, provides: {URL: '{X}'}}}", "there is no {X}. Name it in `generate` or `env`."),
        ("{db: {image: a, provides: {URL: '}'}}}", "provides.URL: a } stands alone: write }}"),
        ("{db: {image: a, env: {A: b}, generate: [A]}}", "generate.0: A is there twice"),
        ("{db: {image: a, volumes: {x: /d, y: /d}}}", "services.db.volumes: two of them are at /d"),
        ("{db: {image: a, seed: ./seed}}", "services.db.seed: fills what is made anew for each pull request"),
        (
            "{a: {image: a, provides: {URL: x}}, b: {image: b, provides: {URL: y}}}",
            "services.a.provides.URL: another service says it as well",
        ),
        ("{db: {image: a, healthcheck: {}}}", "services.db.healthcheck.command: is missing"),
    ],
)
def test_a_fault_names_its_key_and_what_to_write(services: str, told: str) -> None:
    assert told in faults(services)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("    env: {URL: x}\n", "provides.URL: the environment's env says it as well"),
        ("    processes: {worker: {env: {URL: x}}}\n", "URL: the env of process worker says it as well"),
        ("    processes: {db: [./work]}\n", "services.db: is the name that a process is reached by"),
        ("    secrets: [URL]\n", "provides.URL: the environment's secrets says it as well"),
        ("    target: swarm\n", "services: run beside containers, not on a swarm"),
        ("    host_network: true\n", "services: are reached on the environment's own network"),
    ],
)
def test_what_does_not_go_together_is_told(more: str, told: str) -> None:
    assert told in faults("{db: {image: a, provides: {URL: y}}}", more)


def test_a_process_is_reached_by_its_environments_name_too() -> None:
    told = "services.production-db: is the name that a process is reached by: name one of the two otherwise"
    assert told in faults("{production-db: redis:8}", "    processes: {db: [./work]}\n")


def test_a_seed_runs_in_an_image_that_must_be_said_where_no_process_runs_in_it() -> None:
    file = """
images: {web: {}, api: {}}
environments:
  preview:
    processes: {web: {image: web}, api: {image: api, path: /api}}
    services: {db: {image: postgres:17SEED}}
"""
    assert parse(file.replace("SEED", "")).environments["preview"].image is None
    with pytest.raises(ConfigError, match=r"environments\.preview\.image: say which of web, api it runs"):
        parse(file.replace("SEED", ", seed: ./seed.sh"))


def test_a_preview_may_be_seeded() -> None:
    file = "environments:\n  preview:\n    services: {db: {image: postgres:17, seed: ./seed.sh}}\n"
    seed = parse(file).environments["preview"].services["db"].seed
    assert seed is not None
    assert (seed.command, seed.source) == (["./seed.sh"], None)


FILLED = """
environments:
  production:
    services:
      db:
        image: postgres:17
        backup: {cron: 30 2 * * *, command: pg_dump -U postgres, restore: [psql], keep: 3}
      bare: {image: postgres:17, backup: {command: [dump]}}
      cache: redis:8
  preview:
    services: {SERVICE: {image: postgres:17, seed: SEED}}
"""


def filled_preview(seed: str, service: str = "db") -> str:
    return FILLED.replace("SERVICE", service).replace("SEED", seed)


def test_a_preview_may_be_filled_from_a_backup_that_is_scrubbed_or_said_to_need_none() -> None:
    file = parse(filled_preview("{from: production, scrub: ./scrub.sh --all}"))
    backup = file.environments["production"].services["db"].backup
    assert backup is not None
    assert (backup.command, backup.restore, backup.keep) == (["pg_dump", "-U", "postgres"], ["psql"], 3)
    for said, scrub in (("./scrub.sh --all", ["./scrub.sh", "--all"]), ("false", False), ("no", False)):
        file = parse(filled_preview(f"{{from: production, scrub: {said}}}"))
        seed = file.environments["preview"].services["db"].seed
        assert seed is not None
        assert (seed.source, seed.scrub) == ("production", scrub)
        kept = file.environments["preview"].services["db"].model_dump(mode="json")
        assert Service.model_validate(kept).seed == seed, "as the store keeps it"


@pytest.mark.parametrize(
    ("seed", "service", "told"),
    [
        (
            "{from: production}",
            "db",
            "seed.scrub: is missing: say which command in the service's container makes the data of"
            " production fit for previews, or `scrub: false` if it may be there as it is",
        ),
        ("{from: production, scrub: }", "db", "seed.scrub: is missing"),
        (
            "{from: production, scrub: []}",
            "db",
            "seed.scrub: must be a command (no shell reads it), or false",
        ),
        ("{from: production, scrub: true}", "db", "seed.scrub: must be a command"),
        ("{from: production, scrub: a | b}", "db", "seed.scrub: must be a command (no shell reads it)"),
        (
            "{from: prodction, scrub: false}",
            "db",
            "there is no environment prodction to take it from. Did you",
        ),
        ("{from: preview, scrub: false}", "db", "seed.from: there is no environment preview to take it from"),
        (
            "{from: production, scrub: false}",
            "cache",
            "seed.from: production has no service cache with a `back",
        ),
        ("{from: production, scrub: false}", "other", "production has no service other with a `backup`"),
        ("{from: production, scrub: false}", "bare", "the `backup` of bare in production has no `restore`"),
        ("{from: production, scrub: [a], command: [b]}", "db", "seed.command: and `from` both fill it"),
        ("{scrub: [a], command: [b]}", "db", "seed.scrub: is for what comes from a backup"),
        ("{}", "db", "seed: says neither a command nor `from`"),
        ("{form: production}", "db", "seed.form: there is no such key. Did you mean from?"),
    ],
)
def test_data_of_production_never_comes_to_previews_by_a_word_that_was_forgotten(
    seed: str, service: str, told: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(filled_preview(seed, service))
    assert told in str(caught.value)


def test_what_ends_with_its_pull_request_has_no_backups() -> None:
    file = "environments:\n  preview:\n    services: {db: {image: a, backup: {command: [dump]}}}\n"
    with pytest.raises(ConfigError, match=r"services\.db\.backup: a preview ends with its pull request"):
        parse(file)


def test_who_pushes_a_branch_neither_fills_a_preview_from_production_nor_changes_what_is_filled() -> None:
    ruling = parse(filled_preview("{from: production, scrub: [./scrub.sh]}"))
    for own in (
        filled_preview("{from: production, scrub: false}"),
        filled_preview("[./steal]"),
        filled_preview("{from: production, scrub: [./scrub.sh]}").replace(
            "{db: {image: pos", "{db: {image: evil/pos"
        ),
    ):
        made = governed(ruling, parse(own))
        assert made.environments["preview"].services == ruling.environments["preview"].services
        assert unheard(ruling, parse(own)) == ["environments.preview.services.db"]
    bare = parse(FILLED.replace("SERVICE: {image: postgres:17, seed: SEED}", "db: postgres:17"))
    wanted = parse(filled_preview("{from: production, scrub: false}"))
    assert governed(bare, wanted).environments["preview"].services["db"].seed is None
    assert unheard(bare, wanted) == ["environments.preview.services.db"]
    assert governed(ruling, bare).environments["preview"].services["db"].seed is not None
    none = parse(FILLED.replace("SERVICE: {image: postgres:17, seed: SEED}", ""))
    assert governed(ruling, none).environments["preview"].services == {}


def test_doubled_braces_stand_for_themselves() -> None:
    assert filled("{{{A}}} {A}{B_2}", {"A": "x", "B_2": "y{A}"}) == "{x} xy{A}"


RULING = """
environments:
  production: {services: {db: postgres:17}}
  preview: {services: {db: postgres:17}, processes: {web: [./serve]}}
"""
OWN = """
environments:
  production: {services: {db: {image: evil:1, env: {A: b}}, more: evil:2}, processes: {clock: [./tick]}}
  preview: {services: {db: postgres:18, search: opensearch:2}, processes: {clock: [./tick]}}
"""


def test_services_of_a_named_environment_are_the_default_branchs_and_a_previews_its_commits() -> None:
    ruling, own = parse(RULING), parse(OWN)
    made = governed(ruling, own)
    assert made.environments["production"].services == ruling.environments["production"].services
    assert made.environments["preview"].services == own.environments["preview"].services
    assert all(list(place.processes) == ["clock"] for place in made.environments.values())
    assert unheard(ruling, own) == ["environments.production.services"]


def test_a_forks_file_says_nothing_of_services() -> None:
    assert strangers(parse(RULING), parse(OWN)).environments == parse(RULING).environments
