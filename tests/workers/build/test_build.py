from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable
from typing import Any

import pytest

from config.settings import Settings
from tests.parts.engine import Engine
from tests.parts.faults import Faults
from tests.parts.registry import Registry
from tests.workers.bot import Bot
from tests.workers.conftest import MADE, TOKEN, GitHost
from tests.workers.process.test_process import alive
from workers.contract.messages import (
    BuildSpec,
    Credentials,
    Failed,
    Fault,
    ImageTest,
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
        "reference": reference or f"{name}/shop", "tags": ["main"], "push": False, "timeout": 300,
        "labels": {MADE: name},
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


async def test_a_sentence_moves_nothing_on_a_terminal_whatever_it_quotes(
    bot: Bot, git: GitHost, name: str
) -> None:
    sha = git.commit({"Dockerfile.\x1b]0;owned\x07\x9b2J\x08x": "FROM scratch\n"})
    ended = await bot.run("b", spec(git, sha, name))
    assert isinstance(ended.result, Failed)
    assert "write `dockerfile: Dockerfile.x` for the image" in ended.result.sentence


async def test_a_from_without_a_name_is_told_in_dockers_own_words(
    bot: Bot, git: GitHost, name: str, base: str
) -> None:
    ended = await bot.run("b", spec(git, git.commit({"Dockerfile": f"FROM {base}\nFROM\nRUN true\n"}), name))
    assert isinstance(ended.result, Failed)
    assert (ended.result.fault, ended.result.reason) == (Fault.USER, "build_failed"), ended.result
    assert "FROM requires either one or three arguments" in ended.result.sentence


async def test_a_line_from_in_a_heredoc_is_no_reason_to_try_again(
    bot: Bot, git: GitHost, name: str, base: str
) -> None:
    sha = git.commit({"Dockerfile": f"FROM {base}\nRUN cat <<SQL\nselect a\nfrom\n  users;\nSQL\n"})
    ended = await bot.run("b", spec(git, sha, name))
    assert isinstance(ended.result, Succeeded | Failed)
    # A builder of before heredocs cannot build it, and says so.
    assert ended.result.outcome == "succeeded" or ended.result.reason == "builder_too_old", ended.result


async def test_a_cancelled_build_leaves_nothing(
    bot: Bot, git: GitHost, engine: Engine, settings: Settings, name: str, base: str
) -> None:
    marker = f"{os.getpid()}{name[-4:]}".translate(str.maketrans("abcdef", "123456"))
    sha = git.commit({"Dockerfile": f"FROM {base}\nRUN sleep 9{marker}\n"})
    await bot.offer("b", spec(git, sha, name))
    while not any(line.startswith("sleep") for line in alive(f"9{marker}")):  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    await bot.cancel(name, "b")
    ended = await bot.finished("b")
    assert isinstance(ended.result, Stopped)
    assert ended.steps[-1].ok is False
    async with asyncio.timeout(60):
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


async def test_the_test_runs_in_the_built_image_and_its_exit_code_decides(
    bot: Bot, git: GitHost, engine: Engine, settings: Settings, name: str, base: str
) -> None:
    sha = git.commit({"Dockerfile": f"FROM {base}\nCOPY . /src\n", "a": "a"})
    look = ["sh", "-c", f"echo {TOKEN}; cat /src/a; ip route | grep -q default && exit 9; exit $0", "3"]
    failing = ImageTest(command=look, timeout=120)

    ended = await bot.run("red", spec(git, sha, name, test=failing))

    assert isinstance(ended.result, Failed)
    assert (ended.result.fault, ended.result.reason, ended.result.step) == (Fault.USER, "test_failed", "test")
    assert "exit code 3" in ended.result.sentence
    assert TOKEN not in bot.log("red") + ended.result.sentence
    assert tags(engine, name) == left(settings) == []
    green = ImageTest(command=["grep", "-q", "a", "/src/a"], network=True, timeout=120)
    assert isinstance((await bot.run("green", spec(git, sha, name, test=green))).result, Succeeded)
    assert len(tags(engine, name)) == 2
    late = await bot.run("late", spec(git, sha, name, test=ImageTest(command=["sleep", "60"], timeout=0.5)))
    assert isinstance(late.result, Failed)
    assert late.result.reason == "test_timeout"
    assert engine.containers(f"io.blacktree.worker={name}") == []


async def test_the_same_inputs_are_not_built_again_but_moved_in_the_registry(
    bot: Bot, git: GitHost, registry: Registry, name: str, base: str, credentials: Credentials
) -> None:
    async with Faults(int(registry.address.rpartition(":")[2])).serving() as between:
        host = f"localhost:{between.port}"
        login = RegistryLogin(host=host, username=registry.username, password=registry.password)
        bot.credentials = credentials.model_copy(update={"registries": [login]})
        where: dict[str, Any] = {
            "reference": f"{host}/{name}/shop", "copies": [f"{host}/{name}/copy"], "push": True,
        }  # fmt: skip
        files = {"Dockerfile": f"FROM {base}\nRUN echo {name}\nCOPY . /src\n", "a": "a"}
        first = await bot.run("b", spec(git, git.commit(files), name, **where))
        assert isinstance(first.result, Succeeded), bot.log("b")
        made = first.result.image
        assert made is not None
        assert len(made.key) == 64
        bot.known[made.key] = made
        uploads = between.count("PATCH")

        again = git.commit(files)  # another commit of the same tree
        ended = await bot.run("again", spec(git, again, name, **where))

        assert isinstance(ended.result, Succeeded), bot.log("again")
        assert ended.result.image is not None
        assert ended.result.image.digest == made.digest
        assert ended.result.image.reused == "f" * 40
        assert between.count("PATCH") == uploads, "no layer was sent"
        assert "#1 " not in bot.log("again"), "nothing was built"
        for repository in ("shop", "copy"):
            assert registry.digest(f"{name}/{repository}", again) == made.digest
            assert registry.digest(f"{name}/{repository}", "main") == made.digest
        fresh = await bot.run("fresh", spec(git, again, name, fresh=True, **where))
        assert "built before" not in bot.log("fresh")
        assert isinstance(fresh.result, Succeeded)
        gone = registry.get(f"/v2/{name}/copy/manifests/{made.digest}", "DELETE").status_code
        assert gone == 202
        await bot.run("gone", spec(git, git.commit(files), name, **where))
        assert "but is gone: it is built again" in bot.log("gone")


async def test_a_stranger_and_a_changed_input_find_nothing(
    bot: Bot, git: GitHost, name: str, base: str
) -> None:
    files = {"Dockerfile": f"FROM {base}\nCOPY . /src\n", "a": "a"}
    first = await bot.run("b", spec(git, git.commit(files), name))
    assert isinstance(first.result, Succeeded)
    made = first.result.image
    assert made is not None
    bot.known[made.key] = made
    ended = await bot.run(
        "fork", spec(git, git.commit(files), name, fork=True, shared=["docker.io/blacktree-test/base"])
    )
    assert isinstance(ended.result, Succeeded)
    assert ended.result.image is not None
    assert (ended.result.image.key, ended.result.image.reused) == ("", "")
    changed = await bot.run("new", spec(git, git.commit({**files, "a": "b"}), name))
    assert isinstance(changed.result, Succeeded)
    assert changed.result.image is not None
    assert changed.result.image.key not in ("", made.key)


async def test_build_secrets_come_by_mounts_and_one_that_is_not_set_is_said(
    bot: Bot, git: GitHost, name: str, base: str, engine: Engine
) -> None:
    mounts = "--mount=type=secret,id=NPM_TOKEN,required=true"
    read = f": {name}; cd /run/secrets && cat NPM_TOKEN && sha256sum NPM_TOKEN >/sum"
    steps = f"FROM {base}\nRUN {mounts} {read}\n"
    sha = git.commit({"Dockerfile": steps})

    missing = await bot.run("missing", spec(git, sha, name, secrets=["NPM_TOKEN"]))

    assert isinstance(missing.result, Failed)
    assert missing.result.reason == "secret_missing"
    assert "blacktree secret set acme/shop NPM_TOKEN" in missing.result.sentence
    value = f"npm-{name}"
    bot.credentials = bot.credentials.model_copy(update={"build": {"NPM_TOKEN": value}})
    ended = await bot.run("b", spec(git, sha, name, secrets=["NPM_TOKEN"]))
    assert isinstance(ended.result, Succeeded), bot.log("b")
    assert value not in bot.log("b")
    assert "***" in bot.log("b")
    assert ended.result.image is not None
    said = engine.client.containers.run(ended.result.image.digest, ["cat", "/sum"], remove=True)
    assert said.split()[0].decode() == hashlib.sha256(value.encode()).hexdigest()
    assert value not in str(engine.client.images.get(ended.result.image.digest).history())


async def test_several_platforms_where_they_cannot_be_made_are_said_and_move_no_tag(
    bot: Bot, git: GitHost, registry: Registry, name: str, base: str, credentials: Credentials
) -> None:
    login = RegistryLogin(host=registry.address, username=registry.username, password=registry.password)
    bot.credentials = credentials.model_copy(update={"registries": [login]})
    sha = git.commit({"Dockerfile": f"FROM {base}\nLABEL of={name}\n"})
    both = ["linux/amd64", "linux/arm64"]

    ended = await bot.run(
        "b", spec(git, sha, name, f"{registry.address}/{name}/shop", push=True, platforms=both)
    )

    assert isinstance(ended.result, Failed)
    assert "several platforms" in ended.result.sentence
    assert "buildx" in ended.result.sentence
    assert registry.tags(f"{name}/shop") == []


@pytest.mark.parametrize("step", ["checkout", "test", "push"])
async def test_a_build_cancelled_in_any_step_leaves_nothing(
    bot: Bot,
    git: GitHost,
    engine: Engine,
    settings: Settings,
    registry: Registry,
    name: str,
    base: str,
    credentials: Credentials,
    step: str,
) -> None:
    async with Faults(int(registry.address.rpartition(":")[2])).serving() as between:
        reference = f"localhost:{between.port}/{name}/shop"
        login = RegistryLogin(
            host=reference.split("/")[0], username=registry.username, password=registry.password
        )
        bot.credentials = credentials.model_copy(update={"registries": [login]})
        sha = git.commit({"Dockerfile": f"FROM {base}\nRUN echo {name}\n"})
        between.gated = r"/blobs/uploads/"
        if step == "push":
            between.gate.clear()
        if step == "checkout":
            git.before_fetch.clear()
        seconds = f"9{os.getpid()}"
        test = ImageTest(command=["sleep", seconds if step == "test" else "0"], timeout=60)

        await bot.offer("b", spec(git, sha, name, reference, push=True, test=test))
        reached: dict[str, Callable[[], object]] = {
            "checkout": git.fetching.is_set,
            "test": lambda: alive(f"sleep {seconds}"),
            "push": between.at_gate.is_set,
        }
        async with asyncio.timeout(120):
            while not reached[step]():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await bot.cancel(name, "b")
        ended = await bot.finished("b")

        assert isinstance(ended.result, Stopped)
        assert [one.name for one in ended.steps][-1] == step
        assert left(settings) == [], "no folder, no login on tmpfs"
        assert engine.client.images.list(reference) == []
        assert engine.containers(f"io.blacktree.worker={name}") == []
        assert not [line for line in alive(name) if "blacktree worker" not in line and "pytest" not in line]
        async with asyncio.timeout(60):
            while alive(f"sleep {seconds}"):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        between.gate.set()
        assert registry.tags(f"{name}/shop") == [], "no tag was moved"
