"""What a build may start from, as its Dockerfile is read and names are; no engine is asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from tests.workers.build.test_inputs import made
from workers.build import permitted
from workers.build.permitted import checked
from workers.contract.failure import Failure
from workers.engine.builder import Builder
from workers.engine.engine import Engine
from workers.registry.registry import Registry

pytestmark = pytest.mark.usefixtures("offline")

VAULT = "blacktree/umbrella/vault"
OTHER = f"sha256:{'0' * 64}"
# To a builder without heredocs the line after RUN is a FROM; to one with them the last line is none.
BEHIND = f'FROM a\nRUN <<"RUN true"\nFROM {VAULT}\nRUN true\nCOPY --from=$X . .\n'
HERE = "FROM a\nRUN <<EOF\nCOPY --from=$X . .\nEOF\n"


@dataclass
class World:
    """A builder, an engine that has nothing, and a registry where anybody may read all."""

    heredocs: bool = True
    frontends: bool = True
    description: str = "BuildKit of docker 20.10"
    digests: dict[str, str] = field(default_factory=dict)

    async def image(self, _: str) -> None:
        return None

    async def digest(self, name: str) -> str | None:
        return self.digests.get(name, "sha256:known")

    async def check(self, dockerfile: str, **more: Any) -> bool:
        spec = made(**{"reserved": ["docker.io/blacktree"], **more})
        builder, engine, registry = cast(Builder, self), cast(Engine, self), cast(Registry, self)
        return await checked(spec, dockerfile.encode(), builder, engine, registry)

    async def refusal(self, dockerfile: str, **more: Any) -> Failure:
        with pytest.raises(Failure) as failed:
            await self.check(dockerfile, **more)
        return failed.value


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """No resolver is asked but by the test of that."""
    if request.node.name != "test_the_addresses_of_a_name_are_asked_for":
        resolved(monkeypatch, [])


@pytest.mark.parametrize("fork", [False, True])
@pytest.mark.parametrize("heredocs", [False, True])
async def test_what_the_builder_reads_and_we_do_not_is_refused_whatever_another_would_read(
    heredocs: bool, fork: bool
) -> None:
    assert (await World(heredocs).refusal(BEHIND, fork=fork)).reason == "base_image_unknown"


@pytest.mark.parametrize("fork", [False, True])
async def test_a_builder_that_is_too_old_for_a_dockerfile_is_told_as_that(fork: bool) -> None:
    failure = await World(heredocs=False).refusal(HERE, fork=fork)

    assert failure.reason == "builder_too_old"
    assert "BuildKit of docker 20.10" in failure.sentence
    await World(heredocs=True).check(HERE, fork=fork)


@pytest.mark.parametrize("fork", [False, True])
async def test_the_builder_says_what_is_wrong_with_a_from_but_not_to_a_fork(fork: bool) -> None:
    if fork:
        assert (await World().refusal("FROM a b", fork=True)).reason == "base_image_unknown"
    else:
        assert await World().check("FROM a b") is False


@pytest.mark.parametrize("text", [HERE, "FROM a b", "FROM a\nRUN <<EOF\nFROM a b\nEOF\n"])
async def test_a_frontend_gets_nothing_that_it_may_read_in_a_way_we_do_not(text: str) -> None:
    failure = await World().refusal(f"# syntax={VAULT}\n{text}", permitted=["docker.io/blacktree/.*"])

    assert failure.reason == "base_image_unknown"


@pytest.mark.parametrize(
    "syntax", ["docker/dockerfile:1.0", "docker/dockerfile:experimental", f"docker/dockerfile@{OTHER}"]
)
async def test_a_fork_has_no_frontend_that_may_share_what_is_kept(syntax: str) -> None:
    failure = await World().refusal(f"# syntax={syntax}\nFROM a\n", fork=True)

    assert failure.reason == "frontend_refused"
    assert f"the syntax {syntax}" in failure.sentence
    assert "`# syntax=docker/dockerfile" in failure.sentence
    assert await World().check(f"# syntax={syntax}\nFROM a\n") is False, "a repository's own may"


async def test_a_forks_frontend_may_be_pinned_to_what_its_version_is() -> None:
    world = World(digests={"docker.io/docker/dockerfile:1.7": OTHER})

    assert await world.check(f"# syntax=docker/dockerfile:1.7@{OTHER}\nFROM a\n", fork=True)
    older = await world.refusal(f"# syntax=docker/dockerfile:1.7@sha256:{'1' * 64}\nFROM a\n", fork=True)
    assert older.reason == "frontend_refused"


async def test_what_a_frontend_hides_in_a_heredoc_is_looked_at_where_it_may_know_none() -> None:
    text = f'FROM a\nRUN <<"RUN true"\nFROM {VAULT}\nRUN true\n'

    assert (await World().refusal(f"# syntax=mine/frontend\n{text}")).reason == "base_image_refused"
    assert await World().check(f"# syntax=docker/dockerfile:1\n{text}") is False


@pytest.mark.parametrize("fork", [False, True])
@pytest.mark.parametrize(
    ("reserved", "named"),
    [
        ("localhost:5000/acme", "127.0.0.1:5000/acme/umbrella/vault"),
        ("127.0.0.1:5000/acme", "[::1]:5000/acme/umbrella/vault"),
        ("127.0.0.1:5000", "127.9.9.9:5000/umbrella/vault:main"),
        ("ghcr.io/acme", "ghcr.io:443/acme/umbrella/vault"),
        (
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
            "123456789012.dkr-ecr.eu-west-1.on.aws/umbrella/vault",
        ),
    ],
)
async def test_another_repositorys_image_is_not_had_by_another_name_of_its_registry(
    reserved: str, named: str, fork: bool
) -> None:
    failure = await World().refusal(f"FROM {named}", reserved=[reserved], fork=fork)

    assert failure.reason == "base_image_refused"


async def test_a_repository_starts_from_its_own_images_by_any_name_of_their_registry() -> None:
    more = {"reserved": ["localhost:5000"], "permitted": [r"localhost:5000/acme/shop(/[a-z0-9-]+)?"]}

    for host in ("localhost:5000", "127.0.0.1:5000", "[::1]:5000"):
        assert await World().check(f"FROM {host}/acme/shop/base:main", **more) is False


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("localhost:5000", []),
        ("10.0.0.7:5000", []),
        ("[fd00::7]:5000", []),
        ("registry.corp.example", ["10.0.0.7"]),
        ("registry.corp.example:5000", ["1.1.1.1", "[fd00::7]"]),
    ],
)
async def test_a_fork_starts_from_nothing_of_a_private_network(
    host: str, addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved(monkeypatch, addresses)

    failure = await World().refusal(f"FROM {host}/base:1", fork=True)

    assert failure.reason == "base_image_refused"
    assert "is on a private network" in failure.sentence
    assert "SHARED_IMAGES" in failure.sentence
    assert await World().check(f"FROM {host}/base:1") is False, "a repository's own may"
    assert await World().check(f"FROM {host}/base:1", fork=True, shared=[".*/base"]) is False


async def test_a_fork_starts_from_what_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    resolved(monkeypatch, ["1.1.1.1", "[2606:4700::1111]"])

    assert await World().check("FROM registry.example.com/base:1", fork=True) is True


async def test_the_addresses_of_a_name_are_asked_for() -> None:
    assert "127.0.0.1" in await permitted._addresses("localhost:5000")
    assert await permitted._addresses("no-such-host.invalid") == []


def resolved(monkeypatch: pytest.MonkeyPatch, addresses: list[str]) -> None:
    async def told(_: str) -> list[str]:
        return addresses

    monkeypatch.setattr(permitted, "_addresses", told)
