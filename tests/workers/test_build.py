from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from config.settings import Settings
from tests.parts.engine import Engine
from tests.parts.registry import Registry
from tests.workers.bot import Bot
from tests.workers.conftest import TOKEN, GitHost
from tests.workers.test_process import alive
from workers.contract.messages import (
    BuildSpec,
    Credentials,
    Failed,
    Fault,
    RegistryLogin,
    Source,
    Stopped,
    Succeeded,
)
from workers.engine.login import places

pytestmark = pytest.mark.usefixtures("worker", "credentials")


@pytest.fixture
def credentials(bot: Bot) -> Credentials:
    bot.credentials = Credentials(git_username="x-access-token", git_password=TOKEN)
    return bot.credentials


def spec(git: GitHost, sha: str, name: str, reference: str = "", **more: Any) -> BuildSpec:
    fields: dict[str, object] = {
        "source": Source(repository="acme/shop", clone_url=git.url, sha=sha),
        "image": "app", "context": ".", "dockerfile": "Dockerfile", "target": None, "args": {},
        "reference": reference or f"{name}/shop", "tags": ["main"], "push": False, "timeout": 60,
        "labels": {"io.blacktree.worker": name},
    }  # fmt: skip
    return BuildSpec.model_validate({**fields, **more})


def left(settings: Settings) -> list[str]:
    """What is left of attempts on this machine."""
    folders = [str(path) for path in (settings.data_dir / "work").iterdir()]
    return folders + [str(path) for path in places(os.environ).glob(f"blacktree-{settings.worker_name}-*")]


def tags(engine: Engine, name: str) -> list[str]:
    return sorted(tag for image in engine.client.images.list(f"{name}/shop") for tag in image.tags)


async def test_a_build_makes_the_image_of_the_commit(
    bot: Bot, git: GitHost, engine: Engine, settings: Settings, name: str, base: str
) -> None:
    sha = git.commit({"Dockerfile": f"FROM {base}\nARG WHO\nRUN echo {TOKEN} $WHO\nCOPY . /src\n", "a": "a"})
    ended = await bot.run("b", spec(git, sha, name, args={"WHO": "world"}))
    assert isinstance(ended.result, Succeeded), bot.log("b")
    assert ended.result.image is not None
    image = engine.client.images.get(ended.result.image.digest)
    assert sorted(image.tags) == tags(engine, name) == sorted([f"{name}/shop:{sha}", f"{name}/shop:main"])
    assert image.labels["io.blacktree.sha"] == sha
    assert [step.name for step in ended.steps] == ["checkout", "build"]
    assert all(step.ok and step.ended_at for step in ended.steps)
    assert "*** world" in bot.log("b")
    assert TOKEN not in bot.log("b")
    assert left(settings) == []


async def test_a_failed_build_names_the_step_of_the_dockerfile(
    bot: Bot, git: GitHost, engine: Engine, settings: Settings, name: str, base: str
) -> None:
    sha = git.commit({"Dockerfile": f"FROM {base}\nRUN true\nRUN echo oh no; exit 42\n"})
    ended = await bot.run("b", spec(git, sha, name))
    assert isinstance(ended.result, Failed)
    assert ended.result.fault is Fault.USER
    assert ended.result.step == "build"
    assert ended.result.sentence == "Dockerfile step [3/3] RUN echo oh no; exit 42: exit code 42"
    assert "oh no" in bot.log("b")
    assert tags(engine, name) == left(settings) == []


@pytest.mark.parametrize(
    ("files", "more", "reason"),
    [
        ({"a": "a"}, {}, "dockerfile_missing"),
        ({"Dockerfile": "FROM nowhere.invalid/x:1\n"}, {}, "registry_unreachable"),
        ({"Dockerfile": "FROM scratch\n"}, {"context": "../.."}, "context_missing"),
        ({"Dockerfile": "FROM scratch\n"}, {"dockerfile": "/etc/passwd"}, "dockerfile_missing"),
        ({"Dockerfile": "FROM scratch\nFORM x\n"}, {}, "build_failed"),
        ({"Dockerfile": "FROM scratch\nCOPY nothing /x\n"}, {}, "build_failed"),
        ({"Dockerfile": "FROM scratch AS one\nCOPY . /\n"}, {"target": "two"}, "build_failed"),
    ],
)  # fmt: skip
async def test_what_cannot_be_built_is_said(
    bot: Bot, git: GitHost, name: str, files: dict[str, str], more: dict[str, Any], reason: str,
) -> None:  # fmt: skip
    ended = await bot.run("b", spec(git, git.commit(files), name, **more))
    assert isinstance(ended.result, Failed)
    assert (ended.result.reason, ended.result.step) == (reason, "build"), ended.result


async def test_a_cancelled_build_leaves_nothing(
    bot: Bot, git: GitHost, engine: Engine, settings: Settings, name: str, base: str
) -> None:
    marker = f"{os.getpid()}{name[-4:]}".translate(str.maketrans("abcdef", "123456"))
    sha = git.commit({"Dockerfile": f"FROM {base}\nRUN sleep 9{marker}\n"})
    await bot.offer("b", spec(git, sha, name))
    while not any(line.startswith("sleep") for line in alive(f"9{marker}")):  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    await bot.cancel(name, "b")
    ended = await bot.finished("b", 10)
    assert isinstance(ended.result, Stopped)
    assert ended.steps[-1].ok is False
    async with asyncio.timeout(5):
        while alive(f"9{marker}"):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert tags(engine, name) == left(settings) == []


async def test_a_build_that_lasts_too_long_is_the_users_to_know(
    bot: Bot, git: GitHost, name: str, base: str
) -> None:
    sha = git.commit({"Dockerfile": f"FROM {base}\nRUN sleep 60\n"})
    ended = await bot.run("b", spec(git, sha, name, timeout=1.5))
    assert isinstance(ended.result, Failed)
    assert (ended.result.fault, ended.result.reason) == (Fault.USER, "timeout")


async def test_a_pushed_image_has_the_registrys_digest(
    bot: Bot, git: GitHost, registry: Registry, name: str, base: str, credentials: Credentials
) -> None:
    login = RegistryLogin(host=registry.address, username=registry.username, password=registry.password)
    bot.credentials = credentials.model_copy(update={"registries": [login]})
    sha = git.commit({"Dockerfile": f"FROM {base}\nLABEL of={name}\n"})
    reference = f"{registry.address}/{name}/shop"
    ended = await bot.run("b", spec(git, sha, name, reference, push=True))
    assert isinstance(ended.result, Succeeded), bot.log("b")
    assert ended.result.image is not None
    assert registry.tags(f"{name}/shop") == sorted([sha, "main"])
    assert ended.result.image.digest == registry.digest(f"{name}/shop", "main")
    assert ended.result.image.reference == f"{reference}@{ended.result.image.digest}"


async def test_a_refused_push_is_final_and_moves_no_tag(
    bot: Bot, git: GitHost, engine: Engine, registry: Registry, name: str, base: str, credentials: Credentials
) -> None:
    login = RegistryLogin(host=registry.address, username=registry.username, password="wrong-password")
    bot.credentials = credentials.model_copy(update={"registries": [login]})
    sha = git.commit({"Dockerfile": f"FROM {base}\nLABEL of={name}\n"})
    ended = await bot.run("b", spec(git, sha, name, f"{registry.address}/{name}/shop", push=True))
    assert isinstance(ended.result, Failed)
    assert (ended.result.fault, ended.result.reason) == (Fault.FINAL, "registry_denied")
    assert engine.client.images.list(f"{registry.address}/{name}/shop") == []
