"""What is told of what happens: each thing once, and that it is well again once."""

from __future__ import annotations

from typing import Any

import pytest

from bot.outbox.troubles import Turn, turns, weighed
from bot.reports.happenings import TURN
from workers.contract.messages import Kind


def job(kind: Kind, state: str, environment: str = "production", **more: Any) -> dict[str, Any]:
    known = {"id": "3-2", "kind": kind.value, "state": state, "environment": environment, "name": environment}
    return {**known, "reason": "", "failed_step": None, "sentence": "it broke", **more}


def events(happenings: list[dict[str, Any]], standing: set[str] | None = None) -> list[str]:
    """What is told of these, in their order."""
    turned = [turn for one in happenings for turn in turns(TURN if "problem" in one else "job", one)]
    told, _ = weighed(turned, standing or set())
    return [f"{news.event} {news.turn.thing}" for news in told]


FAILS, WELL = job(Kind.DEPLOY, "failed"), job(Kind.DEPLOY, "succeeded")
CRASH = {"kind": "crash", "environment": "production", "problem": "it ended", "name": "", "link": ""}
WAITS = {"kind": "approval", "environment": "production", "problem": "nobody", "name": "abc", "link": ""}

TOLD: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
    "a deploy that fails": ([FAILS], ["deploy.failed deploy:production:"]),
    "one that fails again": ([FAILS, FAILS, FAILS], ["deploy.failed deploy:production:"]),
    "one that was never wrong": ([WELL], []),
    "one that recovers, and fails anew": (
        [FAILS, WELL, FAILS],
        [f"deploy.{how} deploy:production:" for how in ("failed", "recovered", "failed")],
    ),
    "one whose build failed": (
        [job(Kind.DEPLOY, "cancelled", reason="needs_failed")],
        ["deploy.failed deploy:production:"],
    ),
    "one that a newer commit ended": ([job(Kind.DEPLOY, "cancelled", reason="superseded")], []),
    "a build": ([job(Kind.BUILD, "failed")], []),
    "a job that still runs": ([job(Kind.DEPLOY, "running")], []),
    "other environments": (
        [FAILS, job(Kind.DEPLOY, "failed", "staging")],
        ["deploy.failed deploy:production:", "deploy.failed deploy:staging:"],
    ),
    "tasks, each by its name": (
        [job(Kind.TASK, "failed", name="nightly"), job(Kind.TASK, "failed", name="hourly")],
        ["task.failed task:production:nightly", "task.failed task:production:hourly"],
    ),
    "a backup": ([job(Kind.BACKUP, "failed", name="db")], ["backup.failed backup:production:db"]),
    "a crash, which a deploy ends": (
        [CRASH, WELL],
        ["crash crash:production:", "crash.recovered crash:production:"],
    ),
    "what is stopped suffers nothing, and nobody is told": (
        [CRASH, FAILS, job(Kind.STOP, "succeeded"), WELL],
        ["crash crash:production:", "deploy.failed deploy:production:"],
    ),
    "a commit that waits for an approval, for two environments": (
        [WAITS, {**WAITS, "environment": "staging"}],
        ["approval.waiting approval::abc"],
    ),
    "an approval that is given is no news": (
        [WAITS, {**WAITS, "environment": "", "problem": ""}],
        ["approval.waiting approval::abc"],
    ),
}


@pytest.mark.parametrize("name", TOLD)
def test_a_thing_is_told_when_it_turns_and_not_before(name: str) -> None:
    happened, told = TOLD[name]
    assert events(happened) == told


def test_what_stands_wrong_already_is_not_told_again_and_recovers_once() -> None:
    assert events([FAILS, WELL, WELL], {"deploy:production:"}) == ["deploy.recovered deploy:production:"]


def test_a_turn_says_why_and_where_more_is() -> None:
    [turn] = turns("job", job(Kind.DEPLOY, "failed", failed_step="check"))
    assert turn == Turn("deploy", "production", "", "check: it broke", "/jobs/3-2")
