"""How far each sweep has come, kept in the store."""

from __future__ import annotations

import uuid
from typing import Any

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.store.database import Store
from bot.store.tables import Mark, Repository, Run


async def read(store: Store, name: str) -> str | None:
    """What the mark says, None where there is none yet."""
    async with store.reading() as session:
        mark = await session.get(Mark, name)
    return mark.value if mark else None


async def move(session: AsyncSession, name: str, value: str) -> None:
    """Set a mark, in the transaction of what it tells."""
    mark = await session.get(Mark, name) or Mark(name=name, value=value)
    mark.value = value
    session.add(mark)


async def remove(session: AsyncSession, name: str) -> None:
    """Forget a mark."""
    mark = await session.get(Mark, name)
    if mark is not None:
        await session.delete(mark)


async def watched(store: Store) -> list[Repository]:
    """The repositories that sweeps look at: active, and with runs."""
    run = select(Run.repository_id)
    wanted = select(Repository).where(Repository.inactive == "", col(Repository.id).in_(run))
    async with store.reading() as session:
        return list((await session.exec(wanted.order_by(col(Repository.id)))).all())


def guid() -> str:
    """That of a delivery which GitHub never sent."""
    return f"sweep-{uuid.uuid4()}"


def about(repository: Repository) -> dict[str, Any]:
    """A repository in GitHub's form, as far as we know it."""
    return {
        "id": repository.id,
        "name": repository.name,
        "full_name": repository.full_name,
        "default_branch": repository.default_branch,
        "private": repository.private,
    }


def surroundings(repository: Repository, about: dict[str, Any]) -> dict[str, Any]:
    """What every payload says besides its own: the repository in GitHub's form, and the installation."""
    installation = repository.installation_id
    return {"repository": about} | ({"installation": {"id": installation}} if installation else {})
