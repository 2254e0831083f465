"""The page that answers why: a question, and what happened, in its order."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bot.web.guard import mine
from bot.web.pages.render import Pages
from bot.web.why.answer import Why, WhyShown

_MOST = 500  # characters


@dataclass(frozen=True)
class WhyPage:
    """The route."""

    pages: Pages
    why: Why

    def routes(self) -> list[Route]:
        return [Route("/why", self.page)]

    async def page(self, request: Request) -> Response:
        """`?q=` is the question, `?repository=` where it is about; without one there is the form alone."""
        asked = request.query_params.get("q", "").replace("\0", "")[:_MOST].strip()
        repository = request.query_params.get("repository", "").replace("\0", "")[:_MOST].strip()
        answer: WhyShown | None = None
        wrong, status = "", 200
        if asked:
            try:
                answer = await self.why.of(mine(request), asked, repository)
            except HTTPException as error:
                wrong, status = error.detail, error.status_code
        return self.pages.shown(
            request, "why", status, asked=asked, repository=repository, answer=answer, wrong=wrong
        )
