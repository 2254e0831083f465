"""The repository that somebody names, for all that is asked over HTTP."""

from __future__ import annotations

from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.store.tables import Repository


async def named(session: AsyncSession, full_name: str) -> Repository | None:
    """The repository of this name, whatever its capitals."""
    wanted = select(Repository).where(func.lower(Repository.full_name) == full_name.lower())
    return (await session.exec(wanted.order_by(col(Repository.id).desc()))).first()
