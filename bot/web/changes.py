"""Who changed what, as programs and the page are told it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import Field
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.store.database import Store
from bot.store.tables import AuditRow
from bot.web.api.fields import MOST, FullName, Limit, Listed, Number, Word
from bot.web.api.models import Shown, of
from bot.web.api.operation import Call, Operation, Part
from bot.web.api.rows import most, names, number_of, only, part
from bot.web.rules import INSTANCE


class ChangesQuery(Listed):
    """Which changes."""

    limit: Limit = MOST
    before: Annotated[Number, Field(description="as `cursor`")] = 0
    who: Word | None = None
    repository: FullName | None = None


class ChangeShown(Shown):
    """Something that somebody changed here."""

    id: int
    at: datetime
    who: str
    how: Annotated[str, Field(description="a session, a token, a comment at GitHub, a command line")]
    address: str
    what: str
    why: str
    repository: str | None


@dataclass(frozen=True)
class Changes:
    """The operation."""

    store: Store

    def operations(self) -> list[Operation]:
        answers = list[ChangeShown]
        return [Operation("GET", "/audit", INSTANCE, "Who changed what", self.changes, answers, ChangesQuery)]

    async def changes(self, call: Call) -> Part:
        query: ChangesQuery = call.query
        before, limit = number_of(query.cursor) or query.before, most(query.limit)
        async with self.store.reading() as session:
            rows = await found(session, before, query.who, query.repository, limit + 1)
            known = await names(session, {row.repository_id for row in rows})
        told = part(rows, limit, lambda row: str(row.id))
        shown = [of(ChangeShown, row, repository=known.get(row.repository_id or 0)) for row in told.items]
        return Part(shown, told.after)


async def found(
    session: AsyncSession, before: int, who: str | None, repository: str | None, limit: int
) -> Sequence[AuditRow]:
    """The newest changes, before number `before` where there is one, by `who`, of `repository`."""
    wanted = select(AuditRow).order_by(col(AuditRow.id).desc())
    if before:
        wanted = wanted.where(col(AuditRow.id) < before)
    if who is not None:
        wanted = wanted.where(AuditRow.who == who)
    if (one := await only(session, repository)) is not None:
        wanted = wanted.where(AuditRow.repository_id == one)
    return (await session.exec(wanted.limit(limit))).all()
