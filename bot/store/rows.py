"""Rows as lines of JSON and back, of any revision's tables, the same from SQLite and from PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import JSON, Column, Connection, DateTime, MetaData, Table, create_engine, inspect, select

from bot.store import versions
from bot.store.archive import Damaged

_CHUNK = 1024 * 1024  # bytes of lines that are given at once, and a line
_ROWS = 20  # that are read at once: some have a whole delivery in them
VERSION = "alembic_version"


def tables(connection: Connection, revision: str) -> MetaData:
    """Blacktree's tables of a revision, as this database has them. It may have tables of others."""
    metadata = reflected(connection, names(revision))
    for table in metadata.tables.values():
        for column in table.columns:
            if isinstance(column.type, JSON):
                column.type.none_as_null = True  # what is NULL stays so
    return metadata


def reflected(connection: Connection, wanted: set[str]) -> MetaData:
    """Those of the wanted tables that are there."""
    metadata = MetaData()
    metadata.reflect(connection, only=sorted(wanted & _there(connection)))
    return metadata


def names(revision: str) -> set[str]:
    """The tables of a revision: those that its migrations make."""
    return set(_made(versions.FOLDER, revision))


@cache
def _made(_folder: Path, revision: str) -> frozenset[str]:
    scratch = create_engine("sqlite://")
    try:
        with scratch.begin() as connection:
            versions.migrate(revision, connection=connection)
            return frozenset(_there(connection) - {VERSION})
    finally:
        scratch.dispose()


def _there(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names())


def told(connection: Connection, table: Table) -> Iterator[tuple[bytes, int]]:
    """Every row of a table: lines, a megabyte and a little more at once, and how many rows those are."""
    streamed = connection.execution_options(stream_results=True, max_row_buffer=_ROWS)
    lines: list[bytes] = []
    size = 0
    for row in streamed.execute(select(table).order_by(*table.primary_key.columns)).mappings():
        line = json.dumps({key: _told(value) for key, value in row.items()}).encode() + b"\n"
        lines.append(line)
        size += len(line)
        if size >= _CHUNK:
            yield b"".join(lines), len(lines)
            lines, size = [], 0
    if lines:
        yield b"".join(lines), len(lines)


def _told(value: Any) -> Any:
    """A value as JSON has it; SQLite's times have no zone, and are UTC."""
    if isinstance(value, datetime):
        return (value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    return value


def load(connection: Connection, table: Table | None, lines: bytes, named: str) -> int:
    """Insert what `told` gave; how many rows that is. Raises Damaged for what is not of this table."""
    try:
        columns = dict(table.columns) if table is not None else {}
        rows = [
            {key: _value(columns[key], value) for key, value in json.loads(line).items()}
            for line in lines.splitlines()
        ]
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise Damaged(f"{named}: is not of its revision: {error!r}") from error
    if table is not None and rows:
        connection.execute(table.insert(), rows)
    return len(rows)


def _value(column: Column[Any], told: Any) -> Any:
    if told is None or not isinstance(column.type, DateTime):
        return told
    at = datetime.fromisoformat(told)
    return at if column.type.timezone else at.astimezone(UTC).replace(tzinfo=None)
