"""SQLite beside the loop, with one hop to its thread for each statement: aiosqlite itself makes four."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Self

import aiosqlite


def connecting(database: str, **known: Any) -> aiosqlite.Connection:
    """A connection for SQLAlchemy (`async_creator_fn`), which opens it."""
    connection = _Connection(lambda: sqlite3.connect(database, **known), iter_chunk_size=64)
    connection._thread.daemon = True  # as SQLAlchemy has it of those that it makes
    return connection


class _Connection(aiosqlite.Connection):
    def cursor(self) -> _Cursor:  # type: ignore[override]
        return _Cursor(self)

    async def in_thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await self._execute(work, *arguments)  # type: ignore[no-untyped-call]


class _Cursor:
    """What SQLAlchemy asks of a cursor: it takes all rows of a statement at once."""

    arraysize = 1

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self._ran: sqlite3.Cursor | None = None
        self._rows: Sequence[Any] = ()

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Self:
        self._ran, self._rows = await self._connection.in_thread(self._run, sql, parameters)
        return self

    async def executemany(self, sql: str, parameters: Sequence[Sequence[Any]]) -> Self:
        self._ran = await self._connection.in_thread(self._connection._conn.executemany, sql, parameters)
        return self

    async def fetchall(self) -> Sequence[Any]:
        return self._rows

    async def close(self) -> None:
        """All its rows are here: nothing of it is open."""

    @property
    def description(self) -> Any:
        return self._ran.description if self._ran else None

    @property
    def rowcount(self) -> int:
        return self._ran.rowcount if self._ran else -1

    @property
    def lastrowid(self) -> int | None:
        return self._ran.lastrowid if self._ran else None

    def _run(self, sql: str, parameters: Sequence[Any]) -> tuple[sqlite3.Cursor, Sequence[Any]]:
        ran = self._connection._conn.execute(sql, parameters)
        return ran, ran.fetchall() if ran.description else ()
