"""Whose Compose file counts: as of a `.blacktree.yml`, the default branch's decides what others may have."""

from __future__ import annotations

from config.authority import governed, strangers, unheard
from config.importing.compose import found
from config.repository import Repository, parse

MAIN = """
services:
  app: {build: ., ports: [80], environment: [API_KEY]}
  db: {image: "postgres:17", environment: [POSTGRES_PASSWORD], volumes: ["data:/d"]}
"""
THEIRS = """
services:
  app:
    build: {context: ., dockerfile: Dockerfile.theirs, secrets: [NPM_TOKEN]}
    ports: [81]
    environment: [API_KEY, DEPLOY_KEY]
  db: {image: "postgres:18", environment: [POSTGRES_PASSWORD]}
  spy: {image: "spy:1"}
"""


def read(text: str) -> Repository:
    return found("compose.yaml", text, {}, lambda _: False).repository()


def test_another_branch_says_how_it_runs_and_gets_neither_secrets_nor_production_s_services() -> None:
    config = governed(read(MAIN), read(THEIRS))
    production, preview = config.environments["production"], config.environments["preview"]

    assert production.processes["web"].port == 81
    assert (production.secrets, preview.secrets) == (["API_KEY"], ["API_KEY"])
    assert {*production.services} == {"db"}
    assert production.services["db"].image == "postgres:17"
    assert {*preview.services} == {"db", "spy"}, "what ends with the pull request is its own"
    assert (config.images["app"].dockerfile, config.images["app"].secrets) == ("Dockerfile.theirs", [])
    assert {"environments.production.services", "images.app.secrets"} <= {*unheard(read(MAIN), read(THEIRS))}


def test_a_stranger_says_only_how_images_are_built() -> None:
    config = strangers(read(MAIN), read(THEIRS))

    assert config.environments == read(MAIN).environments
    assert (config.images["app"].dockerfile, config.images["app"].secrets) == ("Dockerfile.theirs", [])


def test_a_compose_file_that_a_branch_brings_along_gives_it_nothing_that_our_file_does_not() -> None:
    ruling = parse("environments: {production: {secrets: [A], branch: main}, preview: {secrets: [B]}}")
    config = governed(ruling, read(THEIRS))

    assert (config.environments["production"].secrets, config.environments["preview"].secrets) == (
        ["A"],
        ["B"],
    )
    assert config.environments["production"].services == {}
