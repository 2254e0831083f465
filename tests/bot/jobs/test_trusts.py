"""Whose a build is, what its images are called, and which of them a build may start from."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.jobs import trusts
from bot.store.tables import Job, Repository, Run
from config.registries import identity
from config.settings import Settings
from workers.contract.messages import Kind
from workers.registry.reference import parse

QUEUED = "refs/heads/gh-readonly-queue/main/pr-5-" + "a" * 40
REGISTRIES = [
    "127.0.0.1:5000/acme",
    "",
    "ghcr.io/acme",
    "docker.io/acme",
    "localhost:5000",
    "1.dkr.ecr.eu-1.amazonaws.com/x",
]
# https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_CreateRepository.html
AMAZONS = re.compile(r"(?:[a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*")
# Docker Hub: no folders, no dots. https://docs.docker.com/docker-hub/repos/create/
HUBS = re.compile(r"acme/[a-z0-9_-]{2,255}")

# https://docs.github.com/enterprise-cloud@latest/admin: managed users have an underscore
owners = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9-]{0,37}[A-Za-z0-9-])?(_[a-z]{3})?", fullmatch=True)
names = st.from_regex(r"[A-Za-z0-9._-]{1,12}", fullmatch=True).filter(lambda name: name not in (".", ".."))
images = st.none() | st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
owned = st.sampled_from(
    ["", "pulls", "heads-production-1", "heads-production-12", "heads-a-5-1", "fork-1", "fork-12"]
)
whole = st.tuples(owners, names, images, owned)


def repository(full_name: str) -> Repository:
    return Repository(id=7, full_name=full_name, default_branch="main")


def reference(owner: str, name: str, image: str | None, trust: str, registry: str) -> str:
    return trusts.reference(repository(f"{owner}/{name}"), image, registry, trust)


@pytest.mark.parametrize(
    ("full_name", "image", "registry", "trust", "called"),
    [
        ("acme/shop", None, "", "", "blacktree/acme/shop"),
        ("acme/shop", "web", "", "", "blacktree/acme/shop/web"),
        ("Acme/Shop", "web", "localhost:5000/acme", "", "localhost:5000/acme/acme/shop/web"),
        ("acme/shop.js", None, "ghcr.io/acme", "", "ghcr.io/acme/acme/shop.js"),
        ("acme/shop", "web", "ghcr.io/acme", "pulls", "ghcr.io/acme/acme/shop/web_pulls"),
        ("acme/shop", "web", "", "fork-5", "blacktree/acme/shop/web_fork-5"),
        ("acme/shop", "web", "docker.io/acme", "", "docker.io/acme/acme_shop_web"),
        ("acme/shop", "web", "acme", "pulls", "acme/acme_shop_web_pulls"),
    ],
)
def test_an_image_has_its_reference(
    full_name: str, image: str | None, registry: str, trust: str, called: str
) -> None:
    assert trusts.reference(repository(full_name), image, registry, trust) == called


@pytest.mark.parametrize("registry", REGISTRIES)
def test_no_two_of_these_that_once_met_share_a_name(registry: str) -> None:
    images: list[tuple[str, str, str | None, str]] = [
        ("acme", "shop", None, ""),
        ("umbrella", "shop", None, ""),
        ("acme", "shop", "api", ""),
        ("acme", "shop-api", None, ""),
        ("acme", "shop", "pulls", ""),
        ("acme", "shop", "api", "pulls"),
        ("acme", "shop_api", None, ""),
        ("acme", "shop_api", None, "pulls"),
        ("acme-shop", "api", None, ""),
    ]
    called = [reference(*one, registry) for one in images]
    assert len(set(called)) == len(called)


@pytest.mark.parametrize("registry", REGISTRIES)
@given(one=whole, other=whole)
def test_two_images_never_share_a_name(
    registry: str, one: tuple[str, str, str | None, str], other: tuple[str, str, str | None, str]
) -> None:
    def which(owner: str, name: str, image: str | None, trust: str) -> Any:
        return owner.lower(), name.lower(), (image or "app") if trust else image, trust

    same = which(*one) == which(*other)
    assert (reference(*one, registry) == reference(*other, registry)) is same


@pytest.mark.parametrize("registry", REGISTRIES)
@given(one=whole)
def test_any_image_has_a_name_that_docker_and_its_registry_take(
    registry: str, one: tuple[str, str, str | None, str]
) -> None:
    image = parse(reference(*one, registry))
    assert (HUBS if registry == "docker.io/acme" else AMAZONS).fullmatch(image.path)


@pytest.mark.parametrize(
    ("columns", "spec", "trust"),
    [
        ({"ref": "refs/heads/main"}, {}, ""),
        ({"ref": "refs/tags/v1"}, {}, ""),
        ({"ref": "refs/heads/main", "pull_number": 5}, {}, ""),
        ({"ref": "refs/pull/5/head", "pull_number": 5}, {"preview": True}, "pulls"),
        ({"ref": QUEUED}, {"preview": True}, "pulls"),
        ({"ref": QUEUED}, {"preview": False}, "pulls"),
        ({"ref": "refs/heads/main"}, {"preview": True}, "pulls"),
        ({"ref": "refs/pull/5/head", "pull_number": 5}, {"environment": "staging"}, "heads-staging-5"),
        ({"ref": "refs/pull/6/head", "pull_number": 6}, {"environment": "staging"}, "heads-staging-6"),
        ({"ref": "refs/pull/5/head", "pull_number": 5}, {"environment": "production"}, "heads-production-5"),
        ({"ref": "refs/pull/5/head", "pull_number": 5}, {"preview": False}, "heads-any-5"),
        ({"ref": "refs/pull/5/head", "pull_number": 5, "fork": True}, {"preview": True}, "fork-5"),
    ],
)
def test_a_build_is_of_the_trust_that_its_ref_and_its_secrets_make(
    columns: dict[str, Any], spec: dict[str, Any], trust: str
) -> None:
    run = Run(repository_id=7, cause="c", cause_key="k", sha="a" * 40, actor="ada", **columns)
    job = Job(
        id="1-1", run_id=1, repository_id=7, sha="a" * 40, kind=Kind.BUILD, name="app", context="",
        pool="default", attempts=3, spec=spec,
    )  # fmt: skip
    assert trusts.of(run, job) == trust


OWN = [("acme", "shop", None, ""), ("acme", "shop", "web", "")]
PULLS = [("acme", "shop", "web", "pulls")]
HEADS = [("acme", "shop", "web", "heads-staging-5")]
OTHERS = [
    ("acme", "shop", "web", "heads-staging-6"),
    ("acme", "shop", "web", "heads-production-5"),
    ("umbrella", "shop", None, ""),
    ("acme", "shop-api", None, ""),
    ("acme", "sho", None, ""),
    ("acme", "shop", "web", "fork-5"),
    ("acme-shop", "web", None, ""),
]


@pytest.mark.parametrize(
    ("trust", "may"),
    [("", OWN), ("pulls", [*OWN, *PULLS]), ("heads-staging-5", [*OWN, *HEADS]), ("fork-5", [])],
)
@pytest.mark.parametrize("registry", REGISTRIES)
def test_a_build_may_start_from_its_repositorys_own_images_and_looks_one_way_only(
    registry: str, trust: str, may: list[Any]
) -> None:
    found = trusts.bases(repository("Acme/Shop"), trust, Settings(registry=registry))

    for one, place in itertools.product([*OWN, *PULLS, *HEADS, *OTHERS], ["", registry]):
        name = identity(parse(reference(*one, place)).name)
        permitted = any(re.fullmatch(pattern, name) for pattern in found.permitted)
        assert permitted is (one in may), name
        assert any(name.startswith(f"{prefix}/") for prefix in found.reserved)


def test_shared_images_are_patterns_of_whole_names() -> None:
    settings = Settings(registry="ghcr.io/acme", shared_images="ghcr.io/acme/base*, tools/go")

    (bases, go) = trusts.bases(repository("acme/shop"), "fork-5", settings).shared

    assert re.fullmatch(bases, "ghcr.io/acme/base-python")
    assert not re.fullmatch(bases, "ghcr.io/acme/other")
    assert re.fullmatch(go, "docker.io/tools/go")


def test_what_lies_below_a_registry_of_before_is_reserved_and_nobodys() -> None:
    settings = Settings(registry="ghcr.io/acme/new", former_registries="ghcr.io/acme, 127.0.0.1:5000")

    found = trusts.bases(repository("new/acme"), "", settings)

    assert found.reserved == ["docker.io/blacktree", "ghcr.io/acme/new", "ghcr.io/acme", "localhost:5000"]
    for name in ("ghcr.io/acme/new/acme", "ghcr.io/acme/umbrella/vault", "localhost:5000/new/acme"):
        assert not any(re.fullmatch(pattern, name) for pattern in found.permitted), name
    assert any(re.fullmatch(pattern, "ghcr.io/acme/new/new/acme/web") for pattern in found.permitted)
