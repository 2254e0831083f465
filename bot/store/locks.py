"""Which locks hold: those that have not ended."""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_
from sqlmodel import col

from bot.store.tables import Lock
from workers.contract.messages import now


def over(lock: Lock) -> bool:
    """Whether it has ended, and holds nothing any more."""
    return lock.expires_at is not None and lock.expires_at <= now()


def holds() -> ColumnElement[bool]:
    """The same of rows: that one has not."""
    return col(Lock.expires_at).is_(None) | (col(Lock.expires_at) > now())


def on(repository_id: int, environment: str) -> ColumnElement[bool]:
    """Of rows: that one holds this environment, by its name or with all of the repository's."""
    return and_(
        col(Lock.repository_id) == repository_id, col(Lock.environment).in_(("", environment)), holds()
    )
