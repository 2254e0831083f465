"""Tokens: their form, what the store has of them, when they count, and how long they are remembered."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import select

from bot.secrets.tokens import PREFIX, Tokens, forget, formed, made
from bot.store.database import Store
from bot.store.tables import TokenRow
from workers.contract.messages import now


def row(name: str = "ci", days: float = 1, **columns: Any) -> TokenRow:
    known: dict[str, Any] = {"mark": "", "scope": "read", "made_by": "root", **columns}
    return TokenRow(name=name, expires_at=now() + timedelta(days=days), **known)


def test_a_token_is_known_by_its_form_and_a_slip_is_not_one() -> None:
    token = made()

    assert formed(token)
    assert token.startswith(PREFIX)
    assert made() != token
    swapped = token[:5] + token[6] + token[5] + token[7:]
    assert swapped == token or not formed(swapped)
    for slip in ("", PREFIX, token[:-1], token + "x", token.upper(), token[:-1] + "é", "x" * len(token)):
        assert not formed(slip)


async def test_the_store_has_a_hash_and_the_last_use(store: Store) -> None:
    tokens = Tokens(store)
    token = await tokens.make(row())

    known = await tokens.known(token, "192.0.2.7")

    async with store.reading() as session:
        [kept] = (await session.exec(select(TokenRow))).all()
    assert known
    assert token[len(PREFIX) :] not in str(kept)
    assert (kept.used_from, kept.used_at is not None) == ("192.0.2.7", True)
    assert await tokens.known(made(), "") is None


@pytest.mark.parametrize("ended", ["over", "revoked"])
async def test_a_token_that_is_over_or_revoked_counts_no_more(store: Store, ended: str) -> None:
    tokens = Tokens(store)
    token = await tokens.make(row(days=-1 if ended == "over" else 1))
    [kept] = await tokens.listed()
    if ended == "revoked":
        assert await tokens.revoke(kept.id or 0) == "ci"
        assert await tokens.revoke(kept.id or 0) is None

    assert await tokens.known(token, "") is None


async def test_nobody_ends_anothers_token_and_whoever_gets_a_login_gets_no_tokens_with_it(
    store: Store,
) -> None:
    tokens = Tokens(store)
    token = await tokens.make(row(login="ada", account_id=1))
    await tokens.make(row(login="ada", account_id=2))
    [kept] = await tokens.listed(1)

    assert await tokens.listed(3) == []
    assert await tokens.revoke(kept.id or 0, 2) is None
    assert await tokens.known(token, "")


async def test_what_ended_long_ago_is_forgotten(store: Store) -> None:
    tokens = Tokens(store)
    for days in (-40, -1, 1):
        await tokens.make(row(days=days))

    assert await forget(store, 30) == 1
    assert len(await tokens.listed()) == 2
