"""Who hears of which changes, in one process and between several."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from sqlalchemy import text

from bot.store import word
from bot.store.arrivals import Arrival
from bot.store.database import Store
from bot.store.tables import Delivery, Repository
from tests.parts.postgres import Postgres
from workers.contract.messages import now

SOON = 60.0  # seconds: nobody polls here, so that what is not told is never heard


@pytest.fixture(params=["sqlite", "postgresql"])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Store, Store]]:
    """Two on one database, as two processes have them."""
    url = f"sqlite:///{tmp_path / 'blacktree.db'}"
    if request.param == "postgresql":
        postgres: Postgres = request.getfixturevalue("postgres")
        url = postgres.create_database("bot_test_changes")
    async with Store.opened(url) as one, Store.opened(url) as other:
        yield one, other


async def write(store: Store, number: int) -> None:
    async with store.transaction() as session:
        session.add(Repository(id=number, full_name=f"acme/{number}", default_branch="main"))


async def keep(store: Store, guid: str) -> None:
    await store.keep(Arrival(guid, "push", None, 7, "{}", now()))


async def heard_while(changed: asyncio.Event, store: Store, first: int) -> None:
    """Somebody else writes until it is heard: nobody knows since when it is listened for."""
    async with asyncio.timeout(SOON):
        while not changed.is_set():
            await write(store, first)
            first += 1
            await asyncio.sleep(0.1)


async def test_only_who_asked_for_a_table_is_told_of_deliveries(stores: tuple[Store, Store]) -> None:
    store, _ = stores
    with ExitStack() as stack:
        anything = stack.enter_context(store.changes())
        deliveries = stack.enter_context(store.changes(Delivery))
        repositories = stack.enter_context(store.changes(Repository))
        for changed in (anything, deliveries, repositories):
            changed.clear()

        await keep(store, "guid-1")
        assert deliveries.is_set()
        if not store.sqlite:  # a file's counter does not tell which table
            assert not anything.is_set()
            assert not repositories.is_set()

        deliveries.clear()
        await write(store, 1)
        assert anything.is_set()
        assert repositories.is_set()


async def test_what_another_process_commits_is_heard_at_once(stores: tuple[Store, Store]) -> None:
    here, there = stores
    with here.changes(Repository) as changed:
        await heard_while(changed, there, 1)
        changed.clear()
        await write(there, 1000)
        async with asyncio.timeout(SOON):
            await changed.wait()


async def test_what_a_process_commits_just_before_its_end_is_heard(postgres: Postgres) -> None:
    url = postgres.create_database("bot_test_changes")
    async with Store.opened(url) as here:
        with here.changes(Repository) as changed:
            async with Store.opened(url) as there:
                await heard_while(changed, there, 1)
            changed.clear()
            async with Store.opened(url) as there:
                await write(there, 1000)
            async with asyncio.timeout(SOON):
                await changed.wait()


async def test_whose_connection_was_cut_hears_again_and_looks_at_what_it_missed(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.store.notices.AGAIN", 0.2)
    url = postgres.create_database("bot_test_changes")
    async with Store.opened(url) as here, Store.opened(url) as there:
        with here.changes(Repository) as changed:
            await heard_while(changed, there, 1)
            changed.clear()
            async with there.transaction() as session:
                theirs = (
                    "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
                    " WHERE pid <> pg_backend_pid()"
                )
                listens = f"{theirs} AND datname = current_database() AND query LIKE 'LISTEN%'"
                await (await session.connection()).execute(text(listens))
            async with asyncio.timeout(SOON):
                await changed.wait()
            changed.clear()
            await heard_while(changed, there, 2000)


async def test_who_is_cancelled_in_a_look_at_a_file_waits_for_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The connection is closed then: under a thread that uses it that is the end of the process."""
    begun, may, looked = threading.Event(), threading.Event(), threading.Event()

    def look(_connection: sqlite3.Connection) -> int:
        begun.set()
        assert may.wait(60)
        looked.set()
        return 1

    monkeypatch.setattr(word, "_version", look)
    with closing(sqlite3.connect(":memory:")) as connection:
        looking = asyncio.create_task(word._looked(connection))
        assert await asyncio.to_thread(begun.wait, 60)
        looking.cancel()
        asyncio.get_running_loop().call_later(0.1, may.set)
        with pytest.raises(asyncio.CancelledError):
            await looking
        assert looked.is_set()
