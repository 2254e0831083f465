"""The page of a repository's secrets: their names, who set them and when; values go in and never come out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlmodel import col, select
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from bot.store.database import Store
from bot.store.tables import Environment, Repository
from bot.web.api.operation import checked
from bot.web.api.rows import repository
from bot.web.api.secrets import ScopeQuery, SecretBody, SecretsApi
from bot.web.pages import forms
from bot.web.pages.acts import signed_in, told_at
from bot.web.pages.place import Wrong
from bot.web.pages.render import Pages
from config.repository import PREVIEW

AT = "/repositories/{owner}/{name}/secrets"


@dataclass(frozen=True)
class SecretsPage:
    """The routes."""

    pages: Pages
    store: Store
    api: SecretsApi

    def routes(self) -> list[Route]:
        return [
            Route(AT, self.page),
            Route(AT, self.set, methods=["POST"]),
            Route(f"{AT}/remove", self.remove, methods=["POST"]),
        ]

    async def page(self, request: Request) -> Response:
        return await self._shown(request)

    async def set(self, request: Request) -> Response:
        """Set one, or another value of one."""
        fields, owner = await self._asked(request)
        given = {"name": fields.get("name", "").strip(), "scope": fields.get("scope", "")}
        value = fields.get("value", "").replace("\r\n", "\n")  # as browsers send the lines of a text
        try:
            await self.api.put(request, owner.id, checked(SecretBody, {**given, "value": value}))
        except HTTPException as error:
            return await self._shown(request, told_at(request, fields, error))
        return RedirectResponse(request.url.path, 303)

    async def remove(self, request: Request) -> Response:
        fields, owner = await self._asked(request)
        try:
            scope = checked(ScopeQuery, {"scope": fields.get("scope", "")}).scope
            await self.api.forget(request, owner.id, scope, fields.get("name", ""))
        except HTTPException as error:
            return await self._shown(request, told_at(request, fields, error))
        return RedirectResponse(request.url.path.removesuffix("/remove"), 303)

    async def _asked(self, request: Request) -> tuple[dict[str, str], Repository]:
        fields = await forms.read(request, forms.LONG)
        signed_in(request)
        async with self.store.reading() as session:
            return fields, await repository(session, request.path_params)

    async def _shown(self, request: Request, wrong: Wrong | None = None) -> Response:
        async with self.store.reading() as session:
            owner = await repository(session, request.path_params)
            named = select(Environment.name).where(
                Environment.repository_id == owner.id, col(Environment.pull_number).is_(None)
            )
            places: Sequence[str] = (await session.exec(named.order_by(col(Environment.name)))).all()
        rows = await self.api.secrets.listed(owner.id)
        scopes = ["", PREVIEW, *sorted({*places, *(row.scope for row in rows)} - {"", PREVIEW})]
        status = wrong.status if wrong else 200
        at = f"/repositories/{owner.full_name}/secrets"
        return self.pages.shown(
            request, "secrets", status, owner=owner, rows=rows, scopes=scopes, at=at, wrong=wrong
        )
