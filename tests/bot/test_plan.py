"""Which jobs follow from an event and a repository's file."""

from __future__ import annotations

import pytest

from bot.events.push import skips
from bot.plan import preview, preview_name, push, stop_preview, tags
from config.repository import Repository, parse
from workers.contract.messages import Kind

SHA = "a" * 40
SEVERAL = parse(
    "images: {web: {}, jobs: {dockerfile: Dockerfile.jobs}}\n"
    "environments:\n"
    "  production: {image: web}\n"
    "  queue: {image: jobs}\n"
    "  mirror: {image: web, limits: {memory: 1g}}\n"
    "  staging: {image: web, branch: next}\n"
)


def shape(jobs: list[object]) -> list[tuple[object, ...]]:
    return [tuple(getattr(job, name) for name in ("kind", "name", "context", "needs")) for job in jobs]


def test_a_push_to_the_default_branch_builds_and_deploys() -> None:
    assert shape([*push(Repository(), "main", "main", SHA)]) == [
        (Kind.BUILD, "app", "blacktree/build", ()),
        (Kind.DEPLOY, "production", "blacktree/deploy (production)", (0,)),
    ]


@pytest.mark.parametrize(
    ("branch", "places"),
    [
        ("main", ["production", "queue", "mirror"]),
        ("next", ["staging"]),
        ("feature", []),
        ("Main", []),
        ("preview", []),
    ],
)
def test_a_push_reaches_the_environments_that_want_its_branch(branch: str, places: list[str]) -> None:
    jobs = push(SEVERAL, branch, "main", SHA)

    assert [job.name for job in jobs if job.kind is Kind.DEPLOY] == places
    assert bool(jobs) is bool(places)


def test_each_image_is_built_once_and_only_where_it_is_needed() -> None:
    assert shape([*push(SEVERAL, "main", "main", SHA)]) == [
        (Kind.BUILD, "web", "blacktree/build (web)", ()),
        (Kind.BUILD, "jobs", "blacktree/build (jobs)", ()),
        (Kind.DEPLOY, "production", "blacktree/deploy (production)", (0,)),
        (Kind.DEPLOY, "queue", "blacktree/deploy (queue)", (1,)),
        (Kind.DEPLOY, "mirror", "blacktree/deploy (mirror)", (0,)),
    ]
    assert [job.name for job in push(SEVERAL, "next", "main", SHA)] == ["web", "staging"]


def test_a_pull_request_has_an_environment_of_its_own() -> None:
    build, deploy = preview(Repository(), 42, SHA)

    assert (build.context, build.spec["tags"]) == ("blacktree/build", [SHA, "pr-42"])
    assert (deploy.name, deploy.environment, deploy.needs) == ("pr-42", "pr-42", (0,))
    assert deploy.context == "blacktree/deploy (preview)"


def test_without_a_preview_in_the_file_a_pull_request_has_none() -> None:
    assert preview(SEVERAL, 42, SHA) == []


def test_production_settings_do_not_reach_a_preview() -> None:
    config = parse("environments: {production: {env: {KEY: live}}, preview: {env: {MODE: test}}}\n")

    assert preview(config, 1, SHA)[1].spec["env"] == {"MODE": "test"}


def test_a_closed_pull_request_is_stopped_without_a_status() -> None:
    assert shape([*stop_preview(42)]) == [(Kind.STOP, "pr-42", "", ())]
    assert stop_preview(42)[0].environment == preview_name(42)


def test_a_deploys_memory_is_told_in_bytes() -> None:
    mirror = push(SEVERAL, "main", "main", SHA)[-1]

    assert mirror.spec["limits"] == {"memory": 1024**3, "cpus": 1.0, "pids": 512}


@pytest.mark.parametrize(
    ("branch", "tag"),
    [
        ("main", "main"),
        ("feature/x", "feature-x"),
        ("release-1.2_3", "release-1.2_3"),
        ("-.odd", "odd"),
        ("über/ä", "ber-"),
        ("日本", "branch"),
        ("b" * 200, "b" * 128),
        ("a@{b}~c", "a-b-c"),
    ],
)
def test_a_branch_is_spelt_as_a_tag_can(branch: str, tag: str) -> None:
    assert tags(SHA, branch) == [SHA, tag]


@pytest.mark.parametrize(
    ("message", "skipped"),
    [
        ("Fix it [skip ci]", True),
        ("[CI SKIP] Fix it", True),
        ("Fix it\n\n[no ci]", True),
        ("Fix it\n\nskip-checks: true", True),
        ("Fix it\n\nskip-checks:true\n", True),
        ("Fix it", False),
        ("skip ci", False),
        ("Explain why skip-checks: true does it", False),
        ("", False),
    ],
)
def test_a_commit_that_says_so_is_skipped(message: str, skipped: bool) -> None:
    assert skips(message) is skipped
