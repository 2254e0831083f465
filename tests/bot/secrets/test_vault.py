"""The instance's secrets in the store: closed to whoever has only the store."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlmodel import select

from bot.secrets.vault import Vault
from bot.store.database import Store
from bot.store.tables import Sealed
from config.errors import ConfigError
from config.settings import Settings

VALUE = "-----BEGIN RSA PRIVATE KEY-----"
Make = Callable[..., Vault]


@pytest.fixture
def vault(store: Store, tmp_path: Path) -> Make:
    def make(key: str = "") -> Vault:
        return Vault(store, Settings(data_dir=tmp_path, secret_key=SecretStr(key) if key else None))

    return make


async def rows(store: Store) -> dict[str, str]:
    async with store.reading() as session:
        return {row.name: row.value for row in (await session.exec(select(Sealed))).all()}


async def test_what_was_put_comes_back_in_another_process(vault: Make) -> None:
    await vault("geheim").put({"key": VALUE, "secret": "ü" * 500})

    assert await vault("geheim").all() == {"key": VALUE, "secret": "ü" * 500}


async def test_what_is_kept_is_the_same_for_all_who_ask_and_follows_the_key(vault: Make) -> None:
    fresh = [str(number) for number in range(8)]

    asked = await asyncio.gather(*(vault("geheim").kept("key", one) for one in fresh))

    assert len(set(asked)) == 1
    assert await vault("neu,geheim").kept("key", "other") == asked[0]
    assert await vault("neu").kept("key", "other") == asked[0]


async def test_a_value_is_not_in_the_store_and_no_two_are_alike(vault: Make, store: Store) -> None:
    await vault("geheim").put({"one": VALUE, "two": VALUE})
    kept = await rows(store)

    assert VALUE not in str(kept)
    assert kept["one"] != kept["two"]


async def test_a_value_under_another_name_does_not_open(vault: Make, store: Store) -> None:
    await vault("geheim").put({"one": "1", "two": "2"})
    async with store.transaction() as session:
        one, two = await session.get_one(Sealed, "one"), await session.get_one(Sealed, "two")
        one.value, two.value = two.value, one.value

    with pytest.raises(ConfigError, match="does not open one"):
        await vault("geheim").all()


@pytest.mark.parametrize(
    "change", [lambda text: text[:-8], lambda text: text[:20] + "AAAA" + text[24:], lambda _: "v1:%"]
)
async def test_a_value_that_was_changed_does_not_open(
    vault: Make, store: Store, change: Callable[[str], str]
) -> None:
    await vault("geheim").put({"one": "1"})
    async with store.transaction() as session:
        row = await session.get_one(Sealed, "one")
        row.value = change(row.value)

    with pytest.raises(ConfigError):
        await vault("geheim").all()


async def test_another_key_ends_with_a_sentence_that_says_what_to_do(vault: Make) -> None:
    await vault("geheim").put({"key": VALUE})

    with pytest.raises(ConfigError) as caught:
        await vault("falsch").all()

    assert "SECRET_KEY" in str(caught.value)
    assert "NEW,OLD" in str(caught.value)
    assert "falsch" not in str(caught.value)


async def test_a_new_key_before_the_old_one_takes_over_what_was_sealed(vault: Make) -> None:
    await vault("alt").put({"key": VALUE})

    assert await vault("neu,alt").all() == {"key": VALUE}
    assert await vault("neu").all() == {"key": VALUE}, "the old key is needed no more"


async def test_without_a_key_one_is_made_that_only_its_owner_reads(vault: Make, tmp_path: Path) -> None:
    assert await vault().all() == {}
    assert not (tmp_path / "secret.key").exists(), "nothing is sealed, so no key is needed"

    await vault().put({"key": VALUE})

    assert stat.S_IMODE((tmp_path / "secret.key").stat().st_mode) == 0o600
    assert await vault().all() == {"key": VALUE}
    assert [name for name in os.listdir(tmp_path) if "secret" in name] == ["secret.key"], "no draft stays"


async def test_a_key_from_the_settings_takes_over_from_the_made_one(vault: Make, tmp_path: Path) -> None:
    await vault().put({"key": VALUE})

    assert await vault("neu").all() == {"key": VALUE}
    (tmp_path / "secret.key").unlink()
    assert await vault("neu").all() == {"key": VALUE}


@pytest.mark.parametrize("left", [None, ""])
async def test_a_made_key_that_is_gone_is_named_and_not_made_anew(
    vault: Make, tmp_path: Path, left: str | None
) -> None:
    await vault().put({"key": VALUE})
    (tmp_path / "secret.key").unlink()
    if left is not None:
        (tmp_path / "secret.key").write_text(left)

    with pytest.raises(ConfigError, match=r"secret\.key: .*put back"):
        await vault().all()

    assert (tmp_path / "secret.key").exists() == (left is not None)
