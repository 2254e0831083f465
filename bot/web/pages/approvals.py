"""The page of what waits for an approval, and the two answers that there are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from sqlmodel import col, select
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from bot.store.tables import Repository, Wanted
from bot.web.api.operation import checked
from bot.web.api.rows import repository
from bot.web.approvals import Approvals, VerdictBody, waiting
from bot.web.guard import right, right_on, within
from bot.web.named import named
from bot.web.pages import forms
from bot.web.pages.acts import key_of, signed_in, told_at
from bot.web.pages.place import Wrong, known_at_github
from bot.web.pages.render import Pages
from bot.web.rights import Right

_MOST = 100

Answer = Callable[[Repository, VerdictBody, str], Awaitable[Response]]


@dataclass(frozen=True)
class ApprovalsPage:
    """The routes."""

    pages: Pages
    approvals: Approvals

    def routes(self) -> list[Route]:
        at = "/repositories/{owner}/{name}"
        return [
            Route("/approvals", self.page),
            Route(f"{at}/approve", self.approve, methods=["POST"]),
            Route(f"{at}/deny", self.deny, methods=["POST"]),
        ]

    async def page(self, request: Request) -> Response:
        only = request.query_params.get("repository", "")
        return await self._shown(request, only)

    async def approve(self, request: Request) -> Response:
        async def approved(owner: Repository, body: VerdictBody, key: str) -> Response:
            said, run = await self.approvals.approved(request, owner, body, "page", key)
            return RedirectResponse(f"/runs/{run}", 303) if run else await self._shown(request, "", said=said)

        return await self._answered(request, approved)

    async def deny(self, request: Request) -> Response:
        async def denied(owner: Repository, body: VerdictBody, _key: str) -> Response:
            await self.approvals.denied(request, owner, body)
            return RedirectResponse("/approvals", 303)

        return await self._answered(request, denied)

    async def _answered(self, request: Request, answer: Answer) -> Response:
        fields = await forms.read(request)
        who = signed_in(request)
        async with self.approvals.orders.store.reading() as session:
            owner = await repository(session, request.path_params)
        try:
            given = {"sha": fields.get("sha", ""), "why": fields.get("why", ""), "actor": who}
            return await answer(owner, checked(VerdictBody, given), key_of(fields))
        except HTTPException as error:
            return await self._shown(request, owner.full_name, told_at(request, fields, error))

    async def _shown(
        self, request: Request, only: str, wrong: Wrong | None = None, said: str = ""
    ) -> Response:
        """The page; with what was `said` to an answer that began nothing, or was `wrong` with it."""
        async with self.approvals.orders.store.reading() as session:
            which = within(request, Wanted.repository_id)
            if only:
                one = await named(session, only)
                which &= col(Wanted.repository_id) == (one.id if one else 0)
            rows = await waiting(session, which, _MOST)
            theirs = select(Repository).where(col(Repository.id).in_({row.repository_id for row in rows}))
            owners = {owner.id: owner for owner in (await session.exec(theirs)).all()}
        may: dict[int, bool] = {}
        for number, owner in owners.items():
            may[number] = known_at_github(request) and await _may(request, owner)
        shown: list[Any] = [(row, owners[row.repository_id], may[row.repository_id]) for row in rows]
        status = wrong.status if wrong else 200
        return self.pages.shown(request, "approvals", status, rows=shown, only=only, wrong=wrong, said=said)


async def _may(request: Request, owner: Repository) -> bool:
    """Whether who looks may answer: of a list it is asked, of one repository it is known."""
    return max(right(request), await right_on(request, owner)) >= Right.DEPLOY
