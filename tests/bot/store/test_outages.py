"""A store that is away is known from a bug, in each database's words, and waited for at the start."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import httpx2
import psycopg
import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import (
    IntegrityError,
    InterfaceError,
    OperationalError,
    PendingRollbackError,
    ProgrammingError,
    SQLAlchemyError,
)
from sqlmodel import select
from structlog.testing import capture_logs

from bot.main import bot
from bot.secrets import api_token
from bot.store.arrivals import NotKept
from bot.store.database import ReadOnly, Store
from bot.store.outages import StoreDown, awaited, away, naming, why
from bot.store.tables import Instance, Mark
from config.errors import ConfigError
from config.outages import Waits
from config.settings import Settings
from config.trust import trusted
from tests.bot.store.test_arrivals import arrival
from tests.parts.postgres import Postgres
from tests.parts.relay import Relay
from workers.contract.memory import MemoryQueue


def sqlite(name: str, kind: type[sqlite3.Error] = sqlite3.OperationalError) -> OperationalError:
    error = kind("said")
    error.sqlite_errorname = name
    return OperationalError("SELECT 1", None, error)


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("SELECT 1", None, psycopg.OperationalError("the connection is lost")),
        OperationalError("SELECT 1", None, psycopg.errors.AdminShutdown("terminating connection")),
        OperationalError("SELECT 1", None, psycopg.errors.CannotConnectNow("the system is starting up")),
        OperationalError("UPDATE", None, psycopg.errors.DeadlockDetected("deadlock detected")),
        OperationalError("SELECT 1", None, psycopg.errors.DiskFull("no space left on device")),
        InterfaceError("SELECT 1", None, psycopg.InterfaceError("the connection is closed")),
        ProgrammingError("UPDATE x", None, psycopg.errors.ReadOnlySqlTransaction("cannot execute UPDATE")),
        PendingRollbackError("Can't reconnect until invalid transaction is rolled back"),
        sqlite("SQLITE_BUSY"),
        sqlite("SQLITE_FULL"),
        sqlite("SQLITE_IOERR_WRITE"),
    ],
)
def test_a_store_that_is_away_is_no_bug(error: SQLAlchemyError) -> None:
    assert away(error)
    assert "\n" not in away(error)
    assert why(ExceptionGroup("", [error, ConnectionResetError("cut")]))


@pytest.mark.parametrize(
    "error",
    [
        sqlite("SQLITE_ERROR"),  # no such table
        ProgrammingError("SELECT x", None, psycopg.errors.UndefinedTable("no such table")),
        IntegrityError("INSERT", None, psycopg.errors.UniqueViolation("twice")),
        KeyError("x"),
    ],
)
def test_what_the_store_refuses_is_a_bug(error: Exception) -> None:
    assert away(error) == ""
    assert why(ExceptionGroup("", [error, sqlite("SQLITE_BUSY")])) == ""


async def test_who_knows_no_database_is_told_in_a_sentence() -> None:
    @naming
    async def ask(error: Exception) -> None:
        raise error

    with pytest.raises(StoreDown, match="the store does not answer: said"):
        await ask(sqlite("SQLITE_BUSY"))
    with pytest.raises(OperationalError):
        await ask(sqlite("SQLITE_ERROR"))


async def test_a_store_that_is_not_there_yet_is_waited_for(postgres: Postgres) -> None:
    postgres.create_database("awaited")
    async with Relay(postgres.port).ready() as relay:

        async def ask() -> str:
            url = f"postgresql://blacktree@127.0.0.1:{relay.port}/awaited"
            async with awaited(url, Waits("the store")) as store:
                return await store.check()

        with capture_logs() as logs:
            asking = asyncio.create_task(ask())
            while not any(line["event"] == "waiting for the store" for line in logs):
                await asyncio.wait({asking}, timeout=0.05)
                assert not asking.done()
            await relay.open()
            assert "PostgreSQL 127.0.0.1" in await asking
    (line,) = [line for line in logs if line["event"] == "waiting for the store"]
    assert line["why"] == f"PostgreSQL 127.0.0.1:{relay.port}: connection refused"


async def test_a_store_cut_off_in_the_middle_is_known(postgres: Postgres) -> None:
    postgres.create_database("cut")
    async with Relay(postgres.port).ready() as relay:
        await relay.open()
        async with Store.opened(f"postgresql://blacktree@127.0.0.1:{relay.port}/cut") as store:

            async def cut_off() -> None:
                async with store.transaction() as session:
                    connection = await session.connection()
                    await connection.execute(text("SELECT 1"))
                    await relay.close()
                    await connection.execute(text("SELECT 1"))

            with pytest.raises(SQLAlchemyError) as caught:
                await cut_off()
            assert away(caught.value)
            with pytest.raises(SQLAlchemyError) as caught:
                await store.check()
            assert away(caught.value)


async def test_an_address_that_is_none_is_not_waited_for() -> None:
    with pytest.raises(ConfigError, match="DATABASE_URL: cannot be read") as caught:
        async with asyncio.timeout(60), awaited("postgresql://ada:hunter2@h:none/x", Waits("the store")):
            pass
    assert "hunter2" not in str(caught.value)


async def test_a_file_that_is_no_database_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("this is no database, by no means " * 100)
    with pytest.raises(ConfigError, match=r"SQLite .*x\.db: "):
        async with asyncio.timeout(60), awaited(f"sqlite:///{tmp_path / 'x.db'}", Waits("the store")):
            pass


async def test_a_request_that_needs_a_store_that_is_away_is_a_line_and_is_to_come_again(
    postgres: Postgres, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    postgres.create_database("requests")
    async with Relay(postgres.port).ready() as relay:
        await relay.open()
        settings = Settings(
            data_dir=tmp_path,
            port=0,
            proxy="none",
            database_url=f"postgresql://blacktree@127.0.0.1:{relay.port}/requests",
            github_token=SecretStr("t"),
            github_webhook_secret=SecretStr("s" * 20),
        )
        async with (
            bot(settings, MemoryQueue(), asyncio.Event()) as url,
            httpx2.AsyncClient(verify=trusted(), timeout=60) as http,
        ):
            headers = {"authorization": f"Bearer {api_token.found(settings)}"}
            assert (await http.get(f"{url}/api/v1/runs", headers=headers)).status_code == 200
            await relay.close()

            answer = await http.get(f"{url}/api/v1/runs", headers=headers)

            assert answer.status_code == 503
            assert "away" in answer.text
            await relay.open()
    told = capfd.readouterr()
    assert "request failed" in told.out + told.err
    assert "Traceback" not in told.out + told.err


async def test_connections_to_a_server_that_only_reads_are_replaced_as_after_a_failover(
    postgres: Postgres,
) -> None:
    """Those that are open stay read-only for ever; new ones lead to where one can write again."""
    url = postgres.create_database("readonly")
    async with Store.opened(url) as store:
        await asyncio.to_thread(postgres.reads_only, "readonly")
        for _ in range(2):  # the connections of before are closed by the server, and the new ones are such
            with pytest.raises((SQLAlchemyError, ReadOnly)) as error:
                await store.check()
        assert why(error.value) == "the store takes no changes: it is read-only"
        with pytest.raises(NotKept, match="read-only transaction"):
            await store.keep(arrival("while"))
        with pytest.raises(ReadOnly):
            async with store.leadership():
                pass
        async with store.reading() as session:
            assert (await session.exec(select(Instance))).one().id == store.instance

        await asyncio.to_thread(postgres.writes_again, "readonly")

        with pytest.raises(SQLAlchemyError) as error:  # over the connection that just read
            await _write(store)
        assert "read-only transaction" in away(error.value)
        await _write(store)
        assert not await store.keep(arrival("after"))
        assert await store.check() == store.description
        async with store.leadership():
            pass


async def _write(store: Store) -> None:
    async with store.transaction() as session:
        session.add(Mark(name="written", value="x"))
