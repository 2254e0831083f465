"""People who come to a bot by GitHub: strangers, readers, writers, admins of a private repository."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
from sqlmodel import col, select
from starlette.applications import Starlette

from bot import main
from bot.github.people import CALLBACK
from bot.secrets.tokens import Tokens
from bot.store.tables import (
    AuditRow,
    Delivery,
    DeliveryState,
    Environment,
    Job,
    Release,
    Repository,
    Run,
    TokenRow,
    WorkerRow,
)
from bot.web.app import application
from tests.bot.conftest import Rows
from tests.bot.decisions.test_environments_told import served
from tests.bot.talk import Talk, talking
from tests.bot.web.pages.conftest import HTML
from tests.github import GitHub
from workers.contract.messages import now

FILE = "environments:\n  production: {deployers: [grace, root, ci]}\n  staging: {}\n  preview: {}\n"
# Who is what in the private repository acme/shop. All may sign in: they read acme/other.
ROLES: dict[str, Any] = {"rita": "read", "walt": "write", "grace": "admin"}
OUTSIDER, ROOT = "otto", "root"  # who has nothing to do with acme/shop; who administers the instance


@dataclass
class Browser:
    """Somebody with a browser."""

    http: httpx2.AsyncClient
    url: str
    csrf: str = ""

    async def get(self, path: str) -> httpx2.Response:
        return await self.http.get(path, headers=HTML)

    async def post(self, path: str, **fields: str) -> httpx2.Response:
        sent = {"csrf": self.csrf, **fields}
        return await self.http.post(path, data=sent, headers={**HTML, "origin": self.url})


@dataclass
class Village:
    """A bot at which people sign in by GitHub."""

    talk: Talk
    url: str
    made: list[Starlette]  # the web application, as bot/main.py puts it together
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def github(self) -> GitHub:
        return self.talk.github

    async def somebody(self) -> Browser:
        """Somebody who is not signed in."""
        http = await self.stack.enter_async_context(httpx2.AsyncClient(base_url=self.url, timeout=60))
        return Browser(http, self.url)

    async def arrives(self, browser: Browser, login: str, path: str = "/sign-in/github") -> httpx2.Response:
        """Go to GitHub as `login` and come back; the answer to that."""
        self.github.world.visitor = self.github.user(login)
        there = await browser.get(path)
        assert there.status_code == 303, there.text
        back = await browser.http.get(there.headers["location"])
        assert back.status_code == 302, back.text
        return await browser.get(back.headers["location"])

    async def signed_in(self, login: str) -> Browser:
        browser = await self.somebody()
        answer = await self.arrives(browser, login)
        assert answer.status_code == 303, answer.text
        [browser.csrf, *_] = re.findall(r'name="csrf" value="(\w+)"', (await browser.get("/sessions")).text)
        return browser

    async def token(self, login: str = "", scope: str = "admin", **columns: Any) -> dict[str, str]:
        """The header of a new token, of a person or of the program `ci`."""
        account = self.github.user(login).id if login else None
        known = {"login": login, "account_id": account, "expires_at": now() + timedelta(days=1)}
        told = {"mark": "", "name": "ci", "scope": scope, "made_by": "root", **known, **columns}
        return {"authorization": f"Bearer {await Tokens(self.talk.store).make(TokenRow(**told))}"}

    async def another_run(self, full_name: str, key: str) -> int:
        """The number of a new run of this repository."""
        found = self.github.world.find(*full_name.split("/"))
        assert found
        return (await Rows(self.talk.store).run(repository_id=found.id, cause_key=key)).id or 0

    async def audit(self) -> list[AuditRow]:
        async with self.talk.store.reading() as session:
            return list((await session.exec(select(AuditRow).order_by(col(AuditRow.id)))).all())


@asynccontextmanager
async def village(
    folder: Path, github: GitHub, tables: Path, patch: Any, **more: Any
) -> AsyncIterator[Village]:
    """It has acme/shop, private, with something of everything, and acme/other, which all may read."""
    made: list[Starlette] = []

    def kept(*about: Any) -> Starlette:
        made.append(application(*about))
        return made[-1]

    patch.setattr(main, "application", kept)
    (folder / "bot").mkdir(mode=0o700)
    shutil.copy(tables, folder / "bot")
    client = {"github_client_id": github.app.client_id, "github_client_secret": github.app.client_secret}
    settings = {"admins": ROOT, **client, **more}
    async with talking(folder, github, {".blacktree.yml": FILE}, **settings) as talk:
        url = str(talk.api.base_url).removesuffix("/api/v1/")
        github.app.callbacks = (f"{url}{CALLBACK}",)
        for login, role in ROLES.items():
            talk.repository.collaborators[login] = role
        logins: dict[str, Any] = dict.fromkeys((*ROLES, OUTSIDER), "read")
        other = await github.create_repository("acme/other", {"README.md": "x"}, collaborators=logins)
        github.install_app(talk.repository, other)
        async with talk.store.transaction() as session:
            session.add(Repository(id=other.id, full_name="acme/other", default_branch="main"))
        here = Village(talk, url, made)
        async with here.stack:
            yield here


@dataclass(frozen=True)
class Things:
    """One of each thing of acme/shop, as paths name them."""

    run: int
    job: str
    environment: int
    release: int
    delivery: str

    @classmethod
    async def made(cls, talk: Talk) -> Things:
        place = await served(talk, "production", talk.first, talk.first)
        rows = Rows(talk.store)
        run = await rows.run(repository_id=talk.repository.id)
        job = await rows.job(run, repository_id=talk.repository.id)
        async with talk.store.transaction() as session:
            known: dict[str, Any] = {"event": "push", "payload": "{}", "state": DeliveryState.PROCESSED}
            session.add(Delivery(guid="shops-own", repository_id=talk.repository.id, **known))
            session.add(
                WorkerRow(name="oak-1", pool="default", instance="1", slots=1, address="", software="1")
            )
            for one in (await session.exec(select(Release))).all():
                one.settings = {**one.settings, "tasks": {"nightly": {"command": ["./clean"]}}}
        async with talk.store.reading() as session:
            release = (await session.exec(select(Release))).first()
            assert await session.get(Environment, place.id)
            assert await session.get(Run, run.id)
            assert await session.get(Job, job.id)
        assert release
        assert run.id
        assert place.id
        assert release.id
        return cls(run.id, job.id, place.id, release.id, "shops-own")
