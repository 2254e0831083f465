"""Which file says what: the default branch's decides, another commit's says how it is built and run."""

from __future__ import annotations

import pytest

from config.authority import BUILT, FETCHED, GIVEN, PREVIEWS, RUN, STRANGERS, governed, misnamed, unheard
from config.hosts import Rules
from config.repository import Environment, Image, Repository, parse

RULING = """
images:
  app: {tags: [latest], registries: [ghcr.io/acme], secrets: [TOKEN], timeout: 60}
  jobs: {dockerfile: jobs/Dockerfile, secrets: [KEY]}
environments:
  production: {image: app, gates: {approval: true}, deployers: [grace], secrets: [KEY], auth: {ada: PASSWORD}}
  queue: {image: jobs, branches: ["**"]}
pool: strong
concurrency: queue
"""
OWN = """
images:
  web: {dockerfile: D, tags: [latest], registries: [ghcr.io/acme], secrets: [STOLEN], ssh: STOLEN, timeout: 9}
environments:
  production: {image: web, command: [serve], env: {A: b}, secrets: [STOLEN], branch: evil, deployers: [eve]}
  madeup: {image: web, secrets: [STOLEN]}
pool: weak
checkout: {submodules: true}
notifications: {statuses: false}
"""

# Every key is here on purpose; a new one is the default branch's until somebody moves it.
DECIDED = {
    "branch", "branches", "tags", "on", "domain", "secrets", "drafts", "labels", "gates", "deployers",
    "host_mounts", "privileged", "host_network", "target", "networks", "auth", "freeze", "keep", "bases",
    "most", "runs_on", "tasks", "logs",
}  # fmt: skip


def test_every_key_is_the_default_branchs_or_a_commits_own() -> None:
    assert set(Environment.model_fields) == DECIDED | RUN | PREVIEWS
    assert {"services"} == PREVIEWS
    assert not DECIDED & RUN
    given = {"tags", "registries", "secrets", "ssh", "runs_on", "source", "tag", "check", "follow"}
    assert set(Image.model_fields) == given | BUILT
    assert set(Repository.model_fields) - FETCHED == {
        "images", "environments", "pool", "fork_pool", "jobs", "retries", "concurrency", "schedules",
        "notifications", "logs",
    }  # fmt: skip
    assert given == GIVEN
    assert STRANGERS < BUILT


def test_another_commits_file_says_how_it_is_built_and_run_and_nothing_else() -> None:
    ruling, own = parse(RULING), parse(OWN)

    made = governed(ruling, own)

    production = made.environments["production"]
    assert production.model_dump(include=set(RUN)) == own.environments["production"].model_dump(
        include=set(RUN)
    )
    assert production.model_dump(include=DECIDED) == ruling.environments["production"].model_dump(
        include=DECIDED
    )
    assert set(made.environments) == {"production", "queue"}, "what only the commit names is not there"
    assert (made.pool, made.concurrency, made.notifications.statuses) == ("strong", "queue", True)
    assert made.checkout.submodules


def test_an_image_of_its_own_has_nothing_that_the_default_branch_would_have_to_give_it() -> None:
    made = governed(parse(RULING), parse(OWN))

    web = made.images["web"]
    assert (web.dockerfile, web.timeout) == ("D", 9)
    assert (web.tags, web.registries, web.secrets, web.ssh) == ([], [], [], None)
    assert made.images["jobs"].secrets == ["KEY"], "what an environment of the default branch runs is there"
    assert made.image_of(made.environments["queue"]) == "jobs"
    assert "app" not in made.images, "nothing needs it"


def test_an_environment_that_only_the_default_branch_has_runs_the_image_that_it_has_there() -> None:
    made = governed(parse("images: {app: {}}\nenvironments: {canary: {}}\n"), parse("images: {web: {}}\n"))

    assert made.image_of(made.environments["canary"]) == "app"


SEVERAL = """
images: {app: {}, vault: {%s}, plain: {}}
environments: {staging: {image: app}, canary: {image: app}, other: {image: vault}}
"""


@pytest.mark.parametrize(
    "given", ["secrets: [KEY]", "ssh: KEY", "registries: [ghcr.io/acme]", "tags: [latest]"]
)
@pytest.mark.parametrize(
    "own",
    [
        "images: {app: {}, vault: {}}\nenvironments: {staging: {image: vault}, canary: {image: vault}}",
        "images: {vault: {}}\nenvironments: {staging: {}, canary: {}}",
        "images: {vault: {dockerfile: Evil}}\nenvironments: {staging: {}, canary: {image: vault}}",
    ],
)
def test_a_commit_has_no_environment_run_an_image_that_is_given_what_its_own_is_not(
    own: str, given: str
) -> None:
    ruling, commit = parse(SEVERAL % given), parse(own)

    made = governed(ruling, commit)

    runs = {name: made.image_of(place) for name, place in made.environments.items()}
    assert runs == {"staging": "app", "canary": "app", "other": "vault"}
    assert set(runs.values()) <= set(made.images)
    assert {"environments.staging.image", "environments.canary.image"} <= set(unheard(ruling, commit))


def test_a_commit_chooses_among_images_that_are_given_nothing_and_its_own() -> None:
    ruling = parse(SEVERAL % "secrets: [KEY]")
    for chosen in ("plain", "new"):
        own = parse(f"images: {{app: {{}}, {chosen}: {{}}}}\nenvironments: {{staging: {{image: {chosen}}}}}")

        made = governed(ruling, own)

        assert made.image_of(made.environments["staging"]) == chosen
        assert unheard(ruling, own) == []


@pytest.mark.parametrize("file", [None, RULING])
def test_the_same_file_is_the_same_and_has_nothing_unheard(file: str | None) -> None:
    config = parse(file)

    assert governed(config, config) == config
    assert unheard(config, config) == []


def test_what_does_not_count_is_named_by_its_key() -> None:
    assert set(unheard(parse(RULING), parse(OWN))) == {
        "pool",
        "notifications",
        "images.web.tags",
        "images.web.registries",
        "images.web.secrets",
        "images.web.ssh",
        "environments.production.secrets",
        "environments.production.branch",
        "environments.production.deployers",
        "environments.madeup",
    }


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ("production: {domain: www.shop.test}", ""),
        ("production: {domain: production.shop.test}", ""),
        ("production: {domain: '{environment}.{repository}.test'}", ""),
        ("preview: {domain: 'pr-{pr}.{repository}.test'}", ""),
        ("production: {domain: '{branch}.other.test'}", ""),  # what that gives is known when it is deployed
        ("production: {domain: production.other.test}", "production.domain: the host name production.other"),
        ("production: {}, a: {domain: production.shop.test}", "a.domain: the host name production.shop.test"),
        ("production: {domain: localhost}", "production.domain: localhost is an address"),
    ],
)
def test_a_file_is_told_early_which_names_it_must_not_have(keys: str, told: str) -> None:
    rules = Rules("{environment}.{repository}.test")

    said = misnamed(parse(f"environments: {{{keys}}}\n"), "acme/shop", rules)

    assert [told in line for line in said] == ([True] if told else [])
