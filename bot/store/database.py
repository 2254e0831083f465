"""The store: PostgreSQL (psycopg), or SQLite in WAL mode. The truth of everything else."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    closing,
    contextmanager,
    nullcontext,
    suppress,
)
from pathlib import Path
from typing import Any

from sqlalchemy import NullPool, create_engine, event, text
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlmodel import SQLModel, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.metrics import noting
from bot.metrics.instruments import Instruments
from bot.store import versions
from bot.store.arrivals import Arrival, Arrivals, Writer
from bot.store.changes import Changes, heard, note_writes, written
from bot.store.connections import check_connections, measure
from bot.store.hops import connecting
from bot.store.sqlite import MOST_WAL, SqliteWriter
from bot.store.tables import Instance
from bot.store.word import FileWord, Word
from config.errors import ConfigError
from config.outages import Outside

__all__ = ["Store", "heard"]

_CONNECT = 5  # seconds until a PostgreSQL that does not answer is away
# … and one whose machine has gone without a word (libpq's names, in seconds; the last in milliseconds):
# https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
_ALIVE = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000}
_BUSY = 30  # seconds that SQLite waits for another process's lock
LEADER = 0x626C6B74  # PostgreSQL's advisory lock of whoever does the singleton work
_QUIET = "blacktree quiet"  # in the `info` of a session
_LEADER_CHECK = 2  # seconds between two looks whether that lock is still held


class ReadOnly(Outside):
    """A database that answers and takes no changes: it is not, or no more, the primary."""


class Store:
    """Transactions on the database behind `url`. Whoever has it has the bot's `instruments`, too."""

    def __init__(self, url: str, instruments: Instruments | None = None) -> None:
        self.instruments = instruments or Instruments()
        self.url = _with_driver(make_url(url))
        self.sqlite = self.url.get_backend_name() == "sqlite"
        self.instance = ""
        self.superseded = asyncio.Event()  # set when a newer version has taken the database over
        self._engine = _engine(self.url, self.sqlite)
        self._alone = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        if not self.sqlite:
            versions.fence(self._engine, self.superseded.set)
        note_writes(self._engine.sync_engine)
        measure(self._engine.sync_engine, self.instruments)
        self._changes = Changes()
        # SQLite has one writer: queueing here beats polling its lock.
        self._writer: AbstractAsyncContextManager[Any] = asyncio.Lock() if self.sqlite else nullcontext()
        writer, self._word = _sqlite(self.url.database or "") if self.sqlite else _postgresql(self._known)
        self._arrivals = Arrivals(writer, self._writer, self._arrived)

    @classmethod
    @asynccontextmanager
    async def opened(cls, url: str, instruments: Instruments | None = None) -> AsyncIterator[Store]:
        """A store whose tables are up to date. Raises ConfigError if it can't be reached."""
        store = cls(url, instruments)
        try:
            await store._prepare()
            async with store._exchanging():
                yield store
        finally:
            await store._arrivals.close()
            await store._engine.dispose()

    @asynccontextmanager
    async def _exchanging(self) -> AsyncIterator[None]:
        """Other processes hear of this one's changes, and this one of theirs."""
        hears = asyncio.Event()
        parts = (self._word.hear(self._changes, hears), self._word.say(self._changes))
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            await heard(hears, _CONNECT)
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._word.farewell(self._changes)

    def _known(self) -> dict[str, Any]:
        """How the driver is told where the database is, and whose its connections are."""
        named = {"connect_timeout": _CONNECT, "application_name": versions.name(), **_ALIVE}
        return {**named, **self.url.get_dialect()().create_connect_args(self.url)[1]}

    async def _prepare(self) -> None:
        """Bring the tables up to date and learn which instance this is. Raises ConfigError."""
        try:
            await asyncio.to_thread(_migrate, self.url)
            self.instance = await self._known_instance()
        except versions.Refused as error:  # nothing that passes by itself
            raise ConfigError(f"DATABASE_URL: {self.description}: {error}") from None
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
            written(connection.info)
            yield session
            await session.flush()
            wrote = written(connection.info)
            with self.instruments.committing():
                await session.commit()
        noting.committed(session, self.instruments)
        if wrote and not session.info.get(_QUIET):
            self._changes.tell(wrote)

    async def keep(self, arrival: Arrival) -> bool:
        """Wait until a delivery is on the disk; whether it was before. Raises NotKept."""
        return await self._arrivals.keep(arrival)

    def _arrived(self, arrivals: Sequence[Arrival]) -> None:
        self._changes.arrived({arrival.repository_id for arrival in arrivals})

    def came(self) -> tuple[set[int | None], bool]:
        """The repositories of what was kept since this was asked last, and whether there may be more."""
        came, elsewhere = self._changes.came, self._changes.elsewhere
        self._changes.came, self._changes.elsewhere = set(), False
        return came, elsewhere

    async def calm(self, seconds: float) -> None:
        """Wait until no delivery waits to be kept, `seconds` at most: GitHub waits for that alone."""
        await self._arrivals.calm(seconds)

    def changes(self, *tables: type[SQLModel]) -> AbstractContextManager[asyncio.Event]:
        """An event that is set when somebody has changed a row of these; whoever waits on it clears it.

        Without any: of all but deliveries and reports, which have one reader each.
        """
        return self._changes.of({str(table.__tablename__) for table in tables})

    @asynccontextmanager
    async def statements(self) -> AsyncIterator[AsyncConnection]:
        """For statements that need each other in no way, and are news to nobody: each counts by itself.

        PostgreSQL is spoken to once for each, not three times; SQLite has them all in one transaction.
        """
        if not self.sqlite:
            async with self._alone.connect() as connection:
                yield connection
        else:
            async with self.transaction() as session:
                session.info[_QUIET] = True
                yield await session.connection()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """A session that only reads. On SQLite it sees one moment, on PostgreSQL each statement its own.

        There a transaction of several statements would be no more than that, and has two more round trips.
        """
        async with AsyncSession(
            self._engine if self.sqlite else self._alone, expire_on_commit=False
        ) as session:
            yield session

    async def check(self) -> str:
        """Ask the database something. Raises SQLAlchemyError if it does not answer, ReadOnly."""
        async with self.reading() as session:
            await _asked(await session.connection())
        return self.description

    @asynccontextmanager
    async def leadership(self) -> AsyncIterator[asyncio.Event]:
        """Wait to be the one bot that does the singleton work; the event is set when that is lost.

        Raises SQLAlchemyError, ReadOnly: whoever cannot write leads nobody.

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
            while not await connection.scalar(text(f"SELECT pg_try_advisory_lock({LEADER})")):  # noqa: ASYNC110
                await asyncio.sleep(_LEADER_CHECK)
            await _asked(connection)
            watch = asyncio.create_task(_watch(connection, lost))
            try:
                yield lost
            finally:
                watch.cancel()
                await asyncio.gather(watch, return_exceptions=True)
                with suppress(SQLAlchemyError):  # a connection that is gone holds nothing
                    await connection.execute(text(f"SELECT pg_advisory_unlock({LEADER})"))


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
            async with asyncio.timeout(_CONNECT):
                await _asked(connection)
    except (SQLAlchemyError, TimeoutError, ReadOnly):
        lost.set()


async def _asked(connection: AsyncConnection) -> None:
    """Raises SQLAlchemyError, and ReadOnly from a PostgreSQL that is not, or no more, the one to write to.

    Another connection may lead elsewhere: https://www.postgresql.org/docs/current/hot-standby.html
    """
    if connection.dialect.name != "postgresql":
        await connection.execute(text("SELECT 1"))
    elif await connection.scalar(text("SHOW transaction_read_only")) == "on":
        await connection.invalidate()
        raise ReadOnly("the store takes no changes: it is read-only")


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
        alive = {name: value for name, value in _ALIVE.items() if name not in url.query}
        named = {"application_name": versions.name(), **alive}
        postgres = create_async_engine(url, connect_args=named, pool_size=20, max_overflow=10)
        check_connections(postgres.sync_engine)
        return postgres
    known = {"timeout": _BUSY, "factory": _SqliteConnection, "async_creator_fn": connecting}
    engine = create_async_engine(url, connect_args=known)

    @event.listens_for(engine.sync_engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        cursor = connection.cursor()
        for pragma in ("synchronous=NORMAL", "foreign_keys=ON", f"wal_autocheckpoint={MOST_WAL}"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get('begin', 'DEFERRED')}")

    return engine


def _sqlite(file: str) -> tuple[Writer, Word]:
    return SqliteWriter(file, _BUSY), FileWord(file)


def _postgresql(known: Callable[[], dict[str, Any]]) -> tuple[Writer, Word]:
    from bot.store.notices import PostgresWord  # the driver is 9 MB, which a file has no use for
    from bot.store.postgresql import PostgresWriter

    return PostgresWriter(known), PostgresWord(known)


def _migrate(url: URL, revision: str = "head") -> None:
    """Bring the tables to a revision, the newest, one process at a time."""
    plain = url.set(drivername=url.drivername.replace("+aiosqlite", ""))
    with alone(url.database or "") if url.get_backend_name() == "sqlite" else nullcontext():
        if revision != "head" or _revision(plain) != versions.head():
            versions.migrate(revision, url=plain)


def _revision(url: URL) -> str | None:
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        return versions.of(connection)


@contextmanager
def alone(database: str) -> Iterator[None]:
    """The only process at a SQLite file, which is in WAL mode from here on: changing to it needs that."""
    Path(database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(f"{database}.migrating", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with closing(sqlite3.connect(database, timeout=_BUSY)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
        yield
    finally:
        os.close(descriptor)
