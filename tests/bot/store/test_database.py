"""The store, on SQLite and on PostgreSQL: migrations, transactions, leadership."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError
from sqlmodel import SQLModel, col, select, update

import bot.store.tables as tables
from bot.store.database import Store, _migrate, heard
from config.errors import ConfigError
from tests.parts.postgres import Postgres
from workers.contract.messages import now


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store' / 'blacktree.db'}"
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.create_database("bot_test_store")


@pytest.fixture
async def opened(url: str) -> AsyncIterator[Store]:
    async with Store.opened(url) as store:
        yield store


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.store.database._LEADER_CHECK", 0.05)


def repository(number: int) -> tables.Repository:
    return tables.Repository(id=number, full_name=f"acme/{number}", default_branch="main")


async def there(store: Store, number: int) -> bool:
    async with store.reading() as session:
        return await session.get(tables.Repository, number) is not None


async def test_the_migrations_make_exactly_the_tables_that_the_code_knows(opened: Store) -> None:
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        return list(compare_metadata(context, SQLModel.metadata))

    async with opened._engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_images_of_before_have_the_trust_that_they_would_be_built_with_now(url: str) -> None:
    store = Store(url)
    await asyncio.to_thread(_migrate, store.url, "0004")
    queue = "refs/heads/gh-readonly-queue/main/pr-5-0"
    runs = [
        ("refs/heads/main", None, False, {}, "production"),
        ("refs/pull/5/head", 5, False, {"preview": True}, "pr-5"),
        ("refs/pull/5/head", 5, False, {"preview": False}, "staging"),
        ("refs/pull/5/head", 5, False, {}, "pr-5"),
        ("refs/pull/6/head", 6, True, {"preview": True}, "pr-6"),
        (queue, None, False, {"preview": True}, None),
    ]
    async with store._engine.begin() as connection:
        for number, (ref, pull, fork, spec, environment) in enumerate(runs, start=1):
            known = {"id": number, "job": f"{number}-1", "ref": ref, "pull": pull, "fork": fork, "at": now()}
            await connection.execute(text(_OLD_RUN), known)
            build = {"kind": "build", "environment": None, "needs": "[]", "spec": json.dumps(spec)}
            await connection.execute(text(_OLD_JOB), known | build)
            if environment:
                needs = json.dumps([known["job"]])
                deploy = {"kind": "deploy", "environment": environment, "needs": needs, "spec": "{}"}
                await connection.execute(text(_OLD_JOB), known | deploy | {"job": f"{number}-2"})
            await connection.execute(text(_OLD_IMAGE), known)
    await store._engine.dispose()

    async with Store.opened(url) as opened, opened.reading() as session:
        found = (await session.exec(select(tables.Image).order_by(col(tables.Image.id)))).all()

    assert [image.trust for image in found] == ["", "pulls", "heads-staging-5", "pulls", "fork-6", "pulls"]


_OLD_RUN = """
INSERT INTO runs (id, repository_id, cause, cause_key, ref, sha, pull_number, actor, fork, created_at)
VALUES (:id, 7, 'c', :job, :ref, 's', :pull, 'ada', :fork, :at)
"""
_OLD_JOB = """
INSERT INTO jobs (id, run_id, repository_id, sha, kind, name, context, environment, pool, needs, spec, state,
  attempt, attempts, not_before, created_at, reason, sentence)
VALUES (:job, :id, 7, 's', :kind, 'app', '', :environment, 'default', :needs, :spec, 'succeeded',
  1, 3, :at, :at, '', '')
"""
_OLD_IMAGE = """
INSERT INTO images (id, repository_id, name, job_id, sha, tree, digest, reference, size, key, layers, cached,
  reused, fork, created_at)
VALUES (:id, 7, 'app', :job, 's', 't', 'd', 'r', 1, '', 0, 0, '', :fork, :at)
"""


async def test_what_a_bot_of_before_turns_writes_is_taken_and_not_counted_yet(opened: Store) -> None:
    known: dict[str, object] = {"id": 1, "job": "1-1", "ref": "r", "pull": None, "fork": False}
    known |= {"kind": "build", "environment": None, "needs": "[]", "spec": "{}", "at": now()}
    async with opened._engine.begin() as connection:
        for row in (_OLD_RUN, _OLD_JOB.replace("'succeeded'", "'waiting'")):
            await connection.execute(text(row), known)

    async with opened.reading() as session:
        job = await session.get_one(tables.Job, "1-1")
    assert (job.unmet, job.rank, job.turn) == (-1, 0, 0)


async def test_a_store_that_is_up_to_date_is_opened_again(opened: Store, url: str) -> None:
    async with opened.transaction() as session:
        session.add(repository(1))

    async with Store.opened(url) as again:
        assert await there(again, 1)


OPEN = """
import asyncio, sys
from bot.store.database import Store

async def main():
    async with Store.opened(sys.argv[1]) as store:
        await store.check()

asyncio.run(main())
"""


async def test_several_bots_may_migrate_at_once(url: str) -> None:
    bots = [await asyncio.create_subprocess_exec(sys.executable, "-c", OPEN, url) for _ in range(3)]

    assert [await bot.wait() for bot in bots] == [0, 0, 0]


async def test_a_transaction_that_breaks_leaves_nothing_behind(opened: Store) -> None:
    with opened.changes() as changed:
        with pytest.raises(RuntimeError):
            await _broken(opened)
        assert not changed.is_set()
        assert not await there(opened, 1)

        async with opened.transaction() as session:
            session.add(repository(2))
        assert changed.is_set()
    assert await there(opened, 2)


async def _broken(store: Store) -> None:
    async with store.transaction() as session:
        session.add(repository(1))
        await session.flush()
        raise RuntimeError("the power went out")


async def test_a_transaction_that_is_cancelled_leaves_nothing_behind(opened: Store) -> None:
    written = asyncio.Event()

    async def hang() -> None:
        async with opened.transaction() as session:
            session.add(repository(1))
            await session.flush()
            written.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hang())
    await written.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task

    assert not await there(opened, 1)
    async with opened.transaction() as session:
        session.add(repository(1))


async def test_what_is_there_twice_is_refused_and_the_store_goes_on(opened: Store) -> None:
    async with opened.transaction() as session:
        session.add(repository(1))
    with pytest.raises(IntegrityError):
        async with opened.transaction() as session:
            session.add(repository(1))
    async with opened.transaction() as session:
        session.add(repository(2))

    assert await there(opened, 2)


async def test_times_come_back_in_utc(opened: Store) -> None:
    delivery = tables.Delivery(guid="g", event="push", payload="{}")
    async with opened.transaction() as session:
        session.add(delivery)

    async with opened.reading() as session:
        kept = await session.get_one(tables.Delivery, "g")
    assert kept.received_at == delivery.received_at
    assert kept.received_at.utcoffset() is not None


async def test_many_writers_at_once_all_succeed(opened: Store) -> None:
    async def write(number: int) -> None:
        async with opened.transaction() as session:
            session.add(repository(number))

    await asyncio.gather(*(write(number) for number in range(1, 31)))

    assert all([await there(opened, number) for number in range(1, 31)])


@pytest.mark.usefixtures("quick")
async def test_one_bot_leads_and_the_next_follows_when_it_ends(opened: Store, url: str) -> None:
    async with Store.opened(url) as other:
        led = asyncio.Event()

        async def follow() -> None:
            async with other.leadership():
                led.set()

        async with asyncio.TaskGroup() as group:
            async with opened.leadership() as lost:
                group.create_task(follow())
                await heard(led, 0.5)
                assert not led.is_set()
                assert not lost.is_set()
            async with asyncio.timeout(60):
                await led.wait()


@pytest.mark.usefixtures("quick")
async def test_a_leader_whose_connection_is_cut_is_told_and_another_leads(postgres: Postgres) -> None:
    url = postgres.create_database("bot_test_leader")
    async with Store.opened(url) as one, Store.opened(url) as two, AsyncExitStack() as leading:
        lost = await leading.enter_async_context(one.leadership())

        async with two.transaction() as session:
            await (await session.connection()).execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
                    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                )
            )

        async with asyncio.timeout(60):
            await lost.wait()
            async with two.leadership() as still:
                assert not still.is_set()


def test_a_description_has_no_password() -> None:
    store = Store("postgres://ada:hunter2@db.test/blacktree")

    assert store.description == "PostgreSQL db.test:5432/blacktree"


async def test_a_database_that_does_not_answer_is_named_without_its_password(free_port: object) -> None:
    assert callable(free_port)
    with pytest.raises(ConfigError) as caught:
        async with Store.opened(f"postgresql://ada:hunter2@127.0.0.1:{free_port()}/blacktree"):
            pass

    assert str(caught.value).startswith("DATABASE_URL: PostgreSQL 127.0.0.1:")
    assert "hunter2" not in str(caught.value)


async def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("this is no database, by no means " * 100)

    with pytest.raises(ConfigError, match=r"DATABASE_URL: SQLite .*x\.db: "):
        async with Store.opened(f"sqlite:///{tmp_path / 'x.db'}"):
            pass


async def test_an_error_of_another_part_is_not_told_as_the_stores(url: str) -> None:
    with pytest.raises(OSError, match="no space left"):
        async with Store.opened(url):
            raise OSError("no space left")


async def test_a_transaction_that_is_cancelled_anywhere_holds_nobody_up(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.store.database._BUSY", 15)

    async def change(store: Store) -> None:
        async with store.transaction() as session:
            row = await session.get_one(tables.Repository, 1)
            row.private = not row.private
            await session.flush()
            await session.get(tables.Repository, 2)

    async with Store.opened(url) as store:
        async with store.transaction() as session:
            session.add_all([repository(1), repository(2)])
        for turns in range(100):
            work = asyncio.create_task(change(store))
            for _ in range(turns):
                await asyncio.sleep(0)
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work
            await change(store)


async def test_only_a_transaction_that_changed_a_row_is_news(url: str) -> None:
    async with Store.opened(url) as store:
        async with store.transaction() as session:
            session.add(repository(1))
        with store.changes() as changed:
            async with store.transaction() as session:
                await session.get_one(tables.Repository, 1)
                nobody = update(tables.Repository).where(col(tables.Repository.id) == 2)
                await session.exec(nobody.values(private=True))
            assert not changed.is_set(), "it has read, and changed no row"
            async with store.transaction() as session:
                (await session.get_one(tables.Repository, 1)).full_name = "acme/renamed"
            assert changed.is_set()
            changed.clear()
            async with store.transaction() as session:
                all_of_them = update(tables.Repository).values(private=False)
                await session.exec(all_of_them)
            assert changed.is_set()
