"""A store into a file and back, from SQLite and PostgreSQL, to either."""

from __future__ import annotations

import asyncio
import io
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
from sqlalchemy import text
from sqlmodel import select

from bot.store import archive, backup, restore, versions
from bot.store.archive import Damaged, Manifest, Writer
from bot.store.backup import Held
from bot.store.database import Store, _migrate
from bot.store.tables import Delivery, Image, Repository, Run
from config.errors import ConfigError
from tests.bot.store import stores
from tests.bot.store.test_database import _OLD_IMAGE, _OLD_JOB, _OLD_RUN
from tests.parts.postgres import Postgres
from workers.contract.messages import now

NewUrl = Callable[[str, str], str]


@pytest.fixture
def new(tmp_path: Path, postgres: Postgres) -> NewUrl:
    """The URL of a fresh database: of a kind, with a name."""
    return lambda kind, name: stores.url(kind, tmp_path, postgres, name)


@pytest.fixture(params=stores.KINDS)
def target(request: pytest.FixtureRequest, new: NewUrl) -> str:
    """A fresh database to restore into."""
    return new(request.param, "target")


@pytest.fixture
def made(tmp_path: Path, postgres: Postgres, tables: Path, tables_there: str) -> Callable[[str], str]:
    """The URL of a database that has its tables, of a kind; no fresh one is of its instance."""

    def made(kind: str) -> str:
        if kind == "postgresql":
            return postgres.create_database("bot_test_source", like=tables_there)
        (tmp_path / "source").mkdir(mode=0o700)
        return f"sqlite:///{shutil.copy(tables, tmp_path / 'source')}"

    return made


@pytest.fixture
def source(made: Callable[[str], str]) -> str:
    return made("sqlite")


async def written(url: str, **more: Any) -> io.BytesIO:
    file = io.BytesIO()
    await asyncio.to_thread(backup.write, Store(url), file, **more)
    return file


async def put_back(file: IO[bytes], url: str, folder: Path, **more: Any) -> Held:
    known = {"logs": folder / "logs", "key": folder / "key", "replace": False, "go_on": lambda *_: None}
    return await asyncio.to_thread(restore.restore, Store(url), file, "FILE", **{**known, **more})


@pytest.mark.parametrize("before", stores.KINDS)
async def test_what_comes_back_is_exactly_what_was_there_and_the_next_rows_have_new_numbers(
    made: Callable[[str], str], target: str, tmp_path: Path, before: str
) -> None:
    async with Store.opened(url := made(before)) as store:
        await stores.fill(store)
        was, instance = await stores.everything(store), store.instance

    held = await put_back(await written(url), target, tmp_path)

    assert held.rows == sum(map(len, was.values()))
    assert held.manifest.instance == instance
    async with Store.opened(target) as store:
        assert await stores.everything(store) == was
        assert store.instance == instance
        run = await _run(store, "next")
        assert run.id == 2 + restore.APART + 1
        await stores.say(store, f"DELETE FROM runs WHERE id = {run.id}")  # noqa: S608
        again = await _run(store, "the one after")
        assert again.id == 2 + restore.APART + 2, "a number is never given twice"
        async with store.transaction() as session:
            session.add(image := Image(**_IMAGE))
        assert image.id == 3


_IMAGE: dict[str, Any] = {
    "repository_id": 1, "name": "app", "job_id": "9-1", "sha": "s", "tree": "t", "digest": "d",
    "reference": "r", "size": 1,
}  # fmt: skip


async def _run(store: Store, key: str) -> Run:
    async with store.transaction() as session:
        run = Run(repository_id=1, cause="push", cause_key=key, ref="r", sha="s", actor="ada")
        session.add(run)
    return run


async def test_a_backup_is_of_one_moment_and_holds_nobody_up(
    made: Callable[[str], str], target: str, tmp_path: Path
) -> None:
    kind = "sqlite" if target.startswith("sqlite") else "postgresql"
    async with Store.opened(url := made(kind)) as store:
        await stores.fill(store)
        was = await stores.everything(store)
        loop = asyncio.get_running_loop()

        class Meanwhile(io.BytesIO):
            """What is written first is written after somebody changed the store."""

            done = False

            def write(self, part: Any, /) -> int:
                if not self.done:
                    self.done = True
                    asyncio.run_coroutine_threadsafe(stores.fill(store, (3, 4)), loop).result(20)
                return super().write(part)

        file = Meanwhile()
        await asyncio.to_thread(backup.write, Store(url), file)
        assert len((await stores.everything(store))["runs"]) == 4

    await put_back(file, target, tmp_path)
    async with Store.opened(target) as store:
        assert await stores.everything(store) == was


async def test_a_backup_of_an_older_version_is_brought_forward(
    new: NewUrl, target: str, tmp_path: Path
) -> None:
    old = Store(source := new("sqlite", "old"))
    await asyncio.to_thread(_migrate, old.url, "0004")
    async with old._engine.begin() as connection:
        known = {"id": 1, "job": "1-1", "ref": "refs/pull/6/head", "pull": 6, "fork": True, "at": now()}
        known |= {"kind": "build", "environment": None, "needs": "[]", "spec": "{}"}
        for row in (_OLD_RUN, _OLD_JOB, _OLD_IMAGE):
            await connection.execute(text(row), known)
    await old._engine.dispose()

    held = await put_back(await written(source), target, tmp_path)

    assert held.manifest.revision == "0004"
    async with Store.opened(target) as store, store.reading() as session:
        assert [image.trust for image in (await session.exec(select(Image))).all()] == ["fork-6"]


async def test_a_file_that_is_damaged_anywhere_is_refused_and_nothing_is_changed(
    source: str, tmp_path: Path
) -> None:
    async with Store.opened(source) as store:
        await stores.fill(store)
    whole = (await written(source)).getvalue()
    broken = [whole[:length] for length in (0, 5, 200, len(whole) // 2, len(whole) - 9, len(whole) - 1)]
    # Before gzip's trailer of 8 bytes stand bits that only fill the last byte, and are nobody's (RFC 1951).
    places = {*range(10, len(whole), len(whole) // 20), len(whole) - 8} - {len(whole) - 9}
    broken += [whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :] for at in places]

    for number, content in enumerate(broken):
        target = tmp_path / f"{number}"
        with pytest.raises(Damaged, match=r"^FILE: (is damaged|is no backup|ends in the middle)"):
            await put_back(io.BytesIO(content), f"sqlite:///{target}/blacktree.db", target)
        assert not target.exists()


def test_a_part_that_was_taken_out_or_changed_is_noticed() -> None:
    def made(*rows: bytes) -> io.BytesIO:
        writer = Writer(file := io.BytesIO(), _manifest())
        for number, row in enumerate(rows):
            writer.bytes(f"tables/runs/{number}.jsonl", row)
        writer.close()
        return file

    ends = {}
    for rows in ((b"a", b"b"), (b"a",), (b"a", b"c")):
        ends[rows] = made(*rows)
        archive.check(ends[rows], "FILE")
    said = _end(ends[b"a", b"b"])
    for other in ((b"a",), (b"a", b"c")):
        with pytest.raises(Damaged, match="is not what its checksum was made of"):
            archive.check(_with_end(ends[other], said), "FILE")


def _end(file: io.BytesIO) -> bytes:
    return next(content.read() for name, content in archive._members(file) if name == archive.END)


def _with_end(file: io.BytesIO, end: bytes) -> io.BytesIO:
    """The same members, but that the last says something else."""
    writer = Writer(out := io.BytesIO(), _manifest())
    for name, content in archive.members(file):
        writer.bytes(name, content.read())
    writer.bytes(archive.END, end)
    writer._tar.close()
    writer._gzip.close()
    return out


def _manifest(**said: Any) -> Manifest:
    known = {"version": "0.1.0", "revision": versions.head(), "created_at": now(), "database": "SQLite"}
    return Manifest.model_validate({**known, "instance": "i", **said})


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"format": 2, "version": "7.0"}, "is a backup by a newer Blacktree (7.0)"),
        ({"revision": "9999"}, "its tables are of a newer Blacktree (revision 9999;"),
    ],
)
async def test_a_backup_of_a_newer_version_is_refused(
    target: str, tmp_path: Path, said: dict[str, Any], sentence: str
) -> None:
    Writer(file := io.BytesIO(), _manifest(**said)).close()

    with pytest.raises(ConfigError) as refused:
        await put_back(file, target, tmp_path, replace=True)

    assert sentence in str(refused.value)


async def test_a_store_that_is_not_empty_is_kept_unless_it_is_to_be_replaced(
    source: str, target: str, tmp_path: Path
) -> None:
    async with Store.opened(source) as store:
        await stores.fill(store)
        was = await stores.everything(store)
    async with Store.opened(target) as store:
        await stores.fill(store, (7,))
        there = await stores.everything(store)
        await stores.say(store, "CREATE TABLE of_others (id INTEGER)")
    file = await written(source)

    with pytest.raises(ConfigError, match=r"is not empty \(it has .*\): .* restore with --replace"):
        await put_back(file, target, tmp_path)
    async with Store.opened(target) as store:
        assert await stores.everything(store) == there

    await put_back(file, target, tmp_path, replace=True)
    async with Store.opened(target) as store:
        assert await stores.everything(store) == was
        await stores.say(store, "INSERT INTO of_others (id) VALUES (1)")


async def test_a_restore_that_breaks_leaves_what_was_there(source: str, target: str, tmp_path: Path) -> None:
    async with Store.opened(source) as store:
        await stores.fill(store)
    async with Store.opened(target) as store:
        await stores.fill(store, (7, 8, 9))
        there = await stores.everything(store)

    def broken(*_: object) -> None:
        raise RuntimeError("the power went out")

    with pytest.raises(RuntimeError):
        await put_back(await written(source), target, tmp_path, replace=True, go_on=broken)

    async with Store.opened(target) as store:
        assert await stores.everything(store) == there


async def test_nothing_is_restored_under_a_bot(source: str, target: str, tmp_path: Path) -> None:
    file = await written(source)
    async with Store.opened(target) as store, store.leadership():
        there = await stores.everything(store)
        with pytest.raises(ConfigError, match="a bot runs on it: stop all bots"):
            await put_back(file, target, tmp_path, replace=True)
        assert await stores.everything(store) == there

    await put_back(file, target, tmp_path)


async def test_a_bot_that_does_not_lead_counts_too(new: NewUrl, source: str, tmp_path: Path) -> None:
    async with Store.opened(url := new("postgresql", "target")) as store:
        await store.check()
        with pytest.raises(ConfigError, match="a bot runs on it: stop all bots"):
            await put_back(await written(source), url, tmp_path)


async def test_logs_and_the_key_come_along_when_they_are_asked_for(
    source: str, target: str, tmp_path: Path
) -> None:
    async with Store.opened(source) as store:
        await stores.fill(store)
    logs, key = tmp_path / "old", tmp_path / "secret.key"
    (logs / "1-1").mkdir(parents=True)
    (logs / "1-1" / "2.log").write_text("step 1\n" * 100_000)
    (logs / "other").mkdir()
    (logs / "other" / "1.log").write_text("no job's")
    key.write_text("phrase\n")
    file = await written(source, logs=logs, key=key)

    held = await put_back(file, target, tmp_path / "new")

    assert (held.logs, held.key) == (1, True)
    new = tmp_path / "new"
    assert (new / "logs" / "1-1" / "2.log").read_text() == "step 1\n" * 100_000
    assert sorted(path.name for path in new.rglob("*") if path.is_file()) == ["2.log", "key"]
    assert (new / "key").read_text() == "phrase\n"
    assert (new / "key").stat().st_mode & 0o777 == 0o600


async def test_another_key_is_never_overwritten(source: str, target: str, tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("phrase\n")
    (tmp_path / "key").write_text("another\n")

    with pytest.raises(ConfigError, match=r"has another key than .*: move that away first"):
        await put_back(await written(source, key=tmp_path / "theirs"), target, tmp_path)

    assert (tmp_path / "key").read_text() == "another\n"
    async with Store.opened(target) as store:
        assert (await stores.everything(store))["runs"] == []


@pytest.mark.parametrize("kind", stores.KINDS)
async def test_memory_does_not_grow_with_the_store(new: NewUrl, tmp_path: Path, kind: str) -> None:
    async with Store.opened(url := new(kind, "large")) as store:
        await put_back(await written(url), new(kind, "small"), tmp_path)  # what is loaded once is
        for batch in range(20):
            async with store.transaction() as session:
                for number in range(30):
                    guid = f"{batch}-{number}"
                    session.add(Delivery(guid=guid, event="push", payload=guid * 20_000))
    size = 600 * 4 * 20_000  # bytes, at least
    with (tmp_path / "file").open("w+b") as file:
        tracemalloc.start()
        try:
            await asyncio.to_thread(backup.write, Store(url), file)
            held = await put_back(file, new(kind, "copy"), tmp_path)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert held.rows == 601
    assert most < size / 2


@pytest.mark.parametrize("kind", stores.KINDS)
def test_what_is_no_store_yet_is_no_backup(new: NewUrl, tmp_path: Path, kind: str) -> None:
    with pytest.raises(ConfigError, match="has a bot ever run"):
        backup.write(Store(new(kind, "none")), io.BytesIO())
    assert not (tmp_path / "none").exists()


async def test_of_a_database_of_a_newer_version_there_is_no_backup(new: NewUrl) -> None:
    async with Store.opened(url := new("sqlite", "newer")) as store:
        async with store.transaction() as session:
            session.add(Repository(id=1, full_name="acme/shop", default_branch="main"))
        await stores.say(store, "UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(ConfigError, match="newer Blacktree"):
        await written(url)
    with pytest.raises(ConfigError, match="or restore into an empty database"):
        await put_back(await written(await _empty(new)), url, Path("/nowhere"), replace=True)


async def _empty(new: NewUrl) -> str:
    async with Store.opened(url := new("sqlite", "empty")):
        return url
