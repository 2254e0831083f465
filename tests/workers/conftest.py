"""A worker with a real engine and real git over HTTP, and a small bot that grants what a test asks for."""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from config.settings import Settings
from tests.parts.engine import Engine
from tests.parts.waiting import free_port
from tests.workers.bot import Bot
from workers.contract.memory import MemoryQueue
from workers.engine.buildkit import find_builder
from workers.engine.docker import DockerEngine
from workers.engine.engine import Builder
from workers.tools import Tools
from workers.worker import Worker

TOKEN = "ghs_" + "verysecrettoken" * 3


class GitHost:
    """Serves one repository to whoever has TOKEN."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bare = folder / "acme" / "shop.git"
        self.port = free_port()
        self.prompts: list[str] = []
        self.before_fetch = asyncio.Event()  # while clear, fetches wait
        self.before_fetch.set()
        self.fetching = asyncio.Event()
        _git("init", "--quiet", "--bare", "--initial-branch=main", str(self.bare))
        _git("--git-dir", str(self.bare), "config", "uploadpack.allowAnySHA1InWant", "true")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/acme/shop.git"

    def commit(self, files: dict[str, str]) -> str:
        """A commit on main with exactly these files."""
        work = self.folder / f"work-{secrets.token_hex(4)}"
        work.mkdir()
        _git("init", "--quiet", "--initial-branch=main", cwd=work)
        for name, text in files.items():
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            (work / name).write_text(text)
        _git("add", ".", cwd=work)
        _git("commit", "--quiet", "--message=one", cwd=work)
        _git("push", "--quiet", "--force", str(self.bare), "main", cwd=work)
        return _git("rev-parse", "HEAD", cwd=work)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        login = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
        if headers.get("authorization") != f"Basic {login}":
            challenge = [(b"www-authenticate", b'Basic realm="git"')]
            await send({"type": "http.response.start", "status": 401, "headers": challenge})
            await send({"type": "http.response.body"})
            return
        self.fetching.set()
        await self.before_fetch.wait()
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        await _cgi(self.folder, scope, headers, body, send)


async def _cgi(folder: Path, scope: Scope, headers: dict[str, str], body: bytes, send: Send) -> None:
    env = {
        "PATH": os.environ["PATH"],
        "GIT_PROJECT_ROOT": str(folder),
        "GIT_HTTP_EXPORT_ALL": "1",
        "PATH_INFO": scope["path"],
        "QUERY_STRING": scope["query_string"].decode(),
        "REQUEST_METHOD": scope["method"],
        "CONTENT_TYPE": headers.get("content-type", ""),
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_CONTENT_ENCODING": headers.get("content-encoding", ""),
        "HTTP_GIT_PROTOCOL": headers.get("git-protocol", ""),
        "REMOTE_USER": "x",
    }
    child = await asyncio.create_subprocess_exec(
        "git", "http-backend", env=env, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await child.communicate(body)
    head, _, rest = out.partition(b"\r\n\r\n")
    pairs = [line.split(b": ", 1) for line in head.split(b"\r\n")]
    status = next((int(value[:3]) for name, value in pairs if name == b"Status"), 200)
    kept = [(name.lower(), value) for name, value in pairs if name != b"Status"]
    await send({"type": "http.response.start", "status": status, "headers": kept})
    await send({"type": "http.response.body", "body": rest})


def _git(*arguments: str, cwd: Path | None = None) -> str:
    who = {f"GIT_{role}_{what}": "a@b.c" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    env = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": "/dev/null", **who}
    done = subprocess.run(
        ["git", *arguments], cwd=cwd, env=env, capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout.strip()


@pytest.fixture
async def git(tmp_path: Path) -> AsyncIterator[GitHost]:
    folder = tmp_path / "github"
    folder.mkdir()
    host = GitHost(folder)
    server = uvicorn.Server(uvicorn.Config(host, port=host.port, log_level="warning", lifespan="off"))
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    yield host
    host.before_fetch.set()
    server.should_exit = True
    await serving


@pytest.fixture(scope="session")
def base(engine: Engine) -> str:
    return engine.base_image()


@pytest.fixture
def name(engine: Engine) -> Iterator[str]:
    """A worker's name; all that it labels is removed afterwards."""
    name = f"test-{secrets.token_hex(4)}"
    yield name
    engine.remove(f"io.blacktree.worker={name}")


@pytest.fixture
def settings(tmp_path: Path, name: str) -> Settings:
    return Settings(data_dir=tmp_path / "data", worker_name=name, worker_slots=2, lease=6, shutdown=5)


@pytest.fixture
async def queue() -> MemoryQueue:
    return MemoryQueue()


@pytest.fixture
def docker_engine(name: str) -> Iterator[DockerEngine]:
    engine = DockerEngine(os.environ, name)
    yield engine
    engine.close()


@pytest.fixture
async def tools(name: str, queue: MemoryQueue, docker_engine: DockerEngine) -> Tools:
    builder = await find_builder(os.environ, f"blacktree-{name}-")
    return Tools(name, "127.0.0.1", docker_engine, builder, queue, os.environ)


@pytest.fixture
async def bot(queue: MemoryQueue) -> AsyncIterator[Bot]:
    bot = Bot(queue)
    serving = asyncio.create_task(bot.serve())
    yield bot
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


@pytest.fixture
async def worker(
    settings: Settings,
    queue: MemoryQueue,
    tools: Tools,
    bot: Bot,  # noqa: ARG001
    base: str,  # noqa: ARG001
) -> AsyncIterator[Worker]:
    async def builder() -> Builder:
        return tools.builder

    worker = Worker(settings, queue, tools.engine, builder, os.environ)
    running = asyncio.create_task(worker.run())
    yield worker
    worker.stop(now=True)
    await asyncio.wait_for(running, 30)
