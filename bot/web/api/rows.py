"""Rows that the API shows: found by what a path or a query names, and cut into parts."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import ColumnElement
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.exceptions import HTTPException

from bot.store.tables import Repository
from bot.web.api.fields import MOST
from bot.web.api.operation import Part
from bot.web.named import named

T = TypeVar("T")

_JOB = re.compile(r"[0-9]{1,9}-[0-9]{1,6}")


async def repository(session: AsyncSession, path: dict[str, Any]) -> Repository:
    """The one that the path names. Raises HTTPException."""
    full_name = f"{path['owner']}/{path['name']}"
    found = await named(session, full_name)
    if found is None:
        raise HTTPException(404, f"no repository {full_name[:200]} is known here")
    return found


async def only(session: AsyncSession, full_name: str | None) -> int | None:
    """The id of the repository that a query wants alone; of one that is not known, one that no row has."""
    if full_name is None:
        return None
    found = await named(session, full_name)
    return found.id if found else 0


async def names(session: AsyncSession, ids: set[int | None]) -> dict[int, str]:
    """Ids of repositories ▸ their names."""
    known = select(Repository.id, Repository.full_name).where(col(Repository.id).in_(ids))
    return dict((await session.exec(known)).all())


def alike(*wanted: tuple[Any, Any]) -> list[ColumnElement[bool]]:
    """That each column has what a query wants of it, where it wants something."""
    return [col(column) == value for column, value in wanted if value is not None]


def part(rows: Sequence[T], limit: int, after: Callable[[T], str]) -> Part:
    """Of one row more than was asked for: those, and where what follows begins."""
    return Part(rows[:limit], after(rows[limit - 1]) if 0 < limit < len(rows) else None)


def most(limit: int) -> int:
    return min(limit, MOST)


def number_of(cursor: str | None) -> int | None:
    """Raises HTTPException for what is no cursor of a list by number."""
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= 18):
        raise HTTPException(422, "cursor: take it from the `Link` of the answer before")
    return int(cursor)


def job_of(cursor: str) -> int:
    """The run of the job that is the cursor of a list of jobs. Raises HTTPException."""
    if not _JOB.fullmatch(cursor):
        raise HTTPException(422, "cursor: take it from the `Link` of the answer before")
    return int(cursor.partition("-")[0])


def time_cursor(at: datetime, key: str) -> str:
    """Where a list by time goes on."""
    return base64.urlsafe_b64encode(f"{at.isoformat()} {key}".encode()).decode()


def time_of(cursor: str) -> tuple[datetime, str]:
    """Raises HTTPException for what is no such cursor."""
    try:
        at, _, key = base64.urlsafe_b64decode(cursor.encode()).decode().partition(" ")
        found = datetime.fromisoformat(at)
        if found.tzinfo is None or "\0" in key:
            raise ValueError
    except (ValueError, binascii.Error):
        raise HTTPException(422, "cursor: take it from the `Link` of the answer before") from None
    return found, key
