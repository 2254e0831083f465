"""The store: PostgreSQL (psycopg), or SQLite in WAL mode. The truth of everything else."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
    closing,
    contextmanager,
    nullcontext,
    suppress,
)
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import event, text
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.store.tables import Instance
from config.errors import ConfigError

_BUSY = 30  # seconds that SQLite waits for another process's lock
_LEADER = 0x626C6B74  # PostgreSQL's advisory lock of whoever does the singleton work
_WROTE = "blacktree wrote"  # in the `info` of a connection
_LEADER_CHECK = 2  # seconds between two looks whether that lock is still held


class Store:
    """Transactions on the database behind `url`."""

    def __init__(self, url: str) -> None:
        self.url = _with_driver(make_url(url))
        self.sqlite = self.url.get_backend_name() == "sqlite"
        self.instance = ""
        self._engine = _engine(self.url, self.sqlite)
        _note_writes(self._engine)
        # SQLite has one writer: queueing here beats polling its lock.
        self._listeners: list[asyncio.Event] = []
        self._writer: AbstractAsyncContextManager[Any] = asyncio.Lock() if self.sqlite else nullcontext()

    @classmethod
    @asynccontextmanager
    async def opened(cls, url: str) -> AsyncIterator[Store]:
        """A store whose tables are up to date. Raises ConfigError if it can't be reached."""
        store = cls(url)
        try:
            await store._prepare()
            yield store
        finally:
            await store._engine.dispose()

    async def _prepare(self) -> None:
        """Bring the tables up to date and learn which instance this is. Raises ConfigError."""
        try:
            await asyncio.to_thread(_migrate, self.url)
            self.instance = await self._known_instance()
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            cause = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
            raise ConfigError(f"DATABASE_URL: {self.description}: {cause}") from error

    async def _known_instance(self) -> str:
        """The id that this instance got with its tables."""
        async with self.transaction() as session:
            row = (await session.exec(select(Instance))).one()
        return row.id

    @property
    def description(self) -> str:
        """Which database this is, without its password."""
        if self.sqlite:
            return f"SQLite {self.url.database}"
        return f"PostgreSQL {self.url.host}:{self.url.port or 5432}/{self.url.database}"

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """A session that commits at the end, or leaves nothing behind."""
        async with self._writer, AsyncSession(self._engine, expire_on_commit=False) as session:
            begin = {"begin": "IMMEDIATE"} if self.sqlite else {}
            connection = await session.connection(execution_options=begin)
            connection.info.pop(_WROTE, None)
            yield session
            await session.flush()
            wrote = connection.info.pop(_WROTE, False)
            await session.commit()
        if wrote:
            for listener in self._listeners:
                listener.set()

    @contextmanager
    def changes(self) -> Iterator[asyncio.Event]:
        """An event that is set when this process has changed a row; whoever waits on it clears it."""
        changed = asyncio.Event()
        self._listeners.append(changed)
        try:
            yield changed
        finally:
            self._listeners.remove(changed)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """A session that only reads."""
        async with AsyncSession(self._engine, expire_on_commit=False) as session:
            yield session

    async def check(self) -> str:
        """Ask the database something. Raises SQLAlchemyError if it does not answer."""
        async with self.reading() as session:
            await session.connection()
            await (await session.connection()).execute(text("SELECT 1"))
        return self.description

    @asynccontextmanager
    async def leadership(self) -> AsyncIterator[asyncio.Event]:
        """Wait to be the one bot that does the singleton work; the event is set when that is lost.

        PostgreSQL frees the lock with the connection that holds it, the kernel a file's with the process.
        """
        lost = asyncio.Event()
        if self.sqlite:
            descriptor = os.open(f"{self.url.database}.lock", os.O_CREAT | os.O_RDWR, 0o600)
            try:
                await _locked(descriptor)
                yield lost
            finally:
                os.close(descriptor)
            return
        async with self._engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            while not await connection.scalar(text(f"SELECT pg_try_advisory_lock({_LEADER})")):  # noqa: ASYNC110
                await asyncio.sleep(_LEADER_CHECK)
            watch = asyncio.create_task(_watch(connection, lost))
            try:
                yield lost
            finally:
                watch.cancel()
                await asyncio.gather(watch, return_exceptions=True)
                with suppress(SQLAlchemyError):  # a connection that is gone holds nothing
                    await connection.execute(text(f"SELECT pg_advisory_unlock({_LEADER})"))


async def heard(changed: asyncio.Event, seconds: float) -> None:
    """Wait for `changed`, `seconds` at most."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await changed.wait()


async def _locked(descriptor: int) -> None:
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            await asyncio.sleep(_LEADER_CHECK)


async def _watch(connection: Any, lost: asyncio.Event) -> None:
    try:
        while True:
            await asyncio.sleep(_LEADER_CHECK)
            await connection.execute(text("SELECT 1"))
    except SQLAlchemyError:
        lost.set()


def _with_driver(url: URL) -> URL:
    backend = url.get_backend_name().replace("postgres", "postgresql").replace("postgresqlql", "postgresql")
    return url.set(drivername={"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg"}[backend])


class _SqliteConnection(sqlite3.Connection):
    """One that leaves no lock behind.

    Whoever is cancelled in a query loses the connection, and the query its reader. SQLite puts off closing
    until such a statement is collected, which may be never, and keeps the transaction and its lock so long.
    """

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self.rollback()
        super().close()


def _engine(url: URL, sqlite: bool) -> AsyncEngine:
    if not sqlite:
        return create_async_engine(url, pool_pre_ping=True, pool_size=10, max_overflow=20)
    engine = create_async_engine(url, connect_args={"timeout": _BUSY, "factory": _SqliteConnection})

    @event.listens_for(engine.sync_engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        cursor = connection.cursor()
        for pragma in ("synchronous=NORMAL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get('begin', 'DEFERRED')}")

    return engine


def _note_writes(engine: AsyncEngine) -> None:
    """Let a connection's `info` say that a statement changed a row."""

    @event.listens_for(engine.sync_engine, "after_cursor_execute")
    def _wrote(
        connection: Connection, cursor: Any, _sql: str, _values: Any, context: Any, _many: bool
    ) -> None:
        if (context.isinsert or context.isupdate or context.isdelete) and cursor.rowcount != 0:
            connection.info[_WROTE] = True


def _migrate(url: URL) -> None:
    """Bring the tables to the newest revision, one process at a time."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["url"] = url.set(drivername=url.drivername.replace("+aiosqlite", ""))
    with _alone(url.database or "") if url.get_backend_name() == "sqlite" else nullcontext():
        command.upgrade(config, "head")


@contextmanager
def _alone(database: str) -> Iterator[None]:
    """The only process at a SQLite file, which is in WAL mode from here on: changing to it needs that."""
    Path(database).parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(f"{database}.migrating", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with closing(sqlite3.connect(database, timeout=_BUSY)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
        yield
    finally:
        os.close(descriptor)
