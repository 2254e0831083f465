"""Pure: times of five-field cron expressions, in UTC."""

from __future__ import annotations

from datetime import datetime

from cronsim import CronSim


def due(cron: str, since: datetime, at: datetime) -> bool:
    """Whether there is a time of `cron` after `since` and not after `at`."""
    return next(CronSim(cron, since)) <= at


def following(cron: str, since: datetime) -> datetime:
    """The first time of `cron` after `since`."""
    return next(CronSim(cron, since))


def last(cron: str, since: datetime, at: datetime) -> datetime | None:
    """The last time of `cron` after `since` and not after `at`."""
    just_after = at.replace(microsecond=1)  # times are whole minutes, and the search leaves its start out
    latest = next(CronSim(cron, just_after, reverse=True))
    return latest if latest > since else None
