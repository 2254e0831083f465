"""Tokens of people and of programs: known by their form, kept as hashes, each with the most that it may."""

from __future__ import annotations

import hashlib
import secrets
import string
import zlib
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import delete, update
from sqlmodel import col, select

from bot.store.database import Store
from bot.store.tables import TokenRow
from workers.contract.messages import now

PREFIX = "bt_"  # so that people, and programs that look for secrets in files, know one when they see it
SCOPES = ("read", "deploy", "admin")
DAYS, MOST_DAYS = 90, 366

_ALPHABET = string.digits + string.ascii_letters
_LENGTH = 30  # characters: 178 bits
_SUM = 6  # characters of a checksum, as many as 32 bits need
_SEEN = timedelta(minutes=5)  # that the last use may be off


def made() -> str:
    """A new token: prefix, chance, and at the end a checksum."""
    chance = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
    return f"{PREFIX}{chance}{_sum(chance)}"


def formed(text: str) -> bool:
    """Pure: whether it has the form of a token; a slip of the pen has not."""
    if not text.startswith(PREFIX) or len(text) != len(PREFIX) + _LENGTH + _SUM or not text.isascii():
        return False
    chance, end = text[len(PREFIX) : -_SUM], text[-_SUM:]
    return end == _sum(chance)


def _sum(chance: str) -> str:
    rest, text = zlib.crc32(chance.encode()), ""
    for _ in range(_SUM):
        rest, digit = divmod(rest, len(_ALPHABET))
        text = _ALPHABET[digit] + text
    return text


def _mark(token: str) -> str:
    """What is kept: there is too much chance in a token to find it by its hash."""
    return hashlib.sha256(token.encode()).hexdigest()


class Tokens:
    """All of them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def make(self, row: TokenRow) -> str:
        """Keep `row`, whose hash this fills in, and give its token, which nobody can tell again."""
        token = made()
        row.mark = _mark(token)
        async with self._store.transaction() as session:
            session.add(row)
        return token

    async def known(self, token: str, address: str) -> TokenRow | None:
        """The row of a token that counts now; that it was used is remembered."""
        if not formed(token):
            return None
        at, mark = now(), _mark(token)
        async with self._store.reading() as session:
            row = (await session.exec(select(TokenRow).where(TokenRow.mark == mark))).first()
        if row is None or row.revoked_at is not None or row.expires_at <= at:
            return None
        if row.used_at is None or at - row.used_at > _SEEN:
            async with self._store.statements() as connection:
                used = update(TokenRow).where(col(TokenRow.id) == row.id)
                await connection.execute(used.values(used_at=at, used_from=address))
        return row

    async def listed(self, account: int | None = None) -> Sequence[TokenRow]:
        """Those that were not revoked, of one person by their number at GitHub, or all; newest first."""
        there = select(TokenRow).where(col(TokenRow.revoked_at).is_(None))
        if account is not None:
            there = there.where(TokenRow.account_id == account)
        async with self._store.reading() as session:
            return (await session.exec(there.order_by(col(TokenRow.id).desc()))).all()

    async def revoke(self, number: int, account: int | None = None) -> str | None:
        """End a token, of this person if one is named; its name, None where there is none."""
        async with self._store.transaction() as session:
            row = await session.get(TokenRow, number)
            if row is None or row.revoked_at is not None or account not in (None, row.account_id):
                return None
            row.revoked_at = now()
            return row.name


async def forget(store: Store, days: float) -> int:
    """Forget what ended over so many days ago; how many."""
    before = now() - timedelta(days=days)
    async with store.transaction() as session:
        gone = await session.exec(
            delete(TokenRow).where((col(TokenRow.expires_at) < before) | (col(TokenRow.revoked_at) < before))
        )
    return int(gone.rowcount)
