"""A shell in what runs, on a page: what it prints above, a line to type below."""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import col
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bot.store.database import Store
from bot.store.tables import Environment
from bot.web.pages import places
from bot.web.pages.render import Pages
from bot.web.places import found
from bot.web.rules import SHELL_PAGE
from config.settings import Settings


@dataclass(frozen=True)
class ShellPage:
    """The route; its WebSocket is bot/web/shells.py's."""

    pages: Pages
    store: Store
    settings: Settings

    def routes(self) -> list[Route]:
        return [Route(SHELL_PAGE, self.page)]

    async def page(self, request: Request) -> Response:
        async with self.store.reading() as session:
            environment = await found(session, Environment, request)
            (place,) = await places.places(session, col(Environment.id) == environment.id)
        return self.pages.shown(
            request, "shell", place=place, on=self.settings.exec, idle=round(self.settings.exec_idle / 60)
        )
