"""How often environments are asked for, as far as the proxy sees: added up in hours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, insert, update
from sqlmodel import col, select

from bot.store.database import Store
from bot.store.tables import Environment, VisitsRow
from workers.contract.messages import now

HOUR = timedelta(hours=1)
KEPT = timedelta(days=30)
EVERY = 3600.0  # seconds between two looks for what is older


async def add(store: Store, seen: Mapping[int, int], at: datetime) -> None:
    """Of each environment how many requests came until `at`; 0 where one is still being answered."""
    hour = begin(at)
    async with store.statements() as connection:
        for environment, requests in seen.items():
            here = col(Environment.id) == environment
            await connection.execute(update(Environment).where(here).values(requested_at=at))
            if not requests:
                continue
            row = (col(VisitsRow.environment_id) == environment, col(VisitsRow.at) == hour)
            more = update(VisitsRow).where(*row).values(requests=col(VisitsRow.requests) + requests)
            if (await connection.execute(more)).rowcount == 0:
                first = {"environment_id": environment, "at": hour, "requests": requests}
                await connection.execute(insert(VisitsRow).values(**first))


async def of(store: Store, environment: int, since: datetime) -> Sequence[VisitsRow]:
    """The hours since then in which it was asked for, the oldest first; the first one whole."""
    mine = select(VisitsRow).where(VisitsRow.environment_id == environment, col(VisitsRow.at) >= begin(since))
    async with store.reading() as session:
        return (await session.exec(mine.order_by(col(VisitsRow.at)))).all()


async def sweep(store: Store) -> None:
    """Forget what is older than KEPT."""
    async with store.statements() as connection:
        await connection.execute(delete(VisitsRow).where(col(VisitsRow.at) < now() - KEPT))


def begin(at: datetime) -> datetime:
    """Of the hour that a moment is in."""
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
