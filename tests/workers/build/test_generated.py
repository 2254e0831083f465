"""Commits without a Dockerfile: what `blacktree init` would write is built, on stand-ins of its bases."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest

from config.settings import Settings
from tests.parts.engine import Engine
from tests.workers.bot import Bot
from tests.workers.build.test_build import left, spec
from tests.workers.conftest import TOKEN, GitHost
from workers.contract.messages import Credentials, Failed, Succeeded

pytestmark = pytest.mark.usefixtures("worker", "stand_ins")
NGINX, NODE = "nginxinc/nginx-unprivileged:1.29-alpine", "node:24-bookworm-slim"
# What their steps want of the real ones.
NPM = """RUN echo 'node:x:1000:1000::/:/bin/sh' >> /etc/passwd && echo 'node:x:1000:' >> /etc/group
RUN printf '#!/bin/sh\\necho npm "$@"\\n' > /bin/npm && busybox chmod 755 /bin/npm
"""


@pytest.fixture(scope="module")
def stand_ins(engine: Engine, base: str) -> Iterator[None]:
    """Images by the names of the templates' bases, where the engine has none by these names."""
    wanted = {NGINX: f"FROM {base}\n", NODE: f"FROM {base}\n{NPM}"}
    made = [name for name in wanted if not engine.client.images.list(name)]
    try:
        for name in made:
            engine.client.images.build(fileobj=io.BytesIO(wanted[name].encode()), tag=name)
        yield
    finally:
        for name in made:
            if engine.client.images.list(name):
                engine.client.images.remove(name, force=True)


@pytest.fixture(autouse=True)
def credentials(bot: Bot) -> None:
    bot.credentials = Credentials(git_username="x-access-token", git_password=TOKEN)


async def test_static_pages_are_built_and_the_log_shows_by_what(
    bot: Bot, git: GitHost, engine: Engine, name: str
) -> None:
    sha = git.commit({"index.html": "hello", ".env": "KEY=secret", "docs/a.html": "a"})
    ended = await bot.run("b", spec(git, sha, name))

    assert isinstance(ended.result, Succeeded), bot.log("b")
    assert ended.result.image is not None
    image = engine.client.images.get(ended.result.image.digest)
    assert (image.attrs["Config"]["User"], [*image.attrs["Config"]["ExposedPorts"]]) == ("101", ["8080/tcp"])
    there = engine.client.containers.run(image, ["ls", "-A", "/usr/share/nginx/html"], remove=True)
    assert there.decode().split() == ["docs", "index.html"], "what is for one's own machine is not in it"
    said = bot.log("b")
    assert "no Dockerfile in this commit: what `blacktree init` writes is built" in said
    assert f"FROM {NGINX}" in said
    assert ended.result.image.key, "it is known again"


async def test_an_app_of_node_is_built_as_whoever_is_not_root(
    bot: Bot, git: GitHost, engine: Engine, name: str
) -> None:
    files = {"package.json": '{"scripts": {"start": "node server.js"}}', "package-lock.json": "{}"}
    sha = git.commit({**files, "server.js": "1"})
    ended = await bot.run("b", spec(git, sha, name))

    assert isinstance(ended.result, Succeeded), bot.log("b")
    assert ended.result.image is not None
    config = engine.client.images.get(ended.result.image.digest).attrs["Config"]
    assert (config["User"], config["Cmd"]) == ("node", ["node", "server.js"])
    assert "npm ci" in bot.log("b")


async def test_what_nothing_can_be_made_of_fails_with_one_sentence_and_leaves_nothing(
    bot: Bot, git: GitHost, name: str, settings: Settings
) -> None:
    sha = git.commit({"package.json": "{}x"})
    ended = await bot.run("b", spec(git, sha, name))

    assert isinstance(ended.result, Failed)
    assert ended.result.reason == "dockerfile_missing"
    said = "There is no Dockerfile in this commit, and none could be made: package.json is no JSON: mend it"
    assert ended.result.sentence == said
    assert left(settings) == []


async def test_a_dockerfile_that_is_named_and_missing_is_still_missing(
    bot: Bot, git: GitHost, name: str
) -> None:
    sha = git.commit({"index.html": "hello"})
    ended = await bot.run("b", spec(git, sha, name, dockerfile="docker/prod"))

    assert isinstance(ended.result, Failed)
    assert ended.result.sentence.startswith("There is no docker/prod in this commit: add it")
