"""What columns are made of."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import DateTime, Dialect, Enum, TypeDecorator


class Moment(TypeDecorator[datetime]):
    """A UTC time. SQLite has no time zones, so they are put back on when it is read."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


def words(states: type[StrEnum]) -> Any:
    """A column of words, of which a newer version may know more: no database enum, no constraint."""
    return Enum(
        states, native_enum=False, length=16, values_callable=lambda kind: [item.value for item in kind]
    )


# Workers, logs and GitHub know these by their numbers, whatever became of the rows.
NEVER_TWICE = {"sqlite_autoincrement": True}
