"""What people read on GitHub, within GitHub's limits, and never with more power than its author had."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from markdown_it import MarkdownIt

from bot.decisions.commands.grammar import parse
from bot.reports import texts
from bot.reports.texts import CommandView, CommentView, ImageView, PlaceView, RunView
from bot.store.tables import Job, JobState
from workers.contract.messages import Fault, Kind


def job(state: JobState, kind: Kind = Kind.BUILD, **columns: Any) -> Job:
    known = {"id": "1-1", "run_id": 1, "repository_id": 7, "sha": "a" * 40, "name": "app", "pool": "default"}
    return Job(**{**known, "kind": kind, "state": state, "context": "c", "attempts": 3, **columns})


@pytest.mark.parametrize(
    ("row", "state", "description"),
    [
        (job(JobState.WAITING), "pending", "Queued"),
        (job(JobState.QUEUED), "pending", "Queued"),
        (job(JobState.QUEUED, attempt=1, sentence="gone"), "pending", "Trying again: gone"),
        (job(JobState.RUNNING, worker="one", attempt=1), "pending", "Building on one"),
        (job(JobState.RUNNING, worker="one", attempt=2), "pending", "Building on one (attempt 2)"),
        (job(JobState.RUNNING, Kind.DEPLOY, worker="one", attempt=1), "pending", "Deploying on one"),
        (job(JobState.RUNNING, Kind.STOP, worker="one", attempt=1), "pending", "Stopping on one"),
        (job(JobState.SUCCEEDED, sentence="Built in 2.0 s, 4.2 MB"), "success", "Built in 2.0 s, 4.2 MB"),
        (job(JobState.FAILED, fault=Fault.USER, failed_step="build", sentence="x"), "failure", "build: x"),
        (job(JobState.FAILED, fault=Fault.USER, sentence="x"), "failure", "x"),
        (job(JobState.FAILED, fault=Fault.OURS, sentence="x"), "error", "x"),
        (job(JobState.FAILED, fault=Fault.FINAL, sentence="x"), "error", "x"),
        (job(JobState.CANCELLED, reason="needs_failed", sentence="Not run"), "failure", "Not run"),
        (job(JobState.CANCELLED, reason="superseded", sentence="Superseded"), "error", "Superseded"),
    ],
    ids=lambda value: str(getattr(value, "state", value)),
)
def test_each_state_has_its_status(row: Job, state: str, description: str) -> None:
    assert texts.status(row) == {"state": state, "context": "c", "description": description}


def test_every_state_that_is_not_final_is_pending_and_no_final_one_is() -> None:
    for state in JobState:
        assert (texts.status(job(state))["state"] == "pending") is not state.final


@pytest.mark.parametrize(
    ("row", "state"),
    [
        (job(JobState.WAITING), None),
        (job(JobState.QUEUED), None),
        (job(JobState.QUEUED, attempt=1), "queued"),
        (job(JobState.RUNNING), "in_progress"),
        (job(JobState.SUCCEEDED), "success"),
        (job(JobState.FAILED, fault=Fault.USER), "failure"),
        (job(JobState.FAILED, fault=Fault.OURS), "error"),
        (job(JobState.CANCELLED), None),
        (job(JobState.CANCELLED, attempt=1), "inactive"),
    ],
    ids=lambda value: str(getattr(value, "state", value)),
)
def test_each_state_has_its_deployment_status(row: Job, state: str | None) -> None:
    assert texts.deployment_state(row) == state


@pytest.mark.parametrize("length", [0, 1, 139, 140, 141, 100_000])
def test_a_description_fits_githubs_140_characters(length: int) -> None:
    description = texts.status(job(JobState.SUCCEEDED, sentence="é" * length))["description"]

    assert len(description) == min(length, 140)
    assert description.endswith("…") is (length > 140)


def test_a_description_is_one_line() -> None:
    assert texts.shortened("  a\n\tb\r\n c ", 140) == "a b c"


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0.0 s"), (8.44, "8.4 s"), (60, "1 min 0 s"), (125.9, "2 min 5 s"), (7200, "120 min 0 s")],
)
def test_durations_are_for_people(seconds: float, told: str) -> None:
    assert texts.duration(seconds) == told


def html(text: str) -> str:
    return str(MarkdownIt("commonmark").enable(["table", "strikethrough"]).renderInline(text))


@pytest.mark.parametrize(
    ("written", "never"),
    [
        ("ask @ada and @acme/team", ["@a"]),
        ("closes #12, acme/shop#3", ["#1", "#3"]),
        ("a | b", None),
        ("`code` and ```fence", ["<code>"]),
        ("**bold** _it_ ~~no~~", ["<strong>", "<em>", "<s>"]),
        ("[x](https://example.com) ![y](z)", ["<a", "<img"]),
        ("<script>alert(1)</script> <!-- x", ["<script", "<!--"]),
        ("<https://example.com>", ["<a"]),
        ("$x$ \\@ada", ["@a"]),
        ("line\n\n# heading\n- item", ["\n"]),
    ],
)
def test_what_people_wrote_has_no_power(written: str, never: list[str] | None) -> None:
    quoted = texts.quoted(written)

    assert "\n" not in quoted
    assert "|" not in quoted.replace("\\|", "")
    for one in never or []:
        assert one not in html(quoted)


@pytest.mark.parametrize("written", ["&commat;ada", "&num;12"])
def test_an_entity_is_no_way_around_the_quoting(written: str) -> None:
    assert "&amp;" in html(texts.quoted(written))


@pytest.mark.parametrize("written", ["GH-12", "https://github.com/acme/shop/issues/12"])
def test_no_other_way_to_write_a_reference_is_left(written: str) -> None:
    assert written not in html(texts.quoted(written))


def view(problem: str = "", count: int = 1) -> CommentView:
    image = ImageView("app", "✅ succeeded", 8.4, 4_200_000, None, "http://bot/jobs/1-1", problem)
    place = PlaceView("pr-42", "✅ succeeded", "http://shop.test", "b" * 40, "http://bot/jobs/1-2", "")
    return CommentView("a" * 40, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), [image] * count, [place])


def test_the_comment_shows_state_commit_url_build_time_and_size() -> None:
    text = texts.comment(view())

    assert text.startswith(texts.MARKER)
    for shown in ("aaaaaaa", "bbbbbbb", "http://shop.test", "8.4 s", "4.2 MB", "2026-01-02 03:04:05 UTC"):
        assert shown in text


def test_a_problem_is_shown_quoted_and_short() -> None:
    text = texts.comment(view("@ada broke | it " + "x" * 5000))

    assert "@ada" not in text
    assert "\\| it" in text
    assert len(text) < 3000


def test_the_end_of_a_failures_log_is_fenced_and_bounded() -> None:
    log = "\n".join(f"line {number}" for number in range(100)) + "\n```\n/deploy production\n" + "x" * 9999
    image = replace(view("it broke").images[0], log=texts.tail(log))

    text = texts.comment(replace(view(), images=[image]))

    assert "line 99" in text
    assert "line 72" not in text
    assert "````text" in text, "three backticks of the log don't end the block"
    assert parse(text) == []
    assert len(text) < 5000


def test_commands_are_told_the_newest_first_with_every_line_of_their_answer() -> None:
    told = CommandView("/deploy `production`", "ada", "⛔", ("held by @eve", "held by <!-- x -->"))

    text = texts.comment(replace(view(), commands=(told,)))

    assert "- ⛔ `/deploy 'production'` by ada: held by" in text
    assert "@eve" not in text
    assert "<!-- x" not in text


def test_what_a_head_waits_for_stands_on_top() -> None:
    waiting = ("A fork: look at it first", f"/approve {'a' * 40}")

    text = texts.comment(replace(view(), images=[], places=[], waiting=waiting))

    assert f"```text\n/approve {'a' * 40}\n```" in text
    assert "| Environment" not in text


def test_a_size_is_compared_with_the_base_branchs() -> None:
    image = replace(view().images[0], delta=-1_500_000)

    assert "| 4.2 MB | -1.5 MB |" in texts.comment(replace(view(), images=[image]))


def test_what_is_least_needed_goes_first_from_a_comment_that_is_too_long() -> None:
    image = replace(view("it broke").images[0], log=texts.tail("`" * 300 + "\n" + "y" * 9000))
    command = CommandView("/status", "ada", "✅", ("x" * 600,) * 90)
    run = RunView(1, "push", "c" * 40, "2 succeeded")
    full = replace(view(), images=[image] * 3, commands=(command,) * 8, history=(run,) * 5)

    text = texts.comment(full)

    assert len(text) <= texts.MOST_COMMENT
    assert text.startswith(texts.MARKER)
    assert text.endswith("</sub>\n") or text.endswith("</sub>")


def test_a_comment_stays_below_githubs_limit() -> None:
    assert len(texts.comment(view("x" * 1000, count=500))) <= texts.MOST_COMMENT == 60_000
