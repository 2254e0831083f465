"""`blacktree backup` and `blacktree restore`, as somebody types them."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bot.cli import app
from bot.secrets.vault import Vault
from bot.store.database import Store
from config.errors import ConfigError
from config.settings import Settings
from config.sources import load
from tests.bot.store import stores
from tests.instance import BLACKTREE
from tests.parts.waiting import wait_for


def settings(folder: Path) -> Settings:
    return load({"BLACKTREE_DATA_DIR": str(folder)})


def typed(folder: Path, *command: str) -> Result:
    return CliRunner().invoke(app, list(command), env={"BLACKTREE_DATA_DIR": str(folder)})


def told(result: Result) -> str:
    """The sentence for a fault of the user's."""
    assert isinstance(result.exception, ConfigError), result.output
    return str(result.exception)


@pytest.fixture
async def home(tmp_path: Path, tables: Path) -> Path:
    """An instance's DATA_DIR, with rows, a secret and a log."""
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    shutil.copy(tables, folder)
    async with Store.opened(settings(folder).store_url) as store:
        await stores.fill(store)
        await stores.say(store, "DELETE FROM sealed")
        await Vault(store, settings(folder)).put({"app.key": "a secret"})
    (folder / "logs" / "1-1").mkdir(parents=True)
    (folder / "logs" / "1-1" / "1.log").write_text("built\n")
    return folder


async def opened(folder: Path) -> dict[str, str]:
    async with Store.opened(settings(folder).store_url) as store:
        return await Vault(store, settings(folder)).all()


def test_a_backup_is_its_owners_alone_and_has_neither_key_nor_logs_unless_they_are_asked_for(
    home: Path, tmp_path: Path
) -> None:
    file = tmp_path / "backup.tar.gz"
    file.write_text("yesterday's")

    done = typed(home, "backup", str(file))

    assert done.exit_code == 0, done.output
    assert f"Keep what opens them too, at another place: {home}/secret.key" in done.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with tarfile.open(file) as tar:
        names = {member.name.partition("/")[0] for member in tar.getmembers()}
        sealed = tar.extractfile("tables/sealed/000001.jsonl")
        assert sealed is not None
        assert b"a secret" not in sealed.read()
    assert names == {"manifest.json", "tables", "end.json"}
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [file.name]

    typed(home, "backup", str(file), "--logs", "--with-key")
    with tarfile.open(file) as tar:
        assert {"secret.key", "logs/1-1/1.log"} <= set(tar.getnames())


def test_with_its_key_it_is_all_that_a_fresh_machine_needs(home: Path, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    typed(home, "backup", str(tmp_path / "file"), "--logs", "--with-key")

    done = typed(fresh, "restore", str(tmp_path / "file"))

    assert done.exit_code == 0, done.output
    assert "1 logs, the key" in done.stderr
    assert asyncio.run(opened(fresh)) == {"app.key": "a secret"}
    assert (fresh / "logs" / "1-1" / "1.log").read_text() == "built\n"


def test_without_its_key_restore_says_what_is_to_be_put_back(home: Path, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    typed(home, "backup", str(tmp_path / "file"))

    done = typed(fresh, "restore", str(tmp_path / "file"))

    assert f"Before the bot starts, put back {fresh}/secret.key, or set SECRET_KEY" in done.stderr
    with pytest.raises(ConfigError, match="put back this key"):
        asyncio.run(opened(fresh))
    (fresh / "secret.key").write_bytes((home / "secret.key").read_bytes())
    assert asyncio.run(opened(fresh)) == {"app.key": "a secret"}


def test_it_goes_through_pipes(home: Path, tmp_path: Path) -> None:
    here = os.environ | {"BLACKTREE_DATA_DIR": str(home)}
    there = os.environ | {"BLACKTREE_DATA_DIR": str(tmp_path / "there")}
    made = subprocess.run([BLACKTREE, "backup", "-", "--with-key"], env=here, capture_output=True, check=True)

    subprocess.run([BLACKTREE, "restore", "-"], env=there, input=made.stdout, capture_output=True, check=True)

    assert asyncio.run(opened(tmp_path / "there")) == {"app.key": "a secret"}
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == [
        "blacktree.db", "blacktree.db.lock", "blacktree.db.migrating", "secret.key",
    ]  # fmt: skip


def test_a_full_disk_is_told_in_one_sentence(home: Path) -> None:
    env = os.environ | {"BLACKTREE_DATA_DIR": str(home)}
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [BLACKTREE, "backup", "-"], env=env, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )

    assert (done.returncode, done.stderr) == (2, "blacktree: -: cannot be written: No space left on device\n")


def test_a_full_disk_that_nobody_thought_of_is_told_in_one_sentence(home: Path) -> None:
    env = os.environ | {"BLACKTREE_DATA_DIR": str(home)}
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [BLACKTREE, "config", "schema"],
            env=env,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert (done.returncode, done.stderr.partition(":")[0]) == (2, "blacktree"), done.stderr
    assert "the disk is full" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_that_is_interrupted_leaves_the_file_of_before_and_nothing_else(
    home: Path, tmp_path: Path, number: signal.Signals
) -> None:
    file = tmp_path / "to" / "backup.tar.gz"
    file.parent.mkdir()
    file.write_text("yesterday's")
    # A log whose opening waits for a writer that never comes: the backup stays in its middle.
    os.mkfifo(home / "logs" / "1-1" / "2.log")
    env = os.environ | {"BLACKTREE_DATA_DIR": str(home)}
    with subprocess.Popen([BLACKTREE, "backup", file, "--logs"], env=env, stderr=subprocess.PIPE) as child:
        try:
            wait_for(lambda: len(list(file.parent.iterdir())) == 2, "the backup is being written", 60)
            # Python sees none that comes just before it waits in the system.
            for _ in range(6):
                child.send_signal(number)
                with suppress(subprocess.TimeoutExpired):
                    child.wait(15)
                    break
            assert child.wait(30) != 0
            assert child.communicate()[1] == b"", "no traceback"
        finally:
            child.kill()

    assert file.read_text() == "yesterday's"
    assert list(file.parent.iterdir()) == [file]


def test_two_at_once_do_not_write_into_each_other(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "backup.tar.gz"
    hold = (
        f"import fcntl; f = open({str(tmp_path / '.backup.tar.gz.part')!r}, 'w'); fcntl.flock(f, 2); print()"
    )
    script = f"{hold}; input()"
    with subprocess.Popen(
        [sys.executable, "-uc", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()

        assert "another backup is being written there" in told(typed(home, "backup", str(file)))

        other.communicate(b"\n")
    assert typed(home, "backup", str(file)).exit_code == 0


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (("backup", "{tmp}"), "{tmp}: cannot be written: Is a directory"),
        (("backup", "{tmp}/none/x"), "{tmp}/none/x: cannot be written: No such file or directory"),
        (
            ("backup", "{tmp}/x", "--with-key"),
            "--with-key: there is no {tmp}/empty/secret.key: there is none yet",
        ),
        (("restore", "{tmp}/none"), "{tmp}/none: cannot be read: No such file or directory"),
        (("restore", "{tmp}"), "{tmp}: cannot be read: Is a directory"),
        (
            ("restore", "/etc/hostname"),
            "/etc/hostname: is no backup of Blacktree's, or not even the start of one",
        ),
    ],
)
def test_what_can_not_be_is_told_in_one_sentence(
    tmp_path: Path, command: tuple[str, ...], sentence: str
) -> None:
    asyncio.run(_made(tmp_path / "empty"))

    done = typed(tmp_path / "empty", *(part.format(tmp=tmp_path) for part in command))

    assert told(done) == sentence.format(tmp=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


async def _made(folder: Path) -> None:
    async with Store.opened(settings(folder).store_url):
        pass


def test_logs_of_attempts_that_come_again_do_not_begin_with_what_others_told(
    home: Path, tmp_path: Path
) -> None:
    asyncio.run(_running(home))
    typed(home, "backup", str(tmp_path / "file"))
    (home / "logs" / "1-1" / "2.log").write_text("what came after the backup\n")

    typed(home, "restore", str(tmp_path / "file"), "--replace")

    assert [path.name for path in (home / "logs" / "1-1").iterdir()] == ["1.log"]


async def _running(folder: Path) -> None:
    async with Store.opened(settings(folder).store_url) as store:
        await stores.say(store, "UPDATE jobs SET state = 'running' WHERE id = '1-1'")
