"""git over HTTP, with Git LFS, for the tests of workers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import secrets
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import Receive, Scope, Send

from tests.parts.waiting import free_port

TOKEN = "ghs_" + "verysecrettoken" * 3
_LARGE = 100_000  # bytes
# What is large in tests is random: no time is spent on making it smaller.
_QUICK = ("-c", "core.compression=0", "-c", "core.bigFileThreshold=1m")


class GitHost:
    """Serves acme/shop and other repositories, with their files in Git LFS, to whoever has TOKEN."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bare = folder / "acme" / "shop.git"
        self.port = free_port()
        self.logins: set[str] = set()  # that were tried
        self.denied: set[str] = set()  # paths' beginnings that TOKEN is not for
        self.refused = 0
        self.fault = 0  # a status that fetches are answered with
        self.public = False
        self.served = 0  # bytes
        self.fetches = 0
        self.lfs: dict[str, bytes] = {}  # by object id
        self.downloads: list[str] = []  # of objects in Git LFS
        self.rest = asyncio.Event()  # while clear, only the first half of a large answer is sent
        self.rest.set()
        self.half = asyncio.Event()  # it is sent
        self.before_fetch = asyncio.Event()  # while clear, fetches wait
        self.before_fetch.set()
        self.fetching = asyncio.Event()
        self._make(self.bare)

    @property
    def url(self) -> str:
        return self.url_of("acme/shop")

    def url_of(self, repository: str) -> str:
        return f"http://127.0.0.1:{self.port}/{repository}.git"

    def commit(
        self,
        files: Mapping[str, str | bytes],
        *,
        on: str = "",
        repository: str = "acme/shop",
        links: Mapping[str, str] | None = None,
        executable: Sequence[str] = (),
        date: str = "",
    ) -> str:
        """A commit on main with exactly these files; or with those of the commit `on` and these."""
        bare = self.folder / f"{repository}.git"
        if not bare.exists():
            self._make(bare)
        work = self.folder / f"work-{secrets.token_hex(4)}"
        _git("clone", "--quiet", "--shared", "--no-checkout", str(bare), str(work))
        _git("symbolic-ref", "HEAD", "refs/heads/new", cwd=work)
        if on:
            _git("reset", "--quiet", on, cwd=work)
        for name, text in files.items():
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            (work / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        _git("add", "--", *files, cwd=work)
        for path in executable:
            _git("update-index", "--chmod=+x", path, cwd=work)
        for path, sha in (links or {}).items():
            _git("update-index", "--add", "--cacheinfo", f"160000,{sha},{path}", cwd=work)
        _git("commit", "--quiet", "--allow-empty", "--message=one", cwd=work, date=date)
        _git("push", "--quiet", "--force", str(bare), "HEAD:refs/heads/main", cwd=work)
        return _git("rev-parse", "HEAD", cwd=work)

    def commit_unseen(self, path: str) -> str:
        """A commit with one file, at a path that no file system need take."""
        there = ["--git-dir", str(self.bare)]
        kind, mode, made = "blob", "100644", _git(*there, "hash-object", "-w", "--stdin", told="x")
        for name in reversed(path.split("/")):
            made = _git(*there, "mktree", told=f"{mode} {kind} {made}\t{name}\n")
            kind, mode = "tree", "040000"
        return _git(*there, "commit-tree", made, "-m", "one")

    def ask(self, *arguments: str, repository: str = "acme/shop") -> str:
        """What git says of a repository here."""
        return _git("--git-dir", str(self.folder / f"{repository}.git"), *arguments)

    def in_lfs(self, content: bytes) -> str:
        """The pointer to `content`, which is on the LFS server from now on."""
        oid = hashlib.sha256(content).hexdigest()
        self.lfs[oid] = content
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n"

    def _make(self, bare: Path) -> None:
        _git("init", "--quiet", "--bare", "--initial-branch=main", str(bare))
        _git("--git-dir", str(bare), "config", "uploadpack.allowAnySHA1InWant", "true")
        _git("--git-dir", str(bare), "config", "core.bigFileThreshold", "1m")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        login = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
        self.logins |= {headers["authorization"]} if "authorization" in headers else set()
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        path: str = scope["path"]
        if not self.public and headers.get("authorization") != f"Basic {login}":
            await _answer(send, 401, {"www-authenticate": 'Basic realm="git"'}, b"")
        elif any(path.startswith(f"/{start}") for start in self.denied):
            self.refused += 1
            await _answer(send, 404, {}, b"Repository not found.")
        elif path.startswith("/lfs/"):
            await self._lfs_object(path.removeprefix("/lfs/"), send)
        elif path.endswith("/info/lfs/objects/batch"):
            await self._lfs_batch(json.loads(body), send)
        else:
            self.fetching.set()
            await self.before_fetch.wait()
            status, kept, answer = await _cgi(self.folder, scope, headers, body)
            self.fetches += b"000dpackfile" in answer
            if self.fault:
                status, answer = self.fault, b"0000 oops"
            await self._send(send, status, kept, answer)

    async def _lfs_batch(self, asked: dict[str, Any], send: Send) -> None:
        objects = []
        for wanted in asked["objects"]:
            href = f"http://127.0.0.1:{self.port}/lfs/{wanted['oid']}"
            known = wanted["oid"] in self.lfs
            missing = {"code": 404, "message": "Object does not exist on the server"}
            objects.append(
                wanted | ({"actions": {"download": {"href": href}}} if known else {"error": missing})
            )
        answer = json.dumps({"transfer": "basic", "objects": objects}).encode()
        await _answer(send, 200, {"content-type": "application/vnd.git-lfs+json"}, answer)

    async def _lfs_object(self, oid: str, send: Send) -> None:
        self.downloads.append(oid)
        await self._send(send, 200, {"content-type": "application/octet-stream"}, self.lfs[oid])

    async def _send(self, send: Send, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.served += len(body)
        if self.rest.is_set() or len(body) < _LARGE:
            await _answer(send, status, headers, body)
            return
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        self.half.set()
        await self.rest.wait()
        await send({"type": "http.response.body", "body": body[len(body) // 2 :]})


async def _answer(send: Send, status: int, headers: Mapping[str, str], body: bytes) -> None:
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


async def _cgi(
    folder: Path, scope: Scope, headers: dict[str, str], body: bytes
) -> tuple[int, dict[str, str], bytes]:
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
    pairs = dict(line.decode().split(": ", 1) for line in head.split(b"\r\n"))
    return int(pairs.pop("Status", "200")[:3]), pairs, rest


def _git(*arguments: str, cwd: Path | None = None, told: str = "", date: str = "") -> str:
    who = {f"GIT_{role}_{what}": "a@b.c" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    when = {"GIT_COMMITTER_DATE": date} if date else {}
    alone = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    env = {"PATH": os.environ["PATH"], **alone, **who, **when}
    done = subprocess.run(
        ["git", *_QUICK, *arguments],
        cwd=cwd, env=env, input=told, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return done.stdout.strip()


@contextlib.asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[GitHost]:
    """A host whose repositories are in `folder`."""
    host = GitHost(folder)
    server = uvicorn.Server(uvicorn.Config(host, port=host.port, log_level="warning", lifespan="off"))
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    try:
        yield host
    finally:
        host.before_fetch.set()
        host.rest.set()
        server.should_exit = True
        await running
