"""Waiting for what is built elsewhere: when it is looked for, and when that is given up, and why."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.jobs import awaiting
from bot.jobs.awaiting import Ended, again, ended, pause, verdict
from bot.store.tables import AwaitRow

AT = datetime(2026, 3, 1, tzinfo=UTC)
LONG, SHORT = timedelta(minutes=5), timedelta(seconds=5)
REF = "ghcr.io/acme/app:1"


def s(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def row(**columns: Any) -> AwaitRow:
    known: dict[str, Any] = {
        "job_id": "1-1",
        "repository_id": 7,
        "sha": "1" * 40,
        "since": AT,
        "until": AT + s(1800),
    }
    return AwaitRow(**{"looks": 1, "said": "", "good": False, "checks": "", **known, **columns})


def test_looks_come_less_and_less_often_up_to_one_a_minute() -> None:
    assert [pause(looks) for looks in (1, 2, 3, 4, 5, 6, 500)] == [5, 10, 20, 40, 60, 60, 60]


@pytest.mark.parametrize(
    ("checks", "over", "check", "waited", "expected"),
    [
        ({}, True, None, LONG, None),
        ({"build": "pending"}, False, None, LONG, None),
        ({"build": "success"}, False, None, LONG, None),  # a job after it is to come
        ({"build": "success"}, True, None, SHORT, None),  # so is what another App does
        ({"build": "success"}, True, None, LONG, Ended(True, "all checks have ended")),
        ({"a": "success", "b": "failure"}, True, None, LONG, Ended(False, "check b failed")),
        ({"build": "pending"}, False, "build", LONG, None),
        (
            {"build": "success", "lint": "pending"},
            False,
            "build",
            SHORT,
            Ended(True, "check build succeeded"),
        ),
        ({"build": "failure", "lint": "pending"}, False, "build", SHORT, Ended(False, "check build failed")),
        ({"lint": "failure"}, False, "build", LONG, None),  # it is made when lint has ended
        ({"lint": "failure"}, True, "build", SHORT, None),
        ({"lint": "failure"}, True, "build", LONG, Ended(False, "no check build ran, only lint")),
        ({"build (arm)": "success", "build (amd)": "pending"}, False, "build", LONG, None),
        ({"build / push": "failure"}, False, "build", LONG, Ended(False, "check build / push failed")),
        ({"builder": "failure"}, False, "build", LONG, None),
    ],
)
def test_what_makes_the_image_has_ended(
    checks: dict[str, str], over: bool, check: str | None, waited: timedelta, expected: Ended | None
) -> None:
    assert ended(checks, over, check, waited) == expected


@pytest.mark.parametrize(
    ("columns", "began", "at", "expected"),
    [
        ({}, AT, AT, None),
        ({}, AT, AT + s(1800), f"{REF} is not there: nobody has pushed it within 30 min 0 s"),
        ({"said": "no"}, AT, AT + s(1800), f"{REF} is not there: nobody has pushed it within 30 min 0 s. no"),
        ({"ended_at": AT, "checks": "check b failed"}, AT - s(1), AT, None),  # it looked before
        ({"ended_at": AT, "checks": "check b failed"}, AT, AT, f"{REF} is not there: check b failed"),
        ({"ended_at": AT, "good": True, "checks": "it"}, AT + s(59), AT + s(59), None),
        ({"ended_at": AT, "good": True, "checks": "it"}, AT + s(60), AT + s(60), f"{REF} is not there: it"),
    ],
)
def test_a_wait_is_given_up_after_a_look_that_could_have_found_it(
    columns: dict[str, Any], began: datetime, at: datetime, expected: str | None
) -> None:
    assert verdict(row(**columns), REF, began, at) == expected


@pytest.mark.parametrize(
    ("columns", "at", "expected"),
    [
        ({"looks": 3}, AT, AT + s(20)),
        ({"looks": 9}, AT + s(1790), AT + s(1800)),  # not after its time
        ({"looks": 9, "ended_at": AT, "good": True}, AT + s(10), AT + awaiting.GRACE),
    ],
)
def test_it_is_looked_for_again(columns: dict[str, Any], at: datetime, expected: datetime) -> None:
    assert again(row(**columns), at) == expected
