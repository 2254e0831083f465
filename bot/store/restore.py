"""A backup's rows in place of a store's: all or none, in one transaction, also from the other database."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, Table, func, select, text

from bot.store import archive, rows, versions
from bot.store.archive import KEY, Manifest
from bot.store.backup import Held, engine, reached
from bot.store.database import LEADER, Store, alone
from config.errors import ConfigError

_TABLE = re.compile(r"tables/([a-z_]+)/\d+\.jsonl")
_LOG = re.compile(r"logs/(\d{1,18}-\d{1,6}/\d{1,9}\.(?:log|times))")
_RUNS = "a bot runs on it: stop all bots of this instance first, and start them when this is done"
# What was given out after the backup is not given out again for something else: workers have containers, and
# GitHub has links, that are named so. This is far more than anybody makes between two backups.
_OUTSIDE = ("runs", "releases")
APART = 100_000


def restore(
    store: Store,
    file: IO[bytes],
    named: str,
    *,
    logs: Path,
    key: Path,
    replace: bool,
    go_on: Callable[[Connection, Manifest], None],
) -> Held:
    """Put the backup in `file`, which is `named` so, in place of what the store has.

    Its logs go into the folder `logs`, its key to the file `key`; `go_on` is the last of the transaction.
    Raises ConfigError, before anything is changed, for a file that is damaged or of a newer version, for a
    store that is in use, and for one that is not empty, unless that is to be replaced.
    """
    made = archive.manifest(file, named)
    if not versions.known(made.revision):
        raise ConfigError(f"{named}: {versions.newer(made.revision)}")
    archive.check(file, named)
    with reached(store), _taken(store) as connection:
        _refuse(connection, store.description, replace=replace)
        _drop(connection, made.revision)
        versions.migrate(made.revision, connection=connection)
        held = _load(connection, made, file, named, logs, key)
        versions.migrate(connection=connection)
        _count_on(connection)
        go_on(connection, made)
    return held


@contextmanager
def _taken(store: Store) -> Iterator[Connection]:
    """The one transaction of a restore, while nobody works on the store or migrates it. Raises Busy."""
    with ExitStack() as stack:
        if store.sqlite:
            path = store.url.database or ""
            stack.enter_context(alone(path))
            descriptor = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR, 0o600)
            stack.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise versions.Busy(_RUNS) from None
        made = stack.enter_context(engine(store, "rwc"))
        with made.begin() as connection:
            if store.sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.execute(text(f"SELECT pg_advisory_xact_lock({versions.LOCK})"))
                free = connection.scalar(text(f"SELECT pg_try_advisory_xact_lock({LEADER})"))
                if not free or versions.others(connection):
                    raise versions.Busy(_RUNS)
            yield connection


def _refuse(connection: Connection, description: str, *, replace: bool) -> None:
    """Raises ConfigError for rows that are not to be replaced, and for tables that we can't know all of."""
    revision = versions.of(connection)
    if revision is None:
        return
    if not versions.known(revision):
        raise versions.Newer(f"{versions.newer(revision)}; or restore into an empty database")
    tables = rows.tables(connection, revision).sorted_tables
    full = [table.name for table in tables if table.name != "instance" and _any(connection, table)]
    if full and not replace:
        raise ConfigError(
            f"{description} is not empty (it has {', '.join(full[:3])}): to give up all that is there for "
            "what the backup holds, restore with --replace"
        )


def _any(connection: Connection, table: Table) -> bool:
    return connection.execute(select(table).limit(1)).first() is not None


def _drop(connection: Connection, revision: str) -> None:
    """Make room for the tables of a revision; tables of others stay."""
    there = versions.of(connection)
    ours = rows.names(revision) | (rows.names(there) if there else set()) | {rows.VERSION}
    rows.reflected(connection, ours).drop_all(connection)


def _load(connection: Connection, made: Manifest, file: IO[bytes], named: str, logs: Path, key: Path) -> Held:
    tables = rows.tables(connection, made.revision).tables
    connection.execute(tables["instance"].delete())  # the one that the tables came with
    count = logged = 0
    keyed = False
    for name, content in archive.members(file):
        if found := _TABLE.fullmatch(name):
            count += rows.load(connection, tables.get(found[1]), content.read(), f"{named}: {name}")
        elif found := _LOG.fullmatch(name):
            content.into(logs / found[1])
            logged += name.endswith(".log")
        elif name == KEY:
            _put_back(key, content.read(), named)
            keyed = True
    return Held(made, count, logged, keyed)


def _put_back(file: Path, content: bytes, named: str) -> None:
    """The instance's key. Raises ConfigError where there is another."""
    try:
        if file.read_bytes() != content:
            raise ConfigError(f"{named}: has another key than {file}: move that away first")
    except FileNotFoundError:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as out:
            out.write(content)


def _count_on(connection: Connection) -> None:
    """Rows that come have numbers that none of these has, nor any that came after the backup."""
    for table in rows.tables(connection, versions.head()).tables.values():
        if "id" not in table.columns:
            continue
        most = connection.scalar(select(func.max(table.columns["id"]))) or 0
        if connection.dialect.name == "postgresql":
            sequence = connection.scalar(select(func.pg_get_serial_sequence(table.name, "id")))
            if sequence is not None:
                last = most + (APART if table.name in _OUTSIDE else 0)
                connection.execute(select(func.setval(sequence, max(last, 1), last > 0)))
        elif table.name in _OUTSIDE:
            mine = {"name": table.name, "last": most + APART}
            connection.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), mine)
            connection.execute(text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :last)"), mine)
