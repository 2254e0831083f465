"""Deliveries into SQLite, a batch with one statement: each gives Python's lock away and waits for it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from bot.store.arrivals import Arrival, NotKept
from workers.contract.messages import now

_NEW = """
INSERT INTO deliveries
  (guid, event, action, repository_id, payload, received_at, due_at, state, attempts, reason)
VALUES
"""
_ROW = "(?, ?, ?, ?, ?, ?, ?, 'received', 0, '')"
_AGAIN = """
UPDATE deliveries SET state = 'received', attempts = 0, due_at = ? WHERE guid = ? AND state = 'failed'
"""


MOST_WAL = 4_000  # pages of 4 KiB, from which on whoever commits moves them into the file before it goes on
_MOVED = 2 * 1024 * 1024  # bytes that came in until they are moved beside the commits, which then move little


class SqliteWriter:
    """Into the file `database`; waits `busy` seconds for another process's lock."""

    def __init__(self, database: str, busy: float) -> None:
        self._database = Path(database).absolute()
        self._file: os.stat_result | None = None
        self._busy = busy
        self._connection: sqlite3.Connection | None = None
        self._mover = ThreadPoolExecutor(1, "checkpoint")
        self._moving: Future[None] | None = None
        self._came = 0

    def write(self, arrivals: Sequence[Arrival]) -> list[bool]:
        try:
            connection = self._connected()
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                known = _written(connection, arrivals)
        except sqlite3.OperationalError as error:  # the disk is full, the file is gone, another holds it
            self._leave()
            raise NotKept(str(error)) from error
        self._came += sum(len(arrival.payload) for arrival in arrivals)
        if self._came > _MOVED and (self._moving is None or self._moving.done()):
            self._came, self._moving = 0, self._mover.submit(self._move)
        return known

    def close(self) -> None:
        self._leave()
        self._mover.shutdown()

    def _leave(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _connected(self) -> sqlite3.Connection:
        if self._connection is not None and not self._there():
            self._leave()  # what is written to a file without a name is lost
        if self._connection is None:
            self._connection = self._opened()
            self._connection.execute("PRAGMA synchronous=FULL")
            self._file = self._database.stat()
        return self._connection

    def _opened(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self._database.as_uri()}?mode=rw",
            uri=True,
            timeout=self._busy,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.execute(f"PRAGMA wal_autocheckpoint={MOST_WAL}")
        return connection

    def _move(self) -> None:
        """What is in the log into the file, without holding up anybody who writes."""
        with suppress(sqlite3.Error), closing(self._opened()) as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _there(self) -> bool:
        try:
            return self._file is not None and os.path.samestat(self._file, self._database.stat())
        except FileNotFoundError:
            return False


def _written(connection: sqlite3.Connection, arrivals: Sequence[Arrival]) -> list[bool]:
    """For each whether it was there; mostly none was."""
    values = [value for arrival in arrivals for value in _values(arrival)]
    try:
        connection.execute(_several(len(arrivals)), values)
    except sqlite3.IntegrityError:
        return [_known(connection, arrival) for arrival in arrivals]
    return [False] * len(arrivals)


def _known(connection: sqlite3.Connection, arrival: Arrival) -> bool:
    new = connection.execute(f"{_several(1)} ON CONFLICT (guid) DO NOTHING", _values(arrival)).rowcount == 1
    if not new:
        connection.execute(_AGAIN, (_moment(now()), arrival.guid))
    return not new


@cache
def _several(count: int) -> str:
    return _NEW + ", ".join([_ROW] * count)


def _values(arrival: Arrival) -> tuple[str | int | None, ...]:
    at = _moment(arrival.at)
    return (arrival.guid, arrival.event, arrival.action, arrival.repository_id, arrival.payload, at, at)


def _moment(at: datetime) -> str:
    """As SQLAlchemy writes it."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
