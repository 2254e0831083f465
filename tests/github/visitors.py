"""Those who come to the stand-in in its own tests: clients with each kind of credential, and a receiver."""

import functools
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from config.trust import trusted
from tests.github.contract import Contract
from tests.github.model import Json, Repository, User
from tests.github.server import listen, serving
from tests.github.standin import PATIENCE, GitHub

FILES = {"README.md": "# Sample\n", "src/app.py": "print('one')\n"}


@dataclass
class Receiver:
    """A webhook receiver that remembers what came; `status` is what it answers."""

    url: str = ""
    status: int = 202
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        self.received.append((dict(request.headers), await request.body()))
        await Response(status_code=self.status)(scope, receive, send)

    def events(self) -> list[str]:
        found = []
        for headers, body in self.received:
            action = json.loads(body).get("action")
            found.append(headers["x-github-event"] + (f".{action}" if action else ""))
        return found


async def make_sample(github: GitHub) -> Repository:
    repository = await github.create_repository("acme/sample", FILES, collaborators={"ada": "write"})
    github.install_app(repository)
    return repository


def app_jwt(github: GitHub, *, issued: int = -60, expires: int = 540) -> str:
    now = int(time.time())
    claims = {"iss": str(github.app.id), "iat": now + issued, "exp": now + expires}
    return jwt.encode(claims, github.app.private_key, algorithm="RS256")


class Client:
    """Any client of the API, with one credential."""

    def __init__(self, github: GitHub, credential: str) -> None:
        headers = {"Authorization": f"Bearer {credential}"} if credential else {}
        self.base = github.api_url
        self.http = httpx2.AsyncClient(verify=trusted(), headers=headers, trust_env=False, timeout=PATIENCE)

    async def __call__(self, method: str, path: str, body: Any = None, **more: Any) -> httpx2.Response:
        return await self.http.request(method, self.base + path, json=body, **more)


class Clients:
    def __init__(self, github: GitHub) -> None:
        self.github = github
        self.made: list[Client] = []

    def by(self, credential: str) -> Client:
        self.made.append(Client(self.github, credential))
        return self.made[-1]

    def app(self) -> Client:
        return self.by(app_jwt(self.github))

    async def bot(self, **narrowing: Any) -> Client:
        number = next(iter(self.github.world.installations))
        answer = await self.app()("POST", f"/app/installations/{number}/access_tokens", narrowing or None)
        assert answer.status_code == 201, answer.text
        return self.by(answer.json()["token"])

    async def close(self) -> None:
        for one in self.made:
            await one.http.aclose()


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    one, listener = Receiver(), listen("127.0.0.1", 0)
    one.url = f"http://127.0.0.1:{listener.getsockname()[1]}/webhook"
    async with serving(one, listener):
        yield one


@dataclass
class Side:
    """A stand-in with a repository, somebody who may write and administrate there, and a receiver."""

    github: GitHub
    receiver: Receiver
    clients: Clients
    sample: Repository
    ada: User

    async def pull(self, path: Path) -> int:
        """The number of a new pull request from `feature`, a branch that adds the file a."""
        work = await self.sample.clone(path, self.ada)
        await work.checkout("feature", create=True)
        await work.commit({"a": "1\n"})
        await work.push()
        return await self.github.open_pull(self.sample, self.ada, head="feature")

    async def payloads(self, event: str, action: str | None = None) -> list[Json]:
        """Of the deliveries so far, oldest first."""
        await self.github.settled()
        found = [one for one in self.github.deliveries if (one.event, one.action) == (event, action)]
        return [one.payload for one in found]


@functools.cache
def described() -> Contract | None:
    return Contract.find()


@asynccontextmanager
async def visiting(path: Path) -> AsyncIterator[Side]:
    """A whole side; at its end nothing that was asked, answered or told may have broken the contract."""
    found = described()
    if found is None:
        pytest.skip("npm ci in tests/github installs GitHub's description")
    contract = Contract(found.description)
    async with receiving() as receiver, GitHub.running(path / "github", contract=contract) as github:
        github.app.hook_url = receiver.url
        sample = await make_sample(github)
        sample.collaborators["ada"] = "admin"
        clients = Clients(github)
        try:
            yield Side(github, receiver, clients, sample, github.user("ada"))
            await github.settled()
        finally:
            await clients.close()
    if contract.violations:
        pytest.fail("\n".join(contract.violations))
