"""How those stand who are told beside GitHub: what each was owed last and still is; and log drains."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.log_drains.wanted import OWN
from bot.reports.lanes import Lane
from bot.store.tables import Environment, LogDrainRow, Outgoing, OutgoingState, Repository

_RECENT = 5  # things that each was owed


@dataclass(frozen=True)
class Standing:
    """A receiver: what it was owed, the newest first, and how much it has not got yet."""

    recent: Sequence[Outgoing] = ()
    waiting: int = 0
    due_at: datetime | None = None
    ended: Outgoing | None = None  # the newest of `recent` that something came of


@dataclass(frozen=True)
class Drain:
    """Where what an environment prints goes besides, and how far that is."""

    repository: Repository
    environment: Environment
    row: LogDrainRow


async def standings(session: AsyncSession, lanes: Collection[Lane]) -> Mapping[str, Standing]:
    """Of each lane that was ever owed something, by its name."""
    names = {str(lane) for lane in lanes}
    if not names:
        return {}
    newest = func.row_number().over(partition_by=col(Outgoing.lane), order_by=col(Outgoing.id).desc())
    ranked = (
        select(col(Outgoing.id).label("id"), newest.label("place"))
        .where(col(Outgoing.lane).in_(names))
        .subquery()
    )
    few = select(Outgoing).join(ranked, col(Outgoing.id) == ranked.c.id).where(ranked.c.place <= _RECENT)
    rows = (await session.exec(few.order_by(col(Outgoing.id).desc()))).all()
    pending = (
        select(Outgoing.lane, func.count(), func.min(Outgoing.due_at))
        .where(col(Outgoing.lane).in_(names), col(Outgoing.state) == OutgoingState.PENDING)
        .group_by(col(Outgoing.lane))
    )
    waiting = {lane: (many, due) for lane, many, due in (await session.exec(pending)).all()}
    found = {}
    for name in {row.lane for row in rows}:
        mine = [row for row in rows if row.lane == name]
        ended = next((row for row in mine if row.state is not OutgoingState.PENDING), None)
        many, due = waiting.get(name, (0, None))
        found[name] = Standing(mine, many, due, ended)
    return found


async def drains(session: AsyncSession, repository_id: int | None) -> Sequence[Drain]:
    """Log drains that a repository's files name, or all; those that take nothing come first.

    Where the instance's is, its administrators alone are told.
    """
    asked = (
        select(Repository, Environment, LogDrainRow)
        .join(Environment, col(Environment.repository_id) == col(Repository.id))
        .join(LogDrainRow, col(LogDrainRow.environment_id) == col(Environment.id))
        .order_by(col(LogDrainRow.problem) == "", Repository.full_name, Environment.name, LogDrainRow.scope)
        .limit(200)
    )
    if repository_id is not None:
        asked = asked.where(Repository.id == repository_id, LogDrainRow.scope == OWN)
    return [Drain(*row) for row in (await session.exec(asked)).all()]
