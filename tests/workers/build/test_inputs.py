"""What an image is made from: any input that changes it changes its key, and nothing else does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from workers.build import inputs
from workers.build.bases import Unknown
from workers.build.inputs import Texts, key
from workers.contract.failure import ours
from workers.contract.messages import BuildSpec, ImageTest, Source
from workers.engine.builder import Builder
from workers.engine.engine import Engine, Image
from workers.registry.registry import Registry


@dataclass
class World:
    """A commit, an engine and a registry, as far as keys look at them."""

    objects: dict[str, str] = field(default_factory=lambda: {"app": "tree-1"})
    engine: dict[str, Image] = field(default_factory=dict)
    registry: dict[str, str] = field(default_factory=lambda: {"base:1": "sha256:registry"})
    down: bool = False
    heredocs: bool = True
    frontends: bool = True

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
        builder, engine, registry = cast(Builder, self), cast(Engine, self), cast(Registry, self)
        return await key(made(**spec), self, texts, builder, engine, registry)


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


HEREDOC = "FROM base:1\nRUN <<END\nFROM hidden:1\nEND\n"


async def test_a_base_image_in_a_heredoc_is_an_input_where_the_builder_knows_none() -> None:
    digests = {"base:1": "sha256:base", "hidden:1": "sha256:hidden", "docker/dockerfile:1": "sha256:f"}
    moved = {**digests, "hidden:1": "sha256:newer"}

    def old(registry: dict[str, str]) -> World:
        return World(registry=registry, heredocs=False)

    assert await World(registry=digests).key(HEREDOC) == await World(registry=moved).key(HEREDOC)
    text = HEREDOC + "RUN END\n"
    assert await old(digests).key(text) != await old(moved).key(text)
    named = f"# syntax=docker/dockerfile:1\n{text}"
    assert await old(digests).key(named) == await old(moved).key(named), "that one knows them"


async def test_what_a_frontend_may_read_in_two_ways_has_no_key() -> None:
    digests = {"base:1": "sha256:base", "hidden:1": "sha256:hidden", "mine/frontend": "sha256:f"}
    world = World(registry=digests)

    with pytest.raises(Unknown, match="whether mine/frontend knows heredocs"):
        await world.key(f"# syntax=mine/frontend\n{HEREDOC}")
    assert await world.key("# syntax=mine/frontend\nFROM base:1\n")


@pytest.mark.parametrize("world", [World(down=True), World(registry={})])
async def test_a_base_image_that_nobody_knows_makes_no_key(world: World) -> None:
    with pytest.raises(Unknown, match="the digest of base:1"):
        await world.key()


def test_the_folders_above_a_context_are_those_whose_attributes_count() -> None:
    assert inputs._above("a/b/c") == ["a/b", "a", "."]
    assert inputs._above(".") == []
