"""Stores of both kinds, with rows in every table."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import JSON, Boolean, Column, Enum, Float, Integer, Table, text
from sqlmodel import SQLModel

from bot.store import versions
from bot.store.database import Store
from bot.store.tables import Moment
from tests.parts.postgres import Postgres

KINDS = ["sqlite", "postgresql"]
NEWEST = "9999"
_TEXT = 'O\'Brien\tsaid „ja“ 🌲\n\\N "x" %s :y \r\n'
_AT = datetime(2026, 3, 29, 1, 59, 59, 123456, tzinfo=UTC)


def url(kind: str, folder: Path, postgres: Postgres, name: str) -> str:
    """Of a database that is not there yet, or empty."""
    if kind == "sqlite":
        return f"sqlite:///{folder / name / 'blacktree.db'}"
    return postgres.create_database(f"bot_test_{name}")


async def fill(store: Store, rows: Iterable[int] = (1, 2)) -> None:
    """Rows with these numbers in every table, of all that a column may hold."""
    async with store.transaction() as session:
        connection = await session.connection()
        for table in SQLModel.metadata.sorted_tables:
            if table.name != "instance":
                await connection.execute(table.insert(), [_row(table, number) for number in rows])


def _row(table: Table, number: int) -> dict[str, Any]:
    return {column.name: _value(column, number) for column in table.columns}


def _value(column: Column[Any], number: int) -> Any:
    kind = column.type
    if column.nullable and number % 2:
        return None
    if isinstance(kind, Moment):
        return _AT + timedelta(days=number)
    if isinstance(kind, JSON):
        return [_TEXT] if column.name in ("needs", "addresses") else {_TEXT: [number, None, 0.1, True, {}]}
    if isinstance(kind, Enum):
        return list(kind.enum_class or ())[0]  # noqa: RUF015
    if isinstance(kind, Boolean):
        return number % 2 == 0
    if isinstance(kind, Float):
        return number + 0.1
    if isinstance(kind, Integer):
        return number
    return f"{number}-1" if column.name in ("job_id", "id") else f"{number} {_TEXT}"


async def everything(store: Store) -> dict[str, list[Any]]:
    """All rows of all tables."""
    async with store.reading() as session:
        connection = await session.connection()
        return {
            name: [
                tuple(row) for row in await connection.execute(table.select().order_by(*table.primary_key))
            ]
            for name, table in SQLModel.metadata.tables.items()
        }


async def say(store: Store, sql: str) -> None:
    async with store.transaction() as session:
        await (await session.connection()).execute(text(sql))


_NEWER = """
import asyncio, shutil, sys
from pathlib import Path
from bot.store import versions
from bot.store import versions
from bot.store.database import Store

folder = Path(sys.argv[2])
if not folder.exists():
    shutil.copytree(versions.FOLDER, folder)
    (folder / "versions" / "9999_later.py").write_text(
        f'import sqlalchemy as sa\\n'
        f'from alembic import op\\n'
        f'revision, down_revision, branch_labels, depends_on = "9999", "{versions.head()}", None, None\\n'
        f'def upgrade():\\n'
        f'    op.add_column("repositories", sa.Column("later", sa.String(), nullable=True))\\n'
    )
versions.FOLDER = folder

async def main():
    async with Store.opened(sys.argv[1]) as store:
        print(await store.check())

asyncio.run(main())
"""


def opened_by_a_newer_version(address: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What a Blacktree says that knows one revision more, and opens this store."""
    return subprocess.run(
        [sys.executable, "-c", _NEWER, address, str(folder / "newer")],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


async def locked(session: Any) -> None:
    """As whoever migrates has it."""
    await (await session.connection()).execute(text(f"SELECT pg_advisory_xact_lock({versions.LOCK})"))
