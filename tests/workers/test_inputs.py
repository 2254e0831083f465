"""What an image is made from: any input that changes it changes its key, and nothing else does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from workers import inputs
from workers.contract.messages import BuildSpec, ImageTest, Source
from workers.engine.engine import Engine, Image
from workers.failure import ours
from workers.inputs import Texts, Unknown, bases, key
from workers.registry.registry import Registry


@pytest.mark.parametrize(
    ("dockerfile", "args", "found"),
    [
        ("FROM scratch", {}, []),
        ("FROM debian:12 AS one\nFROM one\nFROM One AS two", {}, ["debian:12"]),
        ("ARG V=3.11\nFROM python:${V}-slim", {}, ["python:3.11-slim"]),
        ("ARG V=3.11\nFROM python:${V}-slim", {"V": "3.12"}, ["python:3.12-slim"]),
        ("FROM --platform=$BUILDPLATFORM go:1 AS b\nFROM b\nCOPY --from=tool:3 /a /", {}, ["go:1", "tool:3"]),
        ("FROM a AS b\nCOPY --from=b /x /\nCOPY --chown=1:1 --from=0 /x /", {}, ["a"]),
        ("FROM a\nRUN --mount=type=bind,from=tools:1,target=/t true", {}, ["a", "tools:1"]),
        ("# syntax=docker/dockerfile:1\n# a comment\nFROM a", {}, ["a", "docker/dockerfile:1"]),
        (f"from a@sha256:{'0' * 64}\nADD . /x", {}, [f"a@sha256:{'0' * 64}"]),
    ],
)  # fmt: skip
def test_all_images_that_a_build_takes_from_are_found(
    dockerfile: str, args: dict[str, str], found: list[str]
) -> None:
    assert bases(dockerfile.encode(), args) == found


@pytest.mark.parametrize(
    "dockerfile",
    [
        "FROM ${UNSET:-debian:12}",
        "FROM a\nADD https://example.com/x /x",
        'FROM a\nADD ["git@example.com:x.git", "/x"]',
        "FROM a\nCOPY --from=$STAGE /x /",
    ],
)
def test_what_can_not_be_told_is_unknown_rather_than_the_same(dockerfile: str) -> None:
    with pytest.raises(Unknown):
        bases(dockerfile.encode(), {})


@dataclass
class World:
    """A commit, an engine and a registry, as far as keys look at them."""

    objects: dict[str, str] = field(default_factory=lambda: {"app": "tree-1"})
    engine: dict[str, Image] = field(default_factory=dict)
    registry: dict[str, str] = field(default_factory=lambda: {"base:1": "sha256:registry"})
    down: bool = False

    async def object(self, path: str) -> str | None:
        return self.objects.get(path)

    async def image(self, reference: str) -> Image | None:
        return self.engine.get(reference)

    async def digest(self, reference: str) -> str | None:
        if self.down:
            raise ours("registry_unreachable", "the registry did not answer")
        return self.registry.get(reference)

    async def key(self, dockerfile: str = "FROM base:1", ignored: str = "", **spec: Any) -> str:
        texts = Texts(dockerfile.encode(), ignored.encode(), "app")
        engine, registry = cast(Engine, self), cast(Registry, self)
        return await key(made(**spec), self, texts, engine, registry)


def made(**more: Any) -> BuildSpec:
    fields: dict[str, Any] = {
        "source": Source(repository="acme/shop", clone_url="http://x/acme/shop.git", sha="a" * 40),
        "image": "app", "context": "app", "dockerfile": "Dockerfile", "target": None, "args": {},
        "reference": "r/shop", "tags": [], "push": True, "timeout": 60, "labels": {},
    }  # fmt: skip
    return BuildSpec.model_validate({**fields, **more})


async def test_commits_with_the_same_inputs_have_the_same_key() -> None:
    other = Source(repository="acme/shop", clone_url="http://x/acme/shop.git", sha="b" * 40)

    assert await World().key() == await World().key(
        source=other, tags=["main"], labels={"a": "b"}, timeout=5, reference="elsewhere/shop", memory=1
    )


@pytest.mark.parametrize(
    "more",
    [
        {"target": "slim"},
        {"args": {"A": "b"}},
        {"platforms": ["linux/arm64"]},
        {"secrets": ["NPM_TOKEN"]},
        {"image": "web"},
        {"test": ImageTest(command=["true"], timeout=9)},
        {"dockerfile": "FROM base:1\nRUN true"},
        {"ignored": "*.md"},
        {"source": Source(repository="acme/shop", clone_url="http://x", sha="a" * 40, lfs=True)},
    ],
)
async def test_each_input_makes_another_key(more: dict[str, Any]) -> None:
    assert await World().key() != await World().key(**more)


async def test_files_attributes_and_base_images_make_another_key() -> None:
    usual = await World().key()
    moved = World(registry={"base:1": "sha256:newer"})
    here = World(engine={"base:1": Image("sha256:id", 1, (), ("base@sha256:engines",))})

    assert await World({"app": "tree-2"}).key() != usual
    assert await World({"app": "tree-1", "./.gitattributes": "eol"}).key() != usual
    assert await moved.key() != usual
    assert await here.key() not in (usual, await moved.key())
    assert await here.key(pull=True) == usual, "asked for anew, the registry's counts"


@pytest.mark.parametrize("world", [World(down=True), World(registry={})])
async def test_a_base_image_that_nobody_knows_makes_no_key(world: World) -> None:
    with pytest.raises(Unknown, match="the digest of base:1"):
        await world.key()


def test_the_folders_above_a_context_are_those_whose_attributes_count() -> None:
    assert inputs._above("a/b/c") == ["a/b", "a", "."]
    assert inputs._above(".") == []
