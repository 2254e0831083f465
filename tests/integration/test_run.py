"""`blacktree run`, as somebody at a terminal uses it: no bot, no GitHub, no queue."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from docker.models.containers import Container

from tests.instance import BLACKTREE
from tests.parts.engine import BASE_IMAGE, Engine
from tests.workers.test_process import alive

SERVER = 'EXPOSE 8080\nCMD ["httpd", "-f", "-p", "8080", "-h", "/www"]\n'


@pytest.fixture
def folder(tmp_path: Path, engine: Engine) -> Iterator[Path]:
    """A folder with a Dockerfile whose images are gone afterwards."""
    engine.base_image()
    folder = tmp_path / f"shop-{secrets.token_hex(3)}"
    (folder / "www").mkdir(parents=True)
    (folder / "www" / "index.html").write_text("hello\n")
    dockerfile(folder)
    yield folder
    for container in served(engine, folder):
        container.remove(force=True)
    for image in engine.client.images.list():
        if any(tag.startswith(f"run/{folder.name}") for tag in image.tags):
            engine.client.images.remove(image.id or "", force=True)


def dockerfile(folder: Path, *steps: str) -> None:
    (folder / "Dockerfile").write_text("\n".join([f"FROM {BASE_IMAGE}", *steps, "COPY www /www", SERVER]))


def tags(engine: Engine, folder: Path) -> list[str]:
    found = [tag for image in engine.client.images.list() for tag in image.tags]
    return [tag for tag in found if tag.startswith(f"run/{folder.name}")]


def served(engine: Engine, folder: Path) -> list[Container]:
    """Containers of what was built in a folder."""
    found = engine.containers("io.blacktree.environment=production")
    return [one for one in found if one.labels["io.blacktree.repository"].startswith(f"run/{folder.name}")]


class Running:
    """A `blacktree run` that goes on."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self.child = child
        self.said = ""

    async def until(self, pattern: str) -> re.Match[str]:
        assert self.child.stdout is not None
        async with asyncio.timeout(60):
            while not (found := re.search(pattern, self.said)):
                chunk = await self.child.stdout.read(4096)
                assert chunk, f"it ended without {pattern}:\n{self.said}"
                self.said += chunk.decode(errors="replace")
        return found

    async def end(self) -> int:
        assert self.child.stdout is not None
        async with asyncio.timeout(60):
            self.said += (await self.child.stdout.read()).decode(errors="replace")
            return await self.child.wait()


@asynccontextmanager
async def running(folder: Path, *arguments: str, **env: str) -> AsyncIterator[Running]:
    child = await asyncio.create_subprocess_exec(
        str(BLACKTREE), "run", str(folder), *arguments,
        env={**os.environ, "XDG_CACHE_HOME": str(folder.parent / "cache"), **env},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        yield Running(child)
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


async def ran(folder: Path, *arguments: str, **env: str) -> tuple[int, str]:
    async with running(folder, *arguments, **env) as run:
        return await run.end(), run.said


async def test_what_is_not_committed_is_built_and_tested_and_the_exit_code_says_how_it_went(
    folder: Path, engine: Engine
) -> None:
    test = "{test: [sh, -c, 'cat /www/index.html; test -f /www/new']}"
    (folder / ".blacktree.yml").write_text(f"images: {{app: {test}}}\n")

    code, said = await ran(folder)

    assert code == 1, said
    assert "hello\n" in said
    assert "✗ app: test: The test ended with exit code 1" in said
    assert tags(engine, folder) == []
    (folder / "www" / "new").write_text("")
    code, said = await ran(folder)
    assert code == 0, said
    assert "layers from cache" in said
    assert len(tags(engine, folder)) == 1
    assert (await ran(folder, "--no-test"))[0] == 0


async def test_what_is_served_answers_until_ctrl_c_and_nothing_of_it_stays(
    folder: Path, engine: Engine
) -> None:
    place = "{env: {GREETING: hi}, secrets: [TOKEN]}"
    (folder / ".blacktree.yml").write_text(f"environments: {{production: {place}}}\n")

    async with running(folder, "--serve", TOKEN="s3cret-token") as run:
        url = (await run.until(r"production runs at (http://\S+)"))[1]
        async with httpx2.AsyncClient() as http:
            assert (await http.get(url)).text == "hello\n"
        (container,) = served(engine, folder)
        assert {"GREETING=hi", "TOKEN=s3cret-token"} <= set(container.attrs["Config"]["Env"])
        run.child.send_signal(signal.SIGINT)
        assert await run.end() == 130

    assert "nothing is left running" in run.said
    assert served(engine, folder) == []
    assert not [one for one in engine.client.networks.list() if folder.name in (one.name or "")]


async def test_ctrl_c_in_a_build_ends_it_at_once(folder: Path, engine: Engine) -> None:
    seconds = f"9{os.getpid()}"
    dockerfile(folder, f"RUN sleep {seconds}")

    async with running(folder) as run:
        async with asyncio.timeout(30):
            while not alive(f"sleep {seconds}"):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        run.child.send_signal(signal.SIGINT)
        assert await run.end() == 130

    async with asyncio.timeout(5):
        while alive(f"sleep {seconds}"):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert tags(engine, folder) == []


async def test_one_that_was_killed_is_cleaned_up_after_by_the_next(folder: Path, engine: Engine) -> None:
    async with running(folder, "--serve") as run:
        await run.until("production runs at")
        run.child.kill()
        await run.child.wait()
    assert len(served(engine, folder)) == 1

    assert (await ran(folder))[0] == 0

    assert served(engine, folder) == []


@pytest.mark.parametrize(
    ("file", "arguments", "env", "code", "said"),
    [
        ("images: {app: {dockerfil: x}}\n", [], {}, 2, ".blacktree.yml:1: images.app.dockerfil"),
        (None, ["--image", "ap"], {}, 2, "there is no image ap. Did you mean app?"),
        (None, ["--environment", "prodution"], {}, 2, "Did you mean production?"),
        (None, [], {"DOCKER_HOST": "unix:///nowhere"}, 2, "start Docker, or set DOCKER_HOST"),
        ("images: {app: {secrets: [NPM_TOKEN]}}\n", [], {}, 1, "NPM_TOKEN is not set"),
    ],
)
async def test_what_cannot_be_done_is_said_in_a_sentence(
    folder: Path, file: str | None, arguments: list[str], env: dict[str, str], code: int, said: str
) -> None:
    if file is not None:
        (folder / ".blacktree.yml").write_text(file)

    ended, told = await ran(folder, *arguments, **env)

    assert ended == code, told
    assert said in told
    assert "Traceback" not in told


async def test_a_terminal_sees_the_steps_while_they_run(folder: Path) -> None:
    word = secrets.token_hex(8)
    dockerfile(folder, f"RUN echo said {word}; sleep 1")
    here, there = pty.openpty()
    env = {**os.environ, "XDG_CACHE_HOME": str(folder.parent / "cache"), "TERM": "xterm", "COLUMNS": "100"}
    child = await asyncio.create_subprocess_exec(
        str(BLACKTREE), "run", str(folder), env=env, stdin=there, stdout=there, stderr=there
    )
    os.close(there)
    said = b""
    try:
        async with asyncio.timeout(60):
            while chunk := await asyncio.to_thread(_read, here):
                said += chunk
            assert await child.wait() == 0
    finally:
        os.close(here)
    text = said.decode()
    assert "\x1b[2K" in text, "the picture is drawn anew"
    assert re.search(rf"#\d+ [\d.]+ said {word}", text), "the end of the output is in the picture"
    assert "app is built" in text


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65_536)
    except OSError:  # the other end is closed
        return b""
