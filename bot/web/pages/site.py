"""All pages together: what bot/main.py makes, and the application has routes of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bot.secrets.repositories import Secrets
from bot.secrets.vault import Vault
from bot.store.database import Store
from bot.store.logs import LogStore
from bot.store.outputs import Outputs
from bot.web.api.channels import ChannelsApi
from bot.web.api.drains import Drains
from bot.web.api.secrets import SecretsApi
from bot.web.api.webhooks import WebhooksApi
from bot.web.approvals import Approvals
from bot.web.assets import STATIC
from bot.web.backups import Backups
from bot.web.orders import Orders
from bot.web.pages.acts import Acts
from bot.web.pages.approvals import ApprovalsPage
from bot.web.pages.arrival import Arrival
from bot.web.pages.audited import Audited
from bot.web.pages.instance import InstancePages
from bot.web.pages.job import JobPage
from bot.web.pages.live import Live
from bot.web.pages.notifications import NotificationsPage
from bot.web.pages.own_tokens import OwnTokens
from bot.web.pages.place import PlacePage
from bot.web.pages.reading import Reading
from bot.web.pages.render import Pages
from bot.web.pages.runtime import Runtime
from bot.web.pages.secrets import SecretsPage
from bot.web.pages.shell import ShellPage
from bot.web.pages.signing import Signing
from bot.web.pages.stream import lasting
from bot.web.pages.views import Views
from bot.web.pages.why import WhyPage
from bot.web.sessions import Sessions
from bot.web.why.answer import Why
from config.settings import Settings

_TITLES = {400: "That was no question", 403: "Not like this", 404: "Nothing is here", 413: "Too large"}


class Routed(Protocol):
    """A part of the pages."""

    def routes(self) -> list[Route]: ...


@dataclass(frozen=True)
class Site:
    """The pages of one bot."""

    pages: Pages
    live: Live
    runtime: Runtime
    parts: tuple[Routed, ...]

    @classmethod
    def of(
        cls,
        store: Store,
        logs: LogStore,
        settings: Settings,
        sessions: Sessions,
        orders: Orders,
        arrival: Arrival | None = None,
        outputs: Outputs | None = None,
        held: Secrets | None = None,
    ) -> Site:
        pages, live = Pages(settings), Live(store, logs)
        runtime = Runtime(pages, store, outputs or Outputs.of(settings), live)
        known = held or Secrets(store, Vault(store, settings))
        secrets = SecretsApi(store, known)
        channels, webhooks = ChannelsApi(store, settings), WebhooksApi(store, known.webhooks)
        place = PlacePage(pages, store, settings, runtime)
        parts: tuple[Routed, ...] = (
            Signing(pages, store, sessions, arrival),
            Audited(pages, store),
            OwnTokens(pages, store),
            Views(pages, store, settings),
            place,
            JobPage(pages, store, logs, live),
            Reading(pages, store, logs),
            Acts(store, orders, Backups(store, settings), place),
            ApprovalsPage(pages, Approvals(orders)),
            SecretsPage(pages, store, secrets),
            NotificationsPage(pages, store, settings, channels, webhooks),
            InstancePages(pages, store, settings, Drains(store, settings)),
            WhyPage(pages, Why(store, settings.github_url)),
            runtime,
            ShellPage(pages, store, settings),
        )
        return cls(pages, live, runtime, parts)

    def routes(self) -> list[Route]:
        return [
            *(route for part in self.parts for route in part.routes()),
            Route("/events", self.events),
            *(Route(f"/static/{name}", self.pages.file) for name in STATIC),
        ]

    async def events(self, request: Request) -> Response:
        """That something has changed, for pages that are open."""
        return self.live.changes(lasting(request))

    def wrong(self, request: Request, status: int, sentence: str) -> Response | None:
        """The page that says what went wrong, for whoever looks with a browser."""
        if "text/html" not in request.headers.get("accept", "") or request.url.path.startswith("/api/"):
            return None
        title = _TITLES.get(status, "This went wrong" if status < 500 else "This is our fault")
        return self.pages.shown(request, "wrong", status, title=title, sentence=sentence, number=status)
