"""Deliveries into PostgreSQL: a batch is one statement, and a transaction of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import psycopg

from bot.store import versions
from bot.store.arrivals import Arrival, NotKept
from workers.contract.messages import now

# Binary (%b): each of what is sent as text is escaped, which costs more than all else.
# In the order of their GUIDs, so that two bots that are told the same wait for each other in one direction.
_NEW = """
INSERT INTO deliveries
  (guid, event, action, repository_id, payload, received_at, due_at, state, attempts, reason)
SELECT guid, event, action, repository_id, payload, received_at, received_at, 'received', 0, ''
FROM unnest(%b::text[], %b::text[], %b::text[], %b::bigint[], %b::text[], %b::timestamptz[])
  AS came (guid, event, action, repository_id, payload, received_at)
ORDER BY guid
ON CONFLICT (guid) DO NOTHING
RETURNING guid
"""
_AGAIN = """
UPDATE deliveries SET state = 'received', attempts = 0, due_at = %s WHERE guid = ANY (%s) AND state = 'failed'
"""
# Whoever turned it off for the whole server did not mean what is answered with a promise.
_DURABLE = """
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'
"""


class PostgresWriter:
    """Into the database for which `connect` gives the arguments of a connection."""

    def __init__(self, connect: Callable[[], dict[str, Any]]) -> None:
        self._connect = connect
        self._connection: psycopg.Connection | None = None

    def write(self, arrivals: Sequence[Arrival]) -> list[bool]:
        again = self._connection is not None  # it may have been cut since: what is known does no harm
        try:
            return _written(self._connected(), arrivals)
        except (psycopg.OperationalError, psycopg.errors.ReadOnlySqlTransaction) as error:
            self.close()
            if again:
                return self.write(arrivals)
            raise NotKept(str(error)) from error

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connected(self) -> psycopg.Connection:
        if self._connection is None:
            connection = psycopg.connect(**self._connect(), autocommit=True)
            try:
                versions.admit(connection)
                connection.execute(_DURABLE)
            except BaseException as error:
                connection.close()
                if isinstance(error, versions.Newer):
                    raise NotKept(str(error)) from None
                raise
            self._connection = connection
        return self._connection


def _written(connection: psycopg.Connection, arrivals: Sequence[Arrival]) -> list[bool]:
    """For each whether it was there: in the store, or earlier in the batch."""
    columns: list[Any] = [list(column) for column in zip(*arrivals, strict=True)]
    new = {guid for (guid,) in connection.execute(_NEW, columns).fetchall()}
    known = []
    for arrival in arrivals:
        known.append(arrival.guid not in new)
        new.discard(arrival.guid)
    if any(known):
        guids = [arrival.guid for arrival, was in zip(arrivals, known, strict=True) if was]
        connection.execute(_AGAIN, (now(), guids))
    return known
