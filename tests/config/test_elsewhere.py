"""Images that are built elsewhere: what a file may say of them, and which tag a commit's has."""

from __future__ import annotations

import pytest

from config import elsewhere
from config.authority import governed, unheard
from config.errors import ConfigError
from config.repository import Image, parse
from config.tags import Names

SHA = "0123456789abcdef0123456789abcdef01234567"
MAIN = Names(SHA, "main", branch="main", default_branch="main")
SLASHED = Names(SHA, "fix/a b", branch="fix/a b")
TAGGED = Names(SHA, "v1.2", tag="v1.2")
PULL = Names(SHA, "pr-7", pr=7)


def image(said: str) -> Image:
    return parse(f"images: {{app: {{from: ghcr.io/acme/app, {said}}}}}").images["app"]


@pytest.mark.parametrize(
    ("tag", "names", "expected"),
    [
        ("", MAIN, SHA),
        ("tag: '{short_sha}'", MAIN, SHA[:7]),
        ("tag: 'sha-{short_sha}'", PULL, f"sha-{SHA[:7]}"),
        ("tag: ['{tag}', '{sha}']", TAGGED, "v1.2"),
        ("tag: ['{tag}', '{sha}']", MAIN, SHA),
        ("tag: ['{branch}', '{sha}'], check: build", SLASHED, "fix-a-b"),
        ("tag: ['pr-{pr}', '{sha}'], check: build", PULL, "pr-7"),
        ("tag: ['pr-{pr}', '{sha}'], check: build", MAIN, SHA),
        ("tag: stable", MAIN, "stable"),
    ],
)
def test_the_first_template_with_a_value_is_a_commits_tag(tag: str, names: Names, expected: str) -> None:
    assert elsewhere.tag(image(tag), names) == expected


@pytest.mark.parametrize(
    ("tag", "names", "moving"),
    [
        ("", MAIN, False),
        ("tag: stable", MAIN, False),
        ("tag: ['{branch}', '{sha}'], check: build", MAIN, True),
        ("tag: ['{branch}', '{sha}'], check: build", PULL, False),
        ("tag: ['{branch}-{short_sha}', '{sha}']", MAIN, False),
    ],
)
def test_a_tag_that_was_there_before_the_commit_is_told_from_its_own(
    tag: str, names: Names, moving: bool
) -> None:
    assert elsewhere.moving(image(tag), names) is moving


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("from: acme/app", "must be an image with its registry and without a tag, such as ghcr.io/acme/app"),
        ("from: 'ghcr.io/acme/app:1'", "without a tag"),
        ("from: 'https://ghcr.io/acme/app'", "without a tag"),
        ("from: ghcr.io/acme/app, args: {A: b}", "images.app.args: says how it is built, and `from`"),
        ("from: ghcr.io/acme/app, tag: '{version}'", "not {version}"),
        ("from: ghcr.io/acme/app, tag: 'a b'", "must be a tag"),
        ("from: ghcr.io/acme/app, tag: '{tag}'", "not every commit has a {tag}: add"),
        ("from: ghcr.io/acme/app, tag: ['{branch}', '{sha}']", "images.app.check: is missing"),
        ("from: ghcr.io/acme/app, follow: '0 4 * * *'", "images.app.follow: follows a tag that is moved"),
        ("follow: '0 4 * * *'", "images.app.follow: is for an image that is built elsewhere"),
        (
            "from: ghcr.io/acme/app, tag: stable, check: build",
            "images.app.check: is waited for before a commit's own tag, and stable is no commit's",
        ),
        ("check: build", "images.app.check: is for an image that is built elsewhere"),
    ],
)
def test_what_does_not_fit_is_told_with_what_to_do(said: str, told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(f"images: {{app: {{{said}}}}}")
    assert told in str(refused.value)


def test_where_an_image_comes_from_is_the_default_branchs_to_say() -> None:
    ruling = parse("images: {app: {from: ghcr.io/acme/app, check: build}}")
    theirs = "images: {app: {from: ghcr.io/evil/app}, other: {from: ghcr.io/evil/other}}"
    own = parse(f"{theirs}\nenvironments: {{production: {{image: app}}}}")

    heard = governed(ruling, own)

    assert heard.images["app"].source == "ghcr.io/acme/app"
    assert heard.images["app"].check == "build"
    assert heard.images["other"].source is None
    assert {"images.app.from", "images.other.from"} <= {*unheard(ruling, own)}


def test_an_image_that_is_built_is_given_nothing_by_the_keys_of_those_that_are_not() -> None:
    ruling = parse("images: {app: , other: }\nenvironments: {production: {image: app}}")
    own = parse("images: {app: , other: }\nenvironments: {production: {image: other}}")
    assert governed(ruling, own).environments["production"].image == "other"


def test_what_a_service_of_a_named_environment_runs_is_no_image_that_a_commit_names_so() -> None:
    ruling = parse(
        "images: {app: , search: {context: s}}\n"
        "environments: {production: {image: app, services: {cache: redis, index: search}}}"
    )
    own = parse("images: {app: , redis: {context: mine}}\nenvironments: {production: {image: app}}")

    heard = governed(ruling, own)

    assert heard.own_services(heard.environments["production"]) == {"index": "search"}
    assert heard.images["search"].context == "s"
    assert "redis" not in heard.images
