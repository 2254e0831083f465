"""The whole database into a file, of any revision, from SQLite or PostgreSQL, while bots work on it.

By our own reading, not by pg_dump or SQLite's backup API: that needs no program beside us, makes one format
of both databases, and streams. One transaction sees one moment of everything (a reader's in WAL mode,
REPEATABLE READ), and holds no writer up.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, Engine, NullPool, Table, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from bot.store import rows, versions
from bot.store.archive import KEY, Manifest, Writer
from bot.store.database import Store
from bot.store.logs import files
from config.errors import ConfigError
from workers.contract.messages import now

_BUSY = 30  # seconds that SQLite waits for another process's lock


@dataclass(frozen=True)
class Held:
    """What a backup holds."""

    manifest: Manifest
    rows: int
    logs: int
    key: bool


def write(store: Store, out: IO[bytes], *, logs: Path | None = None, key: Path | None = None) -> Held:
    """The whole store as it is at this moment, and the `logs` and the `key` if those are given.

    Raises ConfigError where the store can't be read, OSError where `out` can't be written.
    """
    with reached(store), _snapshot(store) as connection:
        revision = _revision(connection)
        made = Manifest(
            version=version("blacktree"),
            revision=revision,
            created_at=now(),
            database="SQLite" if store.sqlite else "PostgreSQL",
            instance=str(connection.scalar(text("SELECT id FROM instance"))),
        )
        writer = Writer(out, made)
        if key is not None:
            writer.bytes(KEY, key.read_bytes())
        tables = rows.tables(connection, revision).sorted_tables
        count = sum(_table(connection, table, writer) for table in tables)
    # Later than the rows: what an attempt told since is there twice at most, and is known by its offset.
    logged = sum(_log(file, writer) for file in files(logs)) if logs else 0
    writer.close()
    return Held(made, count, logged, key is not None)


@contextmanager
def reached(store: Store) -> Iterator[None]:
    """What the database says is told as the setting's fault. Raises ConfigError."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        cause = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        raise ConfigError(f"DATABASE_URL: {store.description}: {cause}") from error


@contextmanager
def engine(store: Store, mode: str) -> Iterator[Engine]:
    """One without a pool; `mode` is SQLite's: `rw` for a file that is there, `rwc` to make it."""
    if store.sqlite:
        path = Path(store.url.database or "").absolute()
        if mode == "rw" and not path.exists():
            raise versions.Busy("there is no such file: has a bot ever run here?")

        def connect() -> sqlite3.Connection:
            uri = f"{path.as_uri()}?mode={mode}"
            return sqlite3.connect(uri, timeout=_BUSY, isolation_level=None, uri=True)

        made = create_engine("sqlite://", creator=connect, poolclass=NullPool)
    else:
        made = create_engine(store.url, poolclass=NullPool)
    yield made


@contextmanager
def _snapshot(store: Store) -> Iterator[Connection]:
    """A transaction that sees one moment, and during which nobody migrates."""
    with engine(store, "rw") as made:
        if store.sqlite:
            with made.connect() as connection:
                connection.exec_driver_sql("BEGIN")
                yield connection
            return
        steady = made.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with steady.connect() as connection:
            # Not by waiting: this transaction would see the moment before the wait.
            if not connection.scalar(text(f"SELECT pg_try_advisory_xact_lock_shared({versions.LOCK})")):
                raise versions.Busy("it is being brought to another version: try again in a while")
            yield connection


def _revision(connection: Connection) -> str:
    revision = versions.of(connection)
    if revision is None:
        raise versions.Busy("it has no tables of Blacktree's: has a bot ever run on it?")
    if not versions.known(revision):
        raise versions.Newer(versions.newer(revision))
    return revision


def _table(connection: Connection, table: Table, writer: Writer) -> int:
    count = 0
    for part, (lines, told) in enumerate(rows.told(connection, table), start=1):
        writer.bytes(f"tables/{table.name}/{part:06}.jsonl", lines)
        count += told
    return count


def _log(file: Path, writer: Writer) -> int:
    try:
        with file.open("rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            writer.file(f"logs/{file.parent.name}/{file.name}", opened, size)
    except FileNotFoundError:  # its retention ended meanwhile
        return 0
    return int(file.suffix == ".log")
