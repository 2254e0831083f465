"""Two versions never work on one database at a time."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import select

from bot.store import versions
from bot.store.database import Store
from bot.store.tables import Repository
from config.errors import ConfigError
from tests.bot.store import stores
from tests.parts.postgres import Postgres


@pytest.fixture(params=stores.KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path, postgres: Postgres) -> str:
    return stores.url(request.param, tmp_path, postgres, "versions")


async def test_a_database_from_the_future_is_refused_and_left_as_it_is(url: str, tmp_path: Path) -> None:
    async with Store.opened(url):
        pass
    assert (await asyncio.to_thread(stores.opened_by_a_newer_version, url, tmp_path)).returncode == 0

    for _ in range(2):
        with pytest.raises(ConfigError) as refused:
            async with Store.opened(url):
                pass

    said = str(refused.value)
    assert said.startswith("DATABASE_URL: ")
    assert f"its tables are of a newer Blacktree (revision {stores.NEWEST};" in said
    assert said.endswith(f"knows up to {versions.head()}): upgrade this one")
    assert (await asyncio.to_thread(stores.opened_by_a_newer_version, url, tmp_path)).returncode == 0


async def test_postgresql_goes_forward_under_a_bot_of_before_which_then_changes_nothing_any_more(
    postgres: Postgres, tmp_path: Path
) -> None:
    url = stores.url("postgresql", tmp_path, postgres, "forward")
    async with Store.opened(url) as old:
        with pytest.raises(SQLAlchemyError):  # what it has begun holds nobody up, and nothing of it stays
            await _meanwhile(old, lambda: stores.opened_by_a_newer_version(url, tmp_path))
        assert not old.superseded.is_set()
        for _ in range(2):
            with pytest.raises(versions.Newer, match="upgrade this one"):
                async with old.transaction() as session:
                    session.add(Repository(id=2, full_name="acme/after", default_branch="main"))
        assert old.superseded.is_set()
    with pytest.raises(ConfigError, match="newer Blacktree"):
        async with Store.opened(url):
            pass


async def _meanwhile(old: Store, newer: Callable[[], CompletedProcess[str]]) -> None:
    async with old.transaction() as session:
        session.add(Repository(id=1, full_name="acme/before", default_branch="main"))
        await session.flush()
        done = await asyncio.to_thread(newer)
        assert done.returncode == 0, done.stderr


async def test_a_bot_that_connects_in_a_migration_waits_for_its_end(
    postgres: Postgres, tmp_path: Path
) -> None:
    url = stores.url("postgresql", tmp_path, postgres, "meanwhile")
    async with Store.opened(url) as migrating, Store.opened(url) as other:
        async with migrating.transaction() as session:
            await session.connection()
            await stores.locked(session)
            look = asyncio.create_task(_read(other))
            await asyncio.sleep(0.3)
            assert not look.done()
        assert await asyncio.wait_for(look, 60) == []


async def _read(store: Store) -> list[int]:
    await store._engine.dispose()
    async with store.reading() as session:
        return list((await session.exec(select(Repository.id))).all())


async def test_sqlite_is_not_brought_forward_under_a_bot_of_before(
    tmp_path: Path, postgres: Postgres
) -> None:
    url = stores.url("sqlite", tmp_path, postgres, "under")
    async with Store.opened(url) as old:
        async with old.leadership():
            refused = await asyncio.to_thread(stores.opened_by_a_newer_version, url, tmp_path)
            async with old.transaction() as session:
                session.add(Repository(id=1, full_name="acme/shop", default_branch="main"))
        assert refused.returncode == 1
        assert "a bot of an older version still runs on it: stop that one first" in refused.stderr

    assert (await asyncio.to_thread(stores.opened_by_a_newer_version, url, tmp_path)).returncode == 0


def test_a_migrations_file_is_named_by_its_revision_and_follows_the_one_before() -> None:
    scripts = ScriptDirectory(str(versions.FOLDER))
    revisions = [script.revision for script in scripts.walk_revisions()]
    assert revisions == sorted(revisions, reverse=True)
    assert revisions == list(versions._known(versions.FOLDER))


@pytest.mark.parametrize("unused", ["alembic", "psycopg"])
def test_a_file_whose_tables_are_as_they_should_be_is_opened_without(unused: str, tables: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from bot.store.database import Store\n"
        "async def main():\n"
        "    async with Store.opened(sys.argv[1]) as store:\n"
        "        await store.check()\n"
        "asyncio.run(main())\n"
        "print(*sys.modules)"
    )
    argv = [sys.executable, "-c", program, f"sqlite:///{tables}"]
    loaded = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=120).stdout.split()
    assert "sqlalchemy" in loaded
    assert unused not in loaded
