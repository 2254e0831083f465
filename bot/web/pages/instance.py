"""Pages about the instance itself: its settings, a worker that is to drain, and the first steps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr
from sqlmodel import col, select
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from bot.store.database import Store
from bot.store.tables import Delivery, Environment, Release, ReleaseState, Repository, WorkerRow
from bot.web.api.deliveries import replayed
from bot.web.api.drains import DrainBody, Drains
from bot.web.api.operation import checked
from bot.web.guard import within
from bot.web.pages import forms
from bot.web.pages.acts import signed_in
from bot.web.pages.render import Pages
from config.networks import loops_back
from config.settings import Settings
from config.sources import PREFIX
from workers.contract.messages import now

_PASSWORD = re.compile(r"(://[^:/@\s]*:)[^\s/,]*@")
_PARAMETER = re.compile(r"([?&][^=&\s]*(?:password|secret|token|key)=)[^&\s]*", re.I)
SET, UNSET = "set, and not shown", "not set"


@dataclass(frozen=True)
class Shown:
    """A setting that is safe to show."""

    name: str
    value: str
    source: str
    says: str


@dataclass(frozen=True)
class Step:
    """A first step: whether it is done, and how it is."""

    title: str
    done: bool
    how: str
    code: str = ""


@dataclass(frozen=True)
class InstancePages:
    """The routes."""

    pages: Pages
    store: Store
    settings: Settings
    drains: Drains

    def routes(self) -> list[Route]:
        return [
            Route("/settings", self.all_settings),
            Route("/start", self.start),
            Route("/workers/{name}/drain", self.drain, methods=["POST"]),
            Route("/deliveries/{guid}/replay", self.replay, methods=["POST"]),
        ]

    async def all_settings(self, request: Request) -> Response:
        return self.pages.shown(request, "settings", rows=told(self.settings))

    async def start(self, request: Request) -> Response:
        at = now() - timedelta(seconds=self.settings.lease)
        mine = within(request, Environment.repository_id)
        live = select(Release.id).join(Environment, col(Environment.id) == col(Release.environment_id))
        asked: list[Any] = [
            select(WorkerRow.name).where(col(WorkerRow.seen_at) > at, col(WorkerRow.stopped).is_(False)),
            select(Delivery.guid).where(within(request, Delivery.repository_id)),
            select(Repository.id).where(within(request, Repository.id)),
            select(Environment.id).where(mine),
            live.where(mine, Release.state == ReleaseState.LIVE),
        ]
        async with self.store.reading() as session:
            there = [(await session.exec(one.limit(1))).first() is not None for one in asked]
        return self.pages.shown(request, "start", steps=steps(self.settings, *there))

    async def drain(self, request: Request) -> Response:
        fields, who = await forms.read(request), signed_in(request)
        body = checked(DrainBody, {"actor": who, "why": fields.get("why", "")})
        await self.drains.drained(request, request.path_params["name"], body)
        return RedirectResponse("/workers", 303)

    async def replay(self, request: Request) -> Response:
        await forms.read(request)
        signed_in(request)
        await replayed(self.store, request, request.path_params["guid"])
        return RedirectResponse(f"/deliveries/{request.path_params['guid']}", 303)


def told(settings: Settings) -> list[Shown]:
    """Pure: every setting by its name; of secrets whether there is one."""
    found = []
    for name, field in Settings.model_fields.items():
        value: Any = getattr(settings, name)
        default = field.get_default(call_default_factory=True)
        source = settings.sources.get(name, "")
        if not source:
            known = value == default or str(value) in (str(default), "")
            source = "the default" if known or not isinstance(value, SecretStr) else "kept by /setup"
        found.append(Shown(PREFIX + name.upper(), _shown(value), source, field.description or ""))
    return found


def _shown(value: Any) -> str:
    if isinstance(value, SecretStr):
        return SET if value.get_secret_value() else UNSET
    if value in (None, "", ()):
        return UNSET
    return _PARAMETER.sub(r"\1…", _PASSWORD.sub(r"\1…@", str(value)))


def steps(
    settings: Settings, worker: bool, delivery: bool, repository: bool, environment: bool, live: bool
) -> Sequence[Step]:
    """Pure: what a new instance needs, in the order in which one does it."""
    host = urlsplit(settings.base_url).hostname or ""
    return (
        Step("GitHub knows this instance", True, "Its App, or the token that it has, is set up."),
        Step(
            "GitHub reaches it",
            delivery or not loops_back(host),
            "Give it a name that is reached from outside: BLACKTREE_PUBLIC_URL. What is wrong is said by",
            "blacktree doctor",
        ),
        Step(
            "A worker is there",
            worker,
            "On one machine `blacktree up` is bot and worker in one. Elsewhere make a credential where the "
            "bot runs, then start `blacktree worker` with it where a Docker engine is:",
            "blacktree workers add oak-1",
        ),
        Step(
            "A repository tells of itself",
            repository and delivery,
            "Install the App on it at GitHub, or make its webhook:",
            "blacktree hook install OWNER/REPO",
        ),
        Step(
            "It says what runs where",
            environment,
            "In a checkout this writes a .blacktree.yml that fits; push it to the default branch:",
            "blacktree init",
        ),
        Step(
            "Something is live",
            live,
            "Push to the default branch, and follow it on the overview:",
            "git push",
        ),
        Step(
            "People sign in with GitHub",
            bool(settings.github_client_id),
            "So that each sees and does what they may at GitHub: the App's client is set up by /setup, or by "
            "BLACKTREE_GITHUB_CLIENT_ID and its secret.",
        ),
    )
