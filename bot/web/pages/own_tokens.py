"""Tokens by which programs act for somebody: made, listed, ended. One is shown once, and to nobody again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from bot.secrets.tokens import DAYS, MOST_DAYS, SCOPES, Tokens
from bot.store import audit
from bot.store.database import Store
from bot.store.tables import Repository, TokenRow
from bot.web.guard import noted, who, within
from bot.web.pages import forms
from bot.web.pages.render import Pages, person
from bot.web.rights import Who
from workers.contract.messages import now

_MOST_NAME = 64  # characters
_MOST = 50  # tokens of one person


@dataclass(frozen=True)
class OwnTokens:
    """The routes."""

    pages: Pages
    store: Store

    def routes(self) -> list[Route]:
        return [
            Route("/tokens", self.page),
            Route("/tokens", self.make, methods=["POST"]),
            Route("/tokens/{id:int}/revoke", self.revoke, methods=["POST"]),
        ]

    async def page(self, request: Request) -> Response:
        return await self._shown(request, _known(request))

    async def make(self, request: Request) -> Response:
        """A token of who is signed in, shown this once."""
        fields, known = await forms.read(request), _signed_in(request)
        account = known.account
        if account is None:
            raise HTTPException(403, "tokens of programs are made by `blacktree token make`")
        name, scope = fields.get("name", "").strip(), fields.get("scope", "")
        days = fields.get("days", "") or str(DAYS)
        if not 0 < len(name) <= _MOST_NAME or not name.isprintable():
            raise HTTPException(400, f"say what the token is for, in {_MOST_NAME} characters at most")
        if scope not in SCOPES:
            raise HTTPException(400, f"a token's scope is one of {', '.join(SCOPES)}")
        if not days.isdecimal() or len(days) > 4 or not 1 <= int(days) <= MOST_DAYS:
            raise HTTPException(400, f"a token lasts 1 to {MOST_DAYS} days")
        tokens = Tokens(self.store)
        if len(await tokens.listed(account.id)) >= _MOST:
            raise HTTPException(409, f"you have {_MOST} tokens: end one first")
        names = [one for part in fields.get("repositories", "").split(",") if (one := part.strip())]
        async with self.store.reading() as session:
            repositories = await _numbers(session, request, names)
        made = await tokens.make(
            TokenRow(
                mark="",
                name=name,
                login=account.login,
                account_id=account.id,
                scope=scope,
                repositories=repositories,
                made_by=known.name,
                expires_at=now() + timedelta(days=int(days)),
            )
        )
        await audit.written(self.store, noted(request, known, f"made the token {name} ({scope})"))
        return await self._shown(request, known, made)

    async def revoke(self, request: Request) -> Response:
        """End a token: one's own, or for the administrators any."""
        await forms.read(request)
        known = _signed_in(request)
        asked: int = request.path_params["id"]
        name = await Tokens(self.store).revoke(asked, _only(known)) if asked < 2**31 else None
        if name is None:
            raise HTTPException(404, "you have no such token")
        await audit.written(self.store, noted(request, known, f"revoked the token {name}"))
        return RedirectResponse("/tokens", 303)

    async def _shown(self, request: Request, known: Who, made: str = "") -> Response:
        theirs = known.administers or known.account is not None
        rows = await Tokens(self.store).listed(_only(known)) if theirs else ()
        ids = {number for row in rows for number in row.repositories or ()}
        async with self.store.reading() as session:
            mine = (col(Repository.id).in_(ids), within(request, Repository.id))
            named = select(Repository.id, Repository.full_name).where(*mine)
            names = dict((await session.exec(named)).all())
        told: dict[str, Any] = {"tokens": rows, "names": names, "made": made, "scopes": SCOPES, "days": DAYS}
        return self.pages.shown(request, "tokens", own=known.account is not None, at=now(), **told)


async def _numbers(session: AsyncSession, request: Request, names: list[str]) -> list[int] | None:
    """The ids of these repositories, None for no names. Raises HTTPException for one that they can't see."""
    if not names:
        return None
    mine = (col(Repository.full_name).in_(names), within(request, Repository.id))
    known = dict((await session.exec(select(Repository.full_name, Repository.id).where(*mine))).all())
    if missing := [name for name in names if name not in known]:
        raise HTTPException(400, f"no repository {missing[0]} is known here")
    return [known[name] for name in names]


def _known(request: Request) -> Who:
    known = who(request)
    assert known, "a rule of this route"  # noqa: S101
    return known


def _signed_in(request: Request) -> Who:
    """Who is signed in: a token makes and ends no token. Raises HTTPException."""
    if person(request) is None:
        raise HTTPException(403, "sign in to do this")
    return _known(request)


def _only(known: Who) -> int | None:
    """Whose tokens one sees and ends, by their number at GitHub, as names change hands; None for all."""
    return None if known.administers else known.account.id if known.account else 0
