"""Who waits for which tables to change."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

# What one part alone reads to know what to do. Nobody else is woken, who does not ask for them by name.
DELIVERIES = "deliveries"
OWN = frozenset({DELIVERIES, "reports", "happenings", "outgoing"})
_WROTE = "blacktree wrote"  # in the `info` of a connection


@dataclass
class Changes:
    """The listeners of one process, and what it has not told other processes yet."""

    unsaid: set[str] = field(default_factory=set)
    unsaid_any: asyncio.Event = field(default_factory=asyncio.Event)
    came: set[int | None] = field(default_factory=set)  # repositories that there are new deliveries of
    elsewhere: bool = False  # there may be deliveries of any
    _listeners: list[tuple[asyncio.Event, frozenset[str]]] = field(default_factory=list)

    @contextmanager
    def of(self, tables: Collection[str]) -> Iterator[asyncio.Event]:
        """An event that is set when one of these is changed, or without any: one that is nobody's own."""
        listener = (asyncio.Event(), frozenset(tables))
        self._listeners.append(listener)
        try:
            yield listener[0]
        finally:
            self._listeners.remove(listener)

    def tell(self, tables: Collection[str]) -> None:
        """These were changed here."""
        self._said_here(tables)
        self.hear(tables)

    def arrived(self, repositories: Collection[int | None]) -> None:
        """Deliveries of these were kept here."""
        self.came.update(repositories)
        self._said_here({DELIVERIES})
        self._wake({DELIVERIES})

    def said(self, tables: Collection[str]) -> None:
        """Others know of these."""
        self.unsaid.difference_update(tables)
        if not self.unsaid:
            self.unsaid_any.clear()

    def unsay(self, tables: Collection[str]) -> None:
        """Others did not hear of these after all."""
        self.unsaid.update(tables)
        self.unsaid_any.set()

    def hear(self, tables: Collection[str]) -> None:
        """These were changed, here or elsewhere."""
        self.elsewhere |= DELIVERIES in tables
        self._wake(tables)

    def _said_here(self, tables: Collection[str]) -> None:
        self.unsaid.update(tables)
        self.unsaid_any.set()

    def _wake(self, tables: Collection[str]) -> None:
        for changed, wanted in self._listeners:
            if wanted & set(tables) if wanted else set(tables) - OWN:
                changed.set()

    def anything(self) -> None:
        """Nobody knows what was changed."""
        self.elsewhere = True
        for changed, _ in self._listeners:
            changed.set()


def note_writes(engine: Engine) -> None:
    """Let a connection's `info` say of which tables a statement changed a row."""

    @event.listens_for(engine, "after_cursor_execute")
    def _wrote(
        connection: Connection, cursor: Any, _sql: str, _values: Any, context: Any, _many: bool
    ) -> None:
        if (context.isinsert or context.isupdate or context.isdelete) and cursor.rowcount != 0:
            table = context.compiled.statement.table.name
            if context.isinsert or table != DELIVERIES:  # what becomes of one its reader has written itself
                connection.info.setdefault(_WROTE, set()).add(table)


def written(info: dict[Any, Any]) -> set[str]:
    """The tables that were changed since this was asked last."""
    tables: set[str] = info.pop(_WROTE, set())
    return tables


async def heard(changed: asyncio.Event, seconds: float) -> None:
    """Wait for `changed`, `seconds` at most."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await changed.wait()
