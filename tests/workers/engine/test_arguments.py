"""An order in the words of each builder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from workers.contract.messages import Fault
from workers.engine.arguments import Kind, Private, Way, arguments, refusal
from workers.engine.builder import BuildOrder

BUILDX = Way(Kind.BUILDX, ["docker"], "buildx 0.13, driver docker")
SEVERAL = Way(Kind.BUILDX, ["docker"], "buildx 0.13, driver docker-container", several=True, loads=False)
OWN = Way(Kind.OWN, ["docker"], "BuildKit of docker 20.10")
CLASSIC = Way(Kind.CLASSIC, ["python", "-m", "classic"], "Docker's classic builder")
PRIVATE = Private({"TOKEN": Path("/shm/0")}, Path("/shm/key"), Path("/shm/metadata"))
BOTH = ["linux/amd64", "linux/arm64"]


def order(**more: Any) -> BuildOrder:
    fields: dict[str, Any] = {
        "context": Path("/c"), "dockerfile": Path("/c/Dockerfile"), "tag": "a/b:1", "target": None,
        "args": {}, "labels": {}, "scratch": Path("/s"),
    }  # fmt: skip
    return BuildOrder(**{**fields, **more})


@pytest.mark.parametrize(
    ("way", "more", "command"),
    [
        (BUILDX, {}, "docker buildx build --progress=plain --load -t a/b:1 -f /c/Dockerfile /c"),
        (OWN, {}, "docker build --progress=plain -t a/b:1 -f /c/Dockerfile /c"),
        (CLASSIC, {}, "python -m classic build -t a/b:1 -f /c/Dockerfile /c"),
        (
            SEVERAL,
            {"platforms": BOTH, "push_to": "r/x:1"},
            "docker buildx build --progress=plain --push -t r/x:1 --metadata-file=/shm/metadata"
            " -f /c/Dockerfile --platform linux/amd64,linux/arm64 /c",
        ),
    ],
)
def test_each_builder_has_its_own_command(way: Way, more: dict[str, Any], command: str) -> None:
    private = Private(metadata=PRIVATE.metadata)
    assert arguments(way, order(**more), private) == command.split()


@pytest.mark.parametrize("way", [BUILDX, OWN, CLASSIC])
@pytest.mark.parametrize(
    ("more", "flags"),
    [
        ({"target": "t"}, "--target t"),
        ({"args": {"A": "b"}}, "--build-arg A=b"),
        ({"labels": {"l": "m"}}, "--label l=m"),
        ({"platforms": ["linux/arm64"]}, "--platform linux/arm64"),
        ({"pull": True}, "--pull"),
        ({"fresh": True}, "--no-cache"),
        ({"epoch": 7}, "--build-arg SOURCE_DATE_EPOCH=7"),
        ({"epoch": 7, "args": {"SOURCE_DATE_EPOCH": "0"}}, "--build-arg SOURCE_DATE_EPOCH=7"),
        ({"args": {"Http_Proxy": "x", "BUILDKIT_SYNTAX": "x", "A": "b"}}, "--build-arg A=b"),
        ({"proxies": {"http_proxy": "http://a:b@c"}}, "--build-arg http_proxy"),
    ],
)
def test_all_builders_share_these_words(way: Way, more: dict[str, Any], flags: str) -> None:
    plain = arguments(way, order(), Private())
    assert arguments(way, order(**more), Private(), ["--limit"]) == [
        *plain[:-1], *flags.split(), "--limit", "/c",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("way", "flags"),
    [
        (BUILDX, "--cache-from=type=registry,ref=r/x:1 --cache-to=type=inline"),
        (OWN, "--cache-from=r/x:1 --build-arg BUILDKIT_INLINE_CACHE=1"),
        (CLASSIC, ""),
    ],
)
def test_registry_caches_are_buildkits(way: Way, flags: str) -> None:
    given = arguments(way, order(cache=["r/x:1"], keep_cache=True), Private())
    assert given == [*arguments(way, order(), Private())[:-1], *flags.split(), "/c"]
    fresh = arguments(way, order(cache=["r/x:1"], fresh=True), Private())
    assert not [argument for argument in fresh if "r/x:1" in argument]


@pytest.mark.parametrize("way", [BUILDX, OWN, SEVERAL])
def test_layers_and_cache_mounts_of_a_domain_have_names_that_another_can_not_guess(way: Way) -> None:
    def names(trust: str) -> tuple[str, str]:
        given = arguments(way, order(trust=trust, args={"BUILDKIT_CACHE_MOUNT_NS": "other"}), Private())
        (mounts,) = (part for part in given if part.startswith("BUILDKIT_CACHE_MOUNT_NS="))
        (layers,) = (part for part in given if part.startswith("--add-host="))
        return mounts.partition("=")[2], layers.partition("=")[2].partition(".")[0]

    mounts, layers = names("one")
    assert len(mounts) == 64
    assert len(layers) == 32
    assert layers not in mounts, "a step sees its hosts"
    assert "one" not in mounts + layers
    assert not {mounts, layers} & {*names("other")}


def test_the_classic_builder_takes_layers_of_a_domains_own_images_only() -> None:
    given = arguments(CLASSIC, order(trust="one", kin=["r/x:1"]), Private())
    assert [part for part in given if part.startswith("--cache-from")] == [
        "--cache-from=a/b:1", "--cache-from=r/x:1",
    ]  # fmt: skip
    assert not [part for part in given if part.startswith(("--add-host", "BUILDKIT"))]


def test_private_values_are_named_by_their_files() -> None:
    given = arguments(BUILDX, order(secrets={"TOKEN": "t0p"}, ssh_key="k3y"), PRIVATE)
    assert given[-3:] == ["--secret=id=TOKEN,src=/shm/0", "--ssh=default=/shm/key", "/c"]
    assert "t0p" not in repr((given, order(secrets={"TOKEN": "t0p"})))
    assert "k3y" not in repr((given, order(ssh_key="k3y")))


@pytest.mark.parametrize(
    ("way", "more", "reason"),
    [
        (BUILDX, {"secrets": {"A": "b"}, "ssh_key": "k", "platforms": ["linux/arm64"]}, None),
        (OWN, {"secrets": {"A": "b"}, "ssh_key": "k", "platforms": ["linux/arm64"]}, None),
        (CLASSIC, {"platforms": ["linux/arm64"]}, None),
        (CLASSIC, {"secrets": {"A": "b"}}, "buildkit_needed"),
        (CLASSIC, {"ssh_key": "k"}, "buildkit_needed"),
        (BUILDX, {"platforms": BOTH, "push_to": "r/x:1"}, "buildx_needed"),
        (OWN, {"platforms": BOTH, "push_to": "r/x:1"}, "buildx_needed"),
        (SEVERAL, {"platforms": BOTH, "push_to": "r/x:1"}, None),
        (SEVERAL, {"platforms": BOTH}, "registry_needed"),
    ],
)
def test_what_a_builder_cannot_do_is_refused_at_once(
    way: Way, more: dict[str, Any], reason: str | None
) -> None:
    refused = refusal(way, order(**more))
    assert (refused and refused.reason) == reason
    assert refused is None or refused.fault is Fault.FINAL
