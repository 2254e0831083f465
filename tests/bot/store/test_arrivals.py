"""Deliveries are kept together, whole, and on the disk, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlmodel import col, select, update

from bot.store.arrivals import Arrival, NotKept
from bot.store.database import Store
from bot.store.sqlite import SqliteWriter
from bot.store.tables import Delivery, DeliveryState
from tests.parts.postgres import Postgres
from workers.contract.messages import now


@pytest.fixture(params=["sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    url = f"sqlite:///{tmp_path / 'blacktree.db'}"
    if request.param == "postgresql":
        postgres: Postgres = request.getfixturevalue("postgres")
        url = postgres.create_database("bot_test_arrivals")
    async with Store.opened(url) as opened:
        yield opened


def arrival(guid: str, repository: int | None = 7) -> Arrival:
    return Arrival(guid, "push", "opened", repository, '{"a": "é🚀"}', now())


async def kept(store: Store) -> dict[str, Delivery]:
    async with store.reading() as session:
        return {row.guid: row for row in (await session.exec(select(Delivery))).all()}


def commits(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many deliveries each commit from now on has."""
    sizes: list[int] = []
    write = store._arrivals.writer.write

    def counted(arrivals: Sequence[Arrival]) -> list[bool]:
        sizes.append(len(arrivals))
        return write(arrivals)

    monkeypatch.setattr(store._arrivals.writer, "write", counted)
    return sizes


async def test_what_comes_in_while_one_commit_lasts_is_the_next_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = commits(store, monkeypatch)

    known = await asyncio.gather(*(store.keep(arrival(f"guid-{number}")) for number in range(150)))

    assert not any(known)
    assert len(await kept(store)) == 150
    assert sum(sizes) == 150
    assert len(sizes) <= 4


async def test_it_is_kept_as_it_came(store: Store) -> None:
    came = arrival("guid-1")
    await store.keep(came)

    row = (await kept(store))["guid-1"]
    assert (row.event, row.action, row.repository_id, row.payload) == came[1:5]
    assert row.received_at == row.due_at == came.at
    assert row.received_at.utcoffset() is not None
    assert (row.state, row.attempts, row.reason, row.run_id) == (DeliveryState.RECEIVED, 0, "", None)


async def test_what_is_about_no_repository_is_kept(store: Store) -> None:
    nothing = Arrival("guid-1", "installation", None, None, "{}", now())
    both = await asyncio.gather(store.keep(nothing), store.keep(nothing._replace(guid="guid-2")))

    assert list(both) == [False, False]
    assert [row.repository_id for row in (await kept(store)).values()] == [None, None]


async def test_one_guid_twice_in_one_commit_fails_neither_it_nor_the_others(store: Store) -> None:
    guids = ("first", "twice", "twice", "last", "twice")

    known = await asyncio.gather(*(store.keep(arrival(guid)) for guid in guids))

    assert known == [False, False, True, False, True]
    assert set(await kept(store)) == set(guids)


async def test_of_those_that_are_known_only_one_that_failed_is_received_anew(store: Store) -> None:
    for guid in ("failed", "done"):
        await store.keep(arrival(guid))
    async with store.transaction() as session:
        for guid, state in (("failed", DeliveryState.FAILED), ("done", DeliveryState.PROCESSED)):
            row = update(Delivery).where(col(Delivery.guid) == guid)
            await session.exec(row.values(state=state, attempts=20))

    known = await asyncio.gather(*(store.keep(arrival(guid)) for guid in ("failed", "new", "done")))

    assert known == [True, False, True]
    rows = await kept(store)
    assert (rows["failed"].state, rows["failed"].attempts) == (DeliveryState.RECEIVED, 0)
    assert (rows["done"].state, rows["done"].attempts) == (DeliveryState.PROCESSED, 20)


async def test_one_that_the_store_cannot_take_fails_none_beside_it(store: Store) -> None:
    came = (arrival("good"), arrival("odd", repository=2**70), arrival("fine"))

    known = await asyncio.gather(*(store.keep(one) for one in came), return_exceptions=True)

    assert [type(one) for one in known] == [bool, NotKept, bool]
    assert set(await kept(store)) == {"good", "fine"}


async def test_who_gives_up_waiting_holds_nobody_up(store: Store) -> None:
    leaving = asyncio.create_task(store.keep(arrival("left")))
    await asyncio.sleep(0)
    others = [asyncio.create_task(store.keep(arrival(f"guid-{number}"))) for number in range(5)]
    leaving.cancel()

    assert await asyncio.gather(*others) == [False] * 5


async def test_each_commit_waits_for_the_disk(store: Store) -> None:
    await store.keep(arrival("guid-1"))

    connection = store._arrivals.writer._connected()  # type: ignore[attr-defined]
    asked = "PRAGMA synchronous" if store.sqlite else "SHOW synchronous_commit"
    assert connection.execute(asked).fetchone()[0] == (2 if store.sqlite else "on")


async def test_a_connection_that_was_cut_is_made_again(postgres: Postgres) -> None:
    async with Store.opened(postgres.create_database("bot_test_arrivals")) as store:
        await store.keep(arrival("before"))
        async with store.transaction() as session:
            theirs = (
                "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            )
            here = f"{theirs} AND datname = current_database()"
            await (await session.connection()).execute(text(here))

        assert await store.keep(arrival("after")) is False
        assert set(await kept(store)) == {"before", "after"}


async def test_a_full_disk_keeps_nothing_half_and_is_got_over(tmp_path: Path) -> None:
    async with Store.opened(f"sqlite:///{tmp_path / 'blacktree.db'}") as store:
        await store.keep(arrival("before"))
        writer = store._arrivals.writer
        assert isinstance(writer, SqliteWriter)
        full = writer._connected()
        pages = full.execute("PRAGMA page_count").fetchone()[0]
        full.execute(f"PRAGMA max_page_count={pages + 2}")
        large = [arrival(f"large-{number}")._replace(payload="x" * 5_000) for number in range(5)]

        known = await asyncio.gather(*(store.keep(one) for one in large), return_exceptions=True)

        assert all(isinstance(one, NotKept) and "full" in str(one) for one in known)
        assert set(await kept(store)) == {"before"}
        assert not any(await asyncio.gather(*(store.keep(one) for one in large)))


async def test_a_file_that_is_gone_keeps_nothing(tmp_path: Path) -> None:
    file = tmp_path / "blacktree.db"
    async with Store.opened(f"sqlite:///{file}") as store:
        await store.keep(arrival("before"))
        file.rename(tmp_path / "elsewhere.db")

        with pytest.raises(NotKept):
            await store.keep(arrival("after"))
    assert not file.exists()


async def test_a_store_that_does_not_answer_is_waited_for_no_longer_than_github_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "blacktree.db"
    async with Store.opened(f"sqlite:///{file}") as store:
        other = sqlite3.connect(file, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with monkeypatch.context() as impatient:
            impatient.setattr("bot.store.arrivals._WAIT", 0.2)
            with pytest.raises(NotKept, match="longer than"):
                await store.keep(arrival("guid-1"))
        other.rollback()
        other.close()

        assert await store.keep(arrival("guid-2")) is False
