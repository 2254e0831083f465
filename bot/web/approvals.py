"""The API's view of what waits for somebody's approval, and how one gives or refuses it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy import ColumnElement
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.requests import Request

from bot.decisions import approving
from bot.store.tables import Repository, Wanted
from bot.web.api.fields import FullName, Listed, Signed
from bot.web.api.models import Ordered, Said, Shown, of
from bot.web.api.operation import Call, Operation, Part, whose
from bot.web.api.rows import most, names, number_of, only, part, repository
from bot.web.guard import changed, within
from bot.web.orders import Orders
from bot.web.rules import SOME, Of, deploys

_AT = "/repositories/{owner}/{name}"
_MINE: ColumnElement[bool] = col(Wanted.denied_by) == ""

Sha = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$", description="the whole commit: it and no other")]


class WaitingQuery(Listed):
    """Of which repository."""

    repository: FullName | None = None


class VerdictBody(Signed):
    """About which commit. `actor` is who looked at it: whose word counts at GitHub."""

    sha: Sha


class WaitingShown(Shown):
    """A commit that waits for an approval."""

    id: int
    repository: str
    environment: Annotated[str, Field(description="to which it is deployed; empty: a fork's, to be built")]
    pull_number: Annotated[int, Field(description="0 for a branch's")]
    sha: str
    ref: str
    actor: Annotated[str, Field(description="whose wish it is")]
    why: str
    created_at: datetime


@dataclass(frozen=True)
class Approvals:
    """The operations."""

    orders: Orders

    def operations(self) -> list[Operation]:
        act = deploys(Of.REPOSITORY)
        more: dict[str, Any] = {"body": VerdictBody, "makes": True}
        waits = "What waits for an approval, the newest first"
        yes = "Approve of a commit: a fork's is built, another is deployed where its gates are open then"
        return [
            Operation("GET", "/approvals", SOME, waits, self.waiting, list[WaitingShown], WaitingQuery),
            Operation("POST", f"{_AT}/approvals", act, yes, self.approve, Ordered, status=202, **more),
            Operation("POST", f"{_AT}/denials", act, "Say no to it", self.deny, Said, status=201, **more),
        ]

    async def waiting(self, call: Call) -> Part:
        query: WaitingQuery = call.query
        limit, before = most(query.limit), number_of(query.cursor)
        async with self.orders.store.reading() as session:
            which = within(call.request, Wanted.repository_id)
            if (one := await only(session, query.repository)) is not None:
                which &= col(Wanted.repository_id) == one
            if before is not None:
                which &= col(Wanted.id) < before
            rows = await waiting(session, which, limit + 1)
            known = await names(session, {row.repository_id for row in rows})
        found = part(rows, limit, lambda row: str(row.id))
        shown = [of(WaitingShown, row, repository=known[row.repository_id]) for row in found.items]
        return Part(shown, found.after)

    async def approve(self, call: Call) -> Ordered:
        body: VerdictBody = call.body
        async with self.orders.store.reading() as session:
            owner = await repository(session, call.path)
        said, run = await self.approved(call.request, owner, body, "api", call.key)
        return Ordered(message=said, run=run)

    async def deny(self, call: Call) -> Said:
        body: VerdictBody = call.body
        async with self.orders.store.reading() as session:
            owner = await repository(session, call.path)
        return Said(message=await self.denied(call.request, owner, body))

    async def approved(
        self, request: Request, owner: Repository, body: VerdictBody, by: str, key: str
    ) -> tuple[str, int | None]:
        """Keep the approval, and run what waited for it alone; what is done, and its run.

        Raises HTTPException.
        """
        key = f"{by}:{owner.id}:approve:{body.sha}:{key}"
        what, run = await self.orders.decided(
            owner,
            lambda desk: approving.approve(desk, body.sha, body.actor, body.why, f"{by} approve", key),
        )
        changed(request, f"approved {body.sha[:7]}: {what}{whose(request, body)}", body.why)
        return what, run

    async def denied(self, request: Request, owner: Repository, body: VerdictBody) -> str:
        """Say no; what is said. Raises HTTPException."""
        said, _ = await self.orders.decided(
            owner, lambda desk: approving.deny(desk, body.sha, body.actor, body.why)
        )
        changed(request, f"denied {body.sha[:7]}{whose(request, body)}", body.why)
        return said


async def waiting(session: AsyncSession, which: ColumnElement[bool], limit: int) -> Sequence[Wanted]:
    """What waits for an approval, the newest first."""
    rows = select(Wanted).where(which, _MINE).order_by(col(Wanted.id).desc()).limit(limit)
    return (await session.exec(rows)).all()
