"""Which jobs follow from an event and a repository's file."""

from __future__ import annotations

import pytest

from bot.decisions.events.push import skips
from bot.decisions.plan import deploy, merge_group, preview, preview_name, push, stop_preview, tag
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
    (build, _) = push(Repository(), branch, branch, SHA)

    assert build.spec["tags"] == [SHA, tag]


def test_a_branch_of_any_name_never_has_the_tag_of_a_git_tag() -> None:
    config = parse("environments: {staging: {branches: ['**'], tags: ['**'], on: [push, tag]}}\n")

    for name in ("v1.2.3", "nightly", "1", "é-v1", "tag-x", "x/y"):
        branches, git_tags = (
            jobs[0].spec["tags"] for jobs in (push(config, name, "main", SHA), tag(config, name, SHA))
        )
        assert len(branches) == len(git_tags) == 2, "each has one of its name"
        assert branches[1] != git_tags[1]


def test_a_branch_that_a_command_or_a_schedule_deploys_moves_what_its_push_would() -> None:
    config = parse("images: {app: {tags: [latest, '{branch}']}}\nenvironments: {production: {}}\n")

    assert deploy(config, "production", SHA, "main", None, "main")[0].spec["tags"] == [SHA, "latest", "main"]
    assert deploy(config, "production", SHA, "next", None, "main")[0].spec["tags"] == [SHA, "next"]
    assert deploy(config, "production", SHA, "next", 7, "main")[0].spec["tags"] == [SHA]


def test_a_build_of_a_head_is_known_by_the_environment_that_it_is_for() -> None:
    config = Repository()

    assert deploy(config, "production", SHA, "next", 7)[0].spec["environment"] == "production"
    assert "environment" not in deploy(config, "production", SHA, "main", None)[0].spec
    assert "environment" not in preview(config, 7, SHA)[0].spec


def test_a_merge_queues_image_has_a_name_of_its_own() -> None:
    assert merge_group(Repository(), SHA)[0].spec["tags"] == [SHA, f"queue-{SHA}"]


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
