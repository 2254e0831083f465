"""Secrets: encrypted, in scopes that never mix, and told to nobody."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
from pathlib import Path

import pytest

from bot.secrets.repositories import Secrets
from bot.secrets.vault import Vault
from bot.store.database import Store
from config.errors import ConfigError
from config.settings import Settings
from tests.bot.conftest import REPOSITORY, Rows
from tests.instance import BLACKTREE

VALUE = "postgres://ada:s3cret@db/shop"


def settings(tmp_path: Path, key: str = "old") -> Settings:
    return Settings.model_validate({"data_dir": tmp_path, "secret_key": key})


def secrets(store: Store, tmp_path: Path, key: str = "old") -> Secrets:
    return Secrets(store, Vault(store, settings(tmp_path, key)))


@pytest.mark.parametrize(
    ("environment", "preview", "found"),
    [
        ("production", False, {"A": "everywhere", "B": "production"}),
        ("staging", False, {"A": "everywhere", "B": "everywhere too"}),
        ("", False, {"A": "everywhere", "B": "everywhere too"}),
        ("pr-7", True, {"B": "preview"}),
        ("", True, {"B": "preview"}),
    ],
)
async def test_an_environment_gets_its_own_scope_and_a_preview_no_other(
    store: Store, tmp_path: Path, environment: str, preview: bool, found: dict[str, str]
) -> None:
    held = secrets(store, tmp_path)
    await held.set(REPOSITORY, "", "A", "everywhere")
    await held.set(REPOSITORY, "", "B", "everywhere too")
    await held.set(REPOSITORY, "production", "B", "production")
    await held.set(REPOSITORY, "preview", "B", "preview")
    await held.set(REPOSITORY + 1, "", "C", "of another repository")
    await held.set(REPOSITORY, "", "UNASKED", "x")

    assert await held.of(REPOSITORY, ["A", "B", "C"], environment, preview=preview) == found


async def test_a_value_that_is_moved_to_another_place_does_not_open(store: Store, tmp_path: Path) -> None:
    held = secrets(store, tmp_path)
    await held.set(REPOSITORY, "production", "A", VALUE)
    (row,) = await held.listed(REPOSITORY)
    assert "s3cret" not in row.value
    row.scope = "preview"
    async with store.transaction() as session:
        await session.merge(row)

    with pytest.raises(ConfigError, match="SECRET_KEY"):
        await held.of(REPOSITORY, ["A"], "", preview=True)


async def test_a_new_key_seals_anew_and_the_old_one_can_go(store: Store, tmp_path: Path) -> None:
    await secrets(store, tmp_path, "old").set(REPOSITORY, "", "A", VALUE)

    await secrets(store, tmp_path, "new,old").reseal()

    assert await secrets(store, tmp_path, "new").of(REPOSITORY, ["A"], "", preview=False) == {"A": VALUE}
    with pytest.raises(ConfigError, match="another key"):
        await secrets(store, tmp_path, "old").of(REPOSITORY, ["A"], "", preview=False)


def called(tmp_path: Path, *arguments: str, value: str = "") -> tuple[int, str]:
    """The exit code and all that was said."""
    env = {"PATH": os.environ["PATH"], "BLACKTREE_DATA_DIR": str(tmp_path), "COLUMNS": "200"}
    env |= {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    done = subprocess.run(
        [BLACKTREE, "secret", *arguments], input=value.encode(), capture_output=True, check=False, env=env
    )
    return done.returncode, (done.stdout + done.stderr).decode()


async def test_the_command_line_sets_lists_and_removes(store: Store, rows: Rows, tmp_path: Path) -> None:
    await rows.run()

    code, said = await asyncio.to_thread(
        called, tmp_path, "set", "Acme/Shop", "DATABASE_URL", value=f"{VALUE}\n"
    )
    assert (code, VALUE in said) == (0, False), said
    await asyncio.to_thread(called, tmp_path, "set", "acme/shop", "PEM", "--preview", value="a\nb\n\n")
    listed = await asyncio.to_thread(called, tmp_path, "list", "acme/shop")
    assert [line.split("20")[0].split() for line in listed[1].splitlines()[1:]] == [
        ["DATABASE_URL", "all", "but", "previews"],
        ["PEM", "previews"],
    ]
    held = Secrets(store, Vault(store, Settings(data_dir=tmp_path)))
    assert await held.of(REPOSITORY, ["DATABASE_URL"], "production", preview=False) == {"DATABASE_URL": VALUE}
    assert await held.of(REPOSITORY, ["PEM"], "", preview=True) == {"PEM": "a\nb\n"}
    assert VALUE.encode() not in (tmp_path / "blacktree.db").read_bytes()
    gone = await asyncio.to_thread(called, tmp_path, "remove", "acme/shop", "PEM", "--preview")
    again = await asyncio.to_thread(called, tmp_path, "remove", "acme/shop", "PEM", "--preview")
    assert (gone[0], again[0]) == (0, 1)
    with sqlite3.connect(tmp_path / "blacktree.db") as database:
        assert database.execute("select name from secrets").fetchall() == [("DATABASE_URL",)]


@pytest.mark.parametrize(
    ("arguments", "value", "said"),
    [
        (["set", "acme/shop", "9A"], "x", "letters, digits and underscores"),
        (["set", "acme/shop", "A"], "", "is empty"),
        (["set", "acme/shop", "A"], "x" * 70_000, "at most 65536 bytes"),
        (["set", "acme/shop", "A", "--preview", "-e", "staging"], "x", "say one of them"),
        (["set", "acme/shop", "A", "-e", "No Such"], "x", "no environment's name"),
    ],
)
def test_what_is_no_secret_is_said(tmp_path: Path, arguments: list[str], value: str, said: str) -> None:
    code, told = called(tmp_path, *arguments, value=value)

    assert code == 2
    assert said in told
    assert "Traceback" not in told
