"""When a cron expression comes: as Debian's cron reads it, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bot.decisions.cron import due, last
from bot.decisions.freezes import frozen
from tests.cost import cost

TUESDAY = datetime(2026, 11, 24, 12, tzinfo=UTC)


def first(cron: str) -> str:
    """The first time after TUESDAY, to the hour."""
    hours = (TUESDAY + timedelta(hours=number) for number in range(1, 24 * 90))
    return next(f"{hour:%a %d %H}" for hour in hours if due(cron, TUESDAY, hour))


@pytest.mark.parametrize(
    ("cron", "comes"),
    [
        ("0 4 * * 0", "Sun 29 04"),
        ("0 4 * * 7", "Sun 29 04"),
        ("0 4 * * sun", "Sun 29 04"),
        ("0 4 * * 1", "Mon 30 04"),
        ("0 4 * * 5-7", "Fri 27 04"),
        ("0 4 * * mon,5", "Fri 27 04"),
        ("0 4 * * MON-FRI", "Wed 25 04"),
        ("0 4 13 * 5", "Fri 27 04"),  # the 13th or any Friday
        ("0 4 26 * 5", "Thu 26 04"),  # the 26th or any Friday
        ("0 4 13 * *", "Sun 13 04"),
        ("0 4 1-7 * */7", "Sun 06 04"),  # one of both begins with a star: the first Sunday
        ("0 */6 * * *", "Tue 24 18"),
    ],
)
def test_weekdays_and_days_of_the_month_are_crons(cron: str, comes: str) -> None:
    assert first(cron) == comes


@pytest.mark.parametrize(
    ("at", "since", "found"),
    [
        (TUESDAY, TUESDAY - timedelta(hours=1), TUESDAY),
        (TUESDAY + timedelta(seconds=30), TUESDAY - timedelta(hours=1), TUESDAY),
        (TUESDAY - timedelta(microseconds=1), TUESDAY - timedelta(hours=1), None),
        (TUESDAY + timedelta(hours=1), TUESDAY, None),
        (TUESDAY + timedelta(days=3), TUESDAY, TUESDAY + timedelta(days=3)),
    ],
)
def test_the_last_time_is_after_the_one_and_not_after_the_other(
    at: datetime, since: datetime, found: datetime | None
) -> None:
    assert last("0 12 * * *", since, at) == found
    assert due("0 12 * * *", since, at) is (found is not None)


def test_windows_of_rare_times_are_looked_through_at_once() -> None:
    windows = [{"cron": "0 0 29 2 */7", "lasts": "365d", "reason": "rare"}] * 32

    assert frozen(windows, TUESDAY) is None
    assert cost(lambda: frozen(windows, TUESDAY)) < 0.25
