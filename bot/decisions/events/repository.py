"""A repository was renamed, moved, archived, deleted, or shown to the world."""

from __future__ import annotations

from typing import Any

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.jobs import lifecycle
from bot.store.tables import Job, Repository

ARCHIVED = "archived"
DELETED = "deleted"
ACTIONS = ("renamed", "transferred", "archived", "unarchived", "deleted", "publicized", "privatized")


async def changed(session: AsyncSession, action: str, payload: dict[str, Any]) -> str:
    """Note what a `repository` event says; returns the reason for people. Raises KeyError or TypeError."""
    facts = payload["repository"]
    row = await session.get(Repository, facts["id"])
    if row is None:
        return f"ignored: {facts['full_name']} is not known here"
    before, row.full_name = row.full_name, facts["full_name"]
    row.private = bool(facts.get("private", row.private))
    row.default_branch = facts.get("default_branch") or row.default_branch
    if action in ("archived", "deleted"):
        await stop(session, row, ARCHIVED if action == "archived" else DELETED)
    if action == "unarchived" and row.inactive == ARCHIVED:
        row.inactive = ""
    session.add(row)
    return f"noted: {before} is {_now(action, row)}"


async def stop(session: AsyncSession, row: Repository, reason: str) -> None:
    """Make a repository inactive: nothing new starts, and what has not ended is cancelled."""
    row.inactive = reason
    unfinished = select(Job).where(Job.repository_id == row.id, col(Job.state).in_(lifecycle.LIVE))
    for job in (await session.exec(unfinished)).all():
        await lifecycle.cancel(session, job, "inactive", f"{row.full_name} is {reason}")


def _now(action: str, row: Repository) -> str:
    """What a repository is after `action`, for people."""
    if action in ("renamed", "transferred"):
        return f"{row.full_name} now"
    words = {"unarchived": "not archived any more", "publicized": "public", "privatized": "private"}
    return words.get(action, action)
