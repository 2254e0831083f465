"""Which gates hold a deploy, and what is said of each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.decisions.admission import without
from bot.decisions.freezes import frozen
from bot.decisions.gates import Facts, Gate, Locked, Wish, closed
from bot.decisions.plan import PlannedJob
from workers.contract.messages import Kind

SHA = "a" * 40
WISH = Wish("production", SHA, "ada", pull=7, author="ada", comment_id=1)
EVES = Locked("production", "eve", "a release is on its way", datetime(2026, 1, 2, 3, 4, tzinfo=UTC))


def held(spec: dict[str, Any], facts: Facts, wish: Wish = WISH) -> list[tuple[Gate, bool]]:
    return [(one.gate, one.warning) for one in closed(spec, wish, facts)]


@pytest.mark.parametrize(
    ("spec", "facts", "gate"),
    [
        ({}, Facts(locks=[EVES]), Gate.LOCK),
        ({"deployers": ["eve"]}, Facts(), Gate.DEPLOYERS),
        ({"gates": {"review": True}}, Facts(), Gate.REVIEW),
        ({"gates": {"checks": ["ci"]}}, Facts(), Gate.CHECKS),
        ({"gates": {"checks": ["ci"]}}, Facts(contexts={"ci": "pending"}), Gate.CHECKS),
        ({"gates": {"checks": True}}, Facts(contexts={"ci": "failure"}), Gate.CHECKS),
        ({"gates": {"checks": True}}, Facts(required=["ci"]), Gate.CHECKS),
        ({"gates": {"up_to_date": "require"}}, Facts(behind=2, base="main"), Gate.UP_TO_DATE),
        ({"gates": {"up_to_date": "update"}}, Facts(behind=1, base="main"), Gate.UP_TO_DATE),
        ({"gates": {"after": "staging"}}, Facts(ran_well=False), Gate.ORDER),
        ({"gates": {"approval": True}}, Facts(), Gate.APPROVAL),
        ({"gates": {"approval": True}}, Facts(approvers=["ada"]), Gate.APPROVAL),
        ({"gates": {"confirm": True}}, Facts(), Gate.CONFIRM),
    ],
)
def test_a_closed_gate_holds_the_deploy(spec: dict[str, Any], facts: Facts, gate: Gate) -> None:
    assert held(spec, facts) == [(gate, False)]


@pytest.mark.parametrize(
    ("spec", "facts"),
    [
        ({}, Facts()),
        ({}, Facts(locks=[Locked("production", "ada", "", EVES.since)])),
        ({"deployers": ["ada"]}, Facts()),
        ({"gates": {"review": True}}, Facts(reviewers=["eve"])),
        ({"gates": {"checks": ["ci"]}}, Facts(contexts={"ci": "success", "lint": "failure"})),
        ({"gates": {"checks": True}}, Facts(contexts={"ci": "success", "blacktree/build": "pending"})),
        ({"gates": {"checks": True}}, Facts(required=["ci"], contexts={"ci": "success", "lint": "failure"})),
        ({"gates": {"up_to_date": "require"}}, Facts(behind=0)),
        ({"gates": {"up_to_date": "off"}}, Facts(behind=3)),
        ({"gates": {"after": "staging"}}, Facts(ran_well=True)),
        ({"gates": {"approval": True}}, Facts(approvers=["ada", "eve"])),
        ({"gates": {"confirm": True}}, Facts(confirmed=True)),
    ],
)
def test_an_open_gate_holds_nothing(spec: dict[str, Any], facts: Facts) -> None:
    assert held(spec, facts) == []


def test_being_behind_may_only_be_warned_of() -> None:
    facts = Facts(behind=1, base="main")
    assert held({"gates": {"up_to_date": "warn"}}, facts) == [(Gate.UP_TO_DATE, True)]


def test_what_belongs_to_pull_requests_and_comments_does_not_hold_a_push() -> None:
    push = Wish("production", SHA, "ada")
    assert held({"gates": {"review": True, "confirm": True}}, Facts(), push) == []


def test_what_is_not_merged_needs_a_review_even_where_no_pull_request_is_known() -> None:
    unmerged = Wish("production", SHA, "ada", unmerged=True)
    assert held({"gates": {"review": True}}, Facts(), unmerged) == [(Gate.REVIEW, False)]


@pytest.mark.parametrize(("scheduled", "gates"), [(False, [(Gate.DEPLOYERS, False)]), (True, [])])
def test_nobody_is_no_deployer_and_only_a_schedule_needs_none(
    scheduled: bool, gates: list[tuple[Gate, bool]]
) -> None:
    nobodys = Wish("production", SHA, "", scheduled=scheduled)
    assert held({"deployers": ["ada"]}, Facts(), nobodys) == gates


def test_every_closed_gate_is_named_with_what_opens_it() -> None:
    spec = {"gates": {"review": True, "after": "staging", "approval": True}}
    said = "\n".join(map(str, closed(spec, WISH, Facts(locks=[EVES], ran_well=False))))
    assert "production is locked by eve since 2026-01-02 03:04 UTC: a release is on its way" in said
    for opens in ("/unlock production", "an approving review", "/deploy staging", f"/approve {SHA}"):
        assert opens in said


def _job(kind: Kind, name: str, *needs: int) -> PlannedJob:
    return PlannedJob(kind, name, "", needs=needs)


def test_a_plan_without_a_deploy_keeps_what_the_others_need() -> None:
    jobs = (
        _job(Kind.BUILD, "app"),
        _job(Kind.BUILD, "web"),
        _job(Kind.DEPLOY, "staging", 1),
        _job(Kind.DEPLOY, "production", 0),
    )
    assert without(jobs, {0, 3}) == (_job(Kind.BUILD, "web"), _job(Kind.DEPLOY, "staging", 0))
    assert without(jobs, set()) == jobs


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-{text}").replace(tzinfo=UTC)


WEEKEND = {"cron": "0 18 * * 5", "lasts": "62h", "reason": "the weekend"}
NIGHTS = {"cron": "0 22 * * *", "lasts": "8h", "reason": "the night"}
MINUTES = {"cron": "* * * * *", "lasts": "365d", "reason": "for ever"}


@pytest.mark.parametrize(
    ("windows", "now", "until"),
    [
        ([WEEKEND], "27T17:59", None),
        ([WEEKEND], "27T18:00", "30T08:00"),  # a Friday
        ([WEEKEND], "30T07:59", "30T08:00"),
        ([WEEKEND], "30T08:00", None),
        ([NIGHTS], "27T03:00", "27T06:00"),
        ([NIGHTS, WEEKEND], "28T03:00", "30T08:00"),
        ([WEEKEND, NIGHTS], "30T07:00", "30T08:00"),
        ([], "28T03:00", None),
    ],
)
def test_a_freeze_window_lasts_from_its_time_on(
    windows: list[dict[str, str]], now: str, until: str | None
) -> None:
    found = frozen(windows, at(now))
    assert (found and found.until) == (at(until) if until else None)


def test_a_freeze_window_that_begins_each_minute_holds_and_is_found_at_once() -> None:
    found = frozen([MINUTES], at("28T03:00"))
    assert found is not None
    assert found.until == at("28T03:00") + timedelta(days=365)


def test_a_freeze_holds_and_says_until_when_and_that_a_rollback_may_go() -> None:
    facts = Facts(frozen=frozen([WEEKEND], at("28T03:00")))
    (one,) = closed({}, WISH, facts)
    assert str(one) == "freeze: the weekend until 2026-11-30 08:00 UTC; a rollback may go all the same"
