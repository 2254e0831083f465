"""Pure: times of five-field cron expressions, in UTC, by APScheduler's triggers."""

from __future__ import annotations

from datetime import datetime, timedelta

from apscheduler.triggers.cron import CronTrigger

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_INSTANT = timedelta(microseconds=1)
_FIRST_LOOK = timedelta(minutes=2)


def due(cron: str, since: datetime, at: datetime) -> bool:
    """Whether there is a time of `cron` after `since` and not after `at`."""
    following = trigger(cron).get_next_fire_time(None, since + _INSTANT)
    return following is not None and following <= at


def last(cron: str, since: datetime, at: datetime) -> datetime | None:
    """The last time of `cron` after `since` and not after `at`.

    A trigger only looks forward, so ever longer spans before `at` are tried: of times that lie close
    together few are looked at.
    """
    times, span = trigger(cron), _FIRST_LOOK
    while True:
        start = max(since, at - span)
        found: datetime | None = None
        following = times.get_next_fire_time(None, start + _INSTANT)
        while following is not None and following <= at:
            found = following
            following = times.get_next_fire_time(None, following + _INSTANT)
        if found is not None or start == since:
            return found
        span *= 4


def trigger(cron: str) -> CronTrigger:
    """APScheduler counts weekdays from Monday; cron from Sunday, which is 0 and 7."""
    *fields, weekdays = cron.split()
    return CronTrigger.from_crontab(" ".join([*fields, _named(weekdays)]), timezone="UTC")


def _named(weekdays: str) -> str:
    """A field of weekdays with names for its numbers."""
    if weekdays == "*" or any(letter.isalpha() for letter in weekdays):
        return weekdays
    days: set[int] = set()
    for part in weekdays.split(","):
        span, _, step = part.partition("/")
        first, _, last = ("0-6" if span == "*" else span).partition("-")
        days |= {day % 7 for day in range(int(first), int(last or first) + 1, int(step or 1))}
    return ",".join(_DAYS[day] for day in sorted(days))
