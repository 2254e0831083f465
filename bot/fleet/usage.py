"""What workers tell that their containers used, added up in minutes, and later in quarters of an hour."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, bindparam, case, delete, insert, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col, select

from bot.fleet.ownership import Owner, name, owner
from bot.store.database import Store
from bot.store.tables import Moment, UsageRow
from workers.contract.messages import Measured, Noted, now
from workers.contract.outputs import Sample

MINUTE, QUARTER = 60, 900  # seconds
FINE, DAYS = timedelta(hours=6), timedelta(days=7)  # how long there are minutes, and anything
EVERY = 600.0  # seconds
_AT_ONCE = 5000  # rows
_MOST = 2**62  # of anything, and of a sum
_CONTAINERS = 200  # of an environment, by their names, in an hour

_KEY = ("environment_id", "container", "span", "at")
_ADDED = ("seconds", "cpu")
_COUNTED = ("received", "sent")
_LATEST = ("process", "release_id", "memory_limit", "restarts")


def _sum(column: str) -> ColumnElement[int]:
    """No greater than a column holds, whatever was told."""
    there, more = col(getattr(UsageRow, column)), bindparam(f"{column}_", type_=BigInteger())
    return case((there > _MOST - more, _MOST), else_=there + more)


_ADD = (
    update(UsageRow)
    .where(*(col(getattr(UsageRow, name)) == bindparam(f"{name}_") for name in _KEY[:3]))
    .where(col(UsageRow.at) == bindparam("at_", type_=Moment()))
    .values(
        memory=case(
            (col(UsageRow.memory) > bindparam("memory_"), col(UsageRow.memory)), else_=bindparam("memory_")
        ),
        **{name: getattr(UsageRow, name) + bindparam(f"{name}_") for name in _ADDED},
        **{name: _sum(name) for name in _COUNTED},
        **{name: bindparam(f"{name}_") for name in _LATEST},
    )
    .returning(col(UsageRow.span))
)


async def noted(store: Store, measured: Measured) -> Noted:
    """Add what is this worker's to tell."""
    at = now()
    async with store.reading() as session:
        told = [
            (await owner(session, measured.worker, sample.whose, store.instance), sample)
            for sample in measured.samples
        ]
    rows = [_row(whose, sample, at) for whose, sample in told if whose]
    known: dict[int, set[str]] = {}
    async with store.statements() as connection:
        for row in rows:
            if await _added(connection, row):
                continue
            place = row["environment_id"]
            if place not in known:
                known[place] = await _names(connection, place, at - timedelta(hours=1))
            if len(known[place] | {row["container"]}) <= _CONTAINERS:
                known[place].add(row["container"])
                await connection.execute(insert(UsageRow).values(**row))
    return Noted()


async def sweep(store: Store) -> None:
    """Make quarters of minutes that are old, and forget what is older."""
    before = _begin(now() - FINE, QUARTER)
    old = select(UsageRow).where(UsageRow.span == MINUTE, col(UsageRow.at) < before).limit(_AT_ONCE)
    while True:
        async with store.reading() as session:
            minutes = (await session.exec(old.order_by(col(UsageRow.at)))).all()
        for start in range(0, len(minutes), 100):
            async with store.transaction() as session:
                connection = await session.connection()
                for row in minutes[start : start + 100]:
                    await _add(
                        connection, {**row.model_dump(), "span": QUARTER, "at": _begin(row.at, QUARTER)}
                    )
                    await session.exec(delete(UsageRow).where(*_is(row)))
        if len(minutes) < _AT_ONCE:
            break
    async with store.statements() as connection:
        await connection.execute(delete(UsageRow).where(col(UsageRow.at) < now() - DAYS))


async def of(store: Store, environment: int, since: datetime) -> Sequence[UsageRow]:
    """What an environment's containers used since then, oldest first."""
    mine = select(UsageRow).where(UsageRow.environment_id == environment, col(UsageRow.at) >= since)
    async with store.reading() as session:
        return (await session.exec(mine.order_by(col(UsageRow.at), col(UsageRow.container)))).all()


def _is(row: UsageRow) -> list[Any]:
    return [col(getattr(UsageRow, name)) == getattr(row, name) for name in _KEY]


async def _add(connection: AsyncConnection, row: dict[str, Any]) -> None:
    if not await _added(connection, row):
        await connection.execute(insert(UsageRow).values(**row))


async def _added(connection: AsyncConnection, row: dict[str, Any]) -> bool:
    """Whether there was a row that this was added to."""
    added = await connection.execute(_ADD, {f"{name}_": value for name, value in row.items()})
    return added.first() is not None


async def _names(connection: AsyncConnection, environment: int, since: datetime) -> set[str]:
    """The containers of an environment that there are numbers of since then."""
    mine = select(UsageRow.container).where(UsageRow.environment_id == environment)
    recent = mine.where(UsageRow.span == MINUTE, col(UsageRow.at) >= since).distinct()
    return set((await connection.scalars(recent)).all())


def _row(whose: Owner, sample: Sample, at: datetime) -> dict[str, Any]:
    """Pure: a sample as a row of its minute. Numbers that cannot be are as if there were nothing.

    In this order `max` and `min` make 0 of what is no number.
    """
    counts = ("memory", "received", "sent")
    return {
        "environment_id": whose.environment,
        "container": name(sample.whose.name),
        "span": MINUTE,
        "at": _begin(at, MINUTE),
        "process": name(sample.whose.process),
        "release_id": whose.release,
        "seconds": min(max(0.0, sample.seconds), 3600.0),
        "cpu": min(max(0.0, sample.cpu), 1e6),
        "memory_limit": min(max(sample.limit, 0), _MOST),
        "restarts": min(max(sample.restarts, 0), 2**31 - 1),
        **{count: min(max(getattr(sample, count), 0), _MOST // 1000) for count in counts},
    }


def _begin(at: datetime, span: int) -> datetime:
    """Pure: when the span begins that a moment is in."""
    return datetime.fromtimestamp(at.timestamp() // span * span, UTC)
