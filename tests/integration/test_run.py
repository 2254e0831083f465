"""`blacktree run`, as somebody at a terminal uses it: no bot, no GitHub, no queue."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import pty
import re
import secrets
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from docker.models.containers import Container

from config.trust import trusted
from tests.instance import BLACKTREE, PATIENCE
from tests.parts.engine import BASE_IMAGE, Engine
from tests.parts.registry import Registry
from tests.workers.deploy.storeroom import Storeroom
from tests.workers.process.test_process import alive

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
        async with asyncio.timeout(PATIENCE):
            while not (found := re.search(pattern, self.said)):
                chunk = await self.child.stdout.read(4096)
                assert chunk, f"it ended without {pattern}:\n{self.said}"
                self.said += chunk.decode(errors="replace")
        return found

    async def more(self, size: int) -> None:
        """As many bytes of output, which nobody keeps."""
        assert self.child.stdout is not None
        async with asyncio.timeout(PATIENCE):
            await self.child.stdout.readexactly(size)

    async def end(self) -> int:
        assert self.child.stdout is not None
        async with asyncio.timeout(PATIENCE):
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
        async with httpx2.AsyncClient(verify=trusted(), timeout=60) as http:
            assert (await http.get(url)).text == "hello\n"
        (container,) = served(engine, folder)
        assert {"GREETING=hi", "TOKEN=s3cret-token"} <= set(container.attrs["Config"]["Env"])
        run.child.send_signal(signal.SIGINT)
        assert await run.end() == 130

    assert "nothing is left running" in run.said
    assert served(engine, folder) == []
    assert not [one for one in engine.client.networks.list() if folder.name in (one.name or "")]


async def test_all_processes_of_an_environment_are_served_and_told_apart(
    folder: Path, engine: Engine
) -> None:
    web, work = "{port: 8080, replicas: 3}", '{command: [sh, -c, "while :; do echo at work; sleep 1; done"]}'
    processes = f"{{web: {web}, api: {{path: /api}}, worker: {work}}}"
    (folder / ".blacktree.yml").write_text(
        f"environments: {{production: {{processes: {processes}, health: {{lasts: 1}}}}}}\n"
    )

    async with running(folder, "--serve") as run:
        found = await run.until(r"production runs at (http://[0-9.:]+), api at (http://[0-9.:]+) until")
        async with httpx2.AsyncClient(timeout=60) as http:
            assert [(await http.get(url)).text for url in found.groups()] == ["hello\n", "hello\n"]
        assert len(served(engine, folder)) == 3, "one of each"
        await run.until(r"worker at work\n")
        run.child.send_signal(signal.SIGINT)
        assert await run.end() == 130

    assert served(engine, folder) == []


async def test_services_are_there_for_as_long_as_it_runs_and_nothing_of_them_stays(
    folder: Path, engine: Engine, registry: Registry
) -> None:
    label = f"io.blacktree.test.made={folder.name}"
    image = Storeroom(engine, registry, BASE_IMAGE, dict([label.split("=")])).image(f"{folder.name}/db:1")
    login = base64.b64encode(f"{registry.username}:{registry.password}".encode()).decode()
    (folder.parent / "config.json").write_text(json.dumps({"auths": {registry.address: {"auth": login}}}))
    service = (
        f"{{image: '{image}', volumes: {{data: /data}}, generate: [PASSWORD],"
        " provides: {DATABASE_URL: 'db://{PASSWORD}@db'}}"
    )
    ask = "[sh, -c, 'nslookup db && [ ${#DATABASE_URL} = 56 ]']"
    (folder / ".blacktree.yml").write_text(
        f"environments: {{production: {{release_command: {ask}, services: {{db: {service}}}}}}}\n"
    )
    try:
        async with running(folder, "--serve", DOCKER_CONFIG=str(folder.parent)) as run:
            await run.until(r"production runs at (http://\S+)")
            found = engine.containers("io.blacktree.service=db")
            mine = [one for one in found if folder.name in (one.name or "")]
            assert [one.labels["io.blacktree.service"] for one in mine] == ["db"]
            (mount,) = mine[0].attrs["Mounts"]
            run.child.send_signal(signal.SIGINT)
            assert await run.end() == 130
        assert mount["Name"] not in [one.name for one in engine.client.volumes.list()]
        assert not [one for one in engine.client.containers.list(all=True) if one.id == mine[0].id]
        (password,) = {
            value.partition("=")[2]
            for value in mine[0].attrs["Config"]["Env"]
            if value.startswith("PASSWORD=")
        }
        assert len(password) == 48
        assert password not in run.said
    finally:
        engine.remove(label)


async def test_an_app_that_floods_its_log_is_ended_by_ctrl_c_like_any_other(
    folder: Path, engine: Engine
) -> None:
    flood = "yes flooding & sleep 1; exec httpd -f -p 8080 -h /www"
    dockerfile(folder)
    with (folder / "Dockerfile").open("a") as file:
        file.write(f'CMD ["sh", "-c", "{flood}"]\n')

    async with running(folder, "--plain", "--serve") as run:
        await run.until("production runs at")
        await run.more(200_000)
        begun = time.monotonic()
        run.child.send_signal(signal.SIGINT)
        run.child.send_signal(signal.SIGINT)
        run.child.send_signal(signal.SIGTERM)
        assert await run.end() == 130
        assert time.monotonic() - begun < 40, "it takes one or two; a machine under load gets more"

    assert "nothing is left running" in run.said
    assert served(engine, folder) == []


async def test_what_an_app_prints_moves_nothing_on_the_terminal(folder: Path) -> None:
    odd = r"\033]0;owned\007\033[2J\033]8;;http://evil\033\\\302\2332Jplain \010words\n"
    dockerfile(folder)
    (folder / "say").write_text(f"printf '{odd}'; exec httpd -f -p 8080 -h /www")
    with (folder / "Dockerfile").open("a") as file:
        file.write('COPY say /say\nCMD ["sh", "/say"]\n')

    async with running(folder, "--plain", "--serve") as run:
        await run.until("plain words")
        run.child.send_signal(signal.SIGINT)
        assert await run.end() == 130

    assert not {"\x1b", "\x07", "\x08", "\x9b"} & set(run.said)
    assert "owned" not in run.said


async def test_ctrl_c_in_a_build_ends_it_at_once(folder: Path, engine: Engine) -> None:
    seconds = f"9{os.getpid()}"
    dockerfile(folder, f"RUN sleep {seconds}")

    async with running(folder) as run:
        async with asyncio.timeout(PATIENCE):
            while not alive(f"sleep {seconds}"):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        run.child.send_signal(signal.SIGINT)
        assert await run.end() == 130

    async with asyncio.timeout(60):
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


async def test_a_containerfile_is_told_how_to_be_named(folder: Path) -> None:
    (folder / "Dockerfile").rename(folder / "Containerfile")

    ended, told = await ran(folder)

    assert ended == 1, told
    assert "write `dockerfile: Containerfile` for the image in .blacktree.yml" in " ".join(told.split())


async def test_a_terminal_sees_the_steps_while_they_run(folder: Path) -> None:
    word = secrets.token_hex(8)
    dockerfile(folder, f"RUN echo said {word}; sleep 5")
    here, there = pty.openpty()
    env = {**os.environ, "XDG_CACHE_HOME": str(folder.parent / "cache"), "TERM": "xterm", "COLUMNS": "100"}
    child = await asyncio.create_subprocess_exec(
        str(BLACKTREE), "run", str(folder), env=env, stdin=there, stdout=there, stderr=there
    )
    os.close(there)
    said = b""
    try:
        async with asyncio.timeout(PATIENCE):
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
