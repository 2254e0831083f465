"""The page that says who changed what, for the instance's administrators."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bot.store.database import Store
from bot.web import changes
from bot.web.access import number
from bot.web.api.rows import names
from bot.web.pages.render import Pages

_FULL = 100  # rows, after which there may be older ones


@dataclass(frozen=True)
class Audited:
    """The route."""

    pages: Pages
    store: Store

    def routes(self) -> list[Route]:
        return [Route("/audit", self.page)]

    async def page(self, request: Request) -> Response:
        async with self.store.reading() as session:
            asked = request.query_params
            by, repository = asked.get("who", ""), asked.get("repository") or None
            rows = await changes.found(session, number(request, "before", 0), by or None, repository, _FULL)
            known = await names(session, {row.repository_id for row in rows})
        older = rows[-1].id if len(rows) >= _FULL else None
        return self.pages.shown(request, "audit", rows=rows, names=known, older=older, by=by)
