"""Whether a release that serves is well, and what is done if it is not: decisions only."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.decisions.deploying import earlier
from bot.fleet.stability import CALM, What, ailing, fate, judged, lost
from bot.reports.texts import place_state
from bot.store.tables import ContainerRow, Environment, Job, JobState, Release, ReleaseState, WorkerRow
from bot.sweeps.retention import forgotten
from bot.sweeps.sleepers import sleepy
from workers.contract.messages import Kind

AT = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
JUST_NOW = AT - timedelta(seconds=1)


def container(**columns: Any) -> ContainerRow:
    return ContainerRow(**{"worker": "one", "name": "c", "release_id": 1, "running": True, **columns})


def release(**columns: Any) -> Release:
    known: dict[str, Any] = {"id": 1, "environment_id": 1, "run_id": 1, "job_id": "1-2", "sha": "a" * 40}
    live = {"image": "shop@sha256:1", "state": ReleaseState.LIVE, "live_at": AT - timedelta(hours=1)}
    return Release(**{**known, **live, "worker": "one", **columns})


PROVING: dict[str, Any] = {"live_at": JUST_NOW, "steady_at": AT + timedelta(seconds=9)}
PROVEN: dict[str, Any] = {"steady_at": AT - timedelta(minutes=1)}


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({}, ""),
        ({"health": "healthy"}, ""),
        ({"health": "starting"}, ""),
        ({"health": "unhealthy"}, "its HEALTHCHECK says unhealthy"),
        ({"running": False, "exit_code": 3}, "it ended with exit code 3"),
        ({"running": False, "restarts": 2, "exit_code": 1}, "it restarted 2 times with exit code 1"),
        ({"restarts": 1}, "it restarted 1 time"),
        ({"restarts": 1, "out_of_memory": True}, "it ran out of memory: raise limits.memory"),
        ({"running": False, "health": "gone"}, "its container was removed by somebody"),
        ({"out_of_memory": True}, ""),  # of a process in it that was not the app
    ],
)
def test_what_a_container_suffers_is_said(columns: dict[str, Any], said: str) -> None:
    assert ailing([container(**columns)], None) == said


def test_of_several_containers_the_worst_is_said_and_how_many_suffer() -> None:
    said = ailing([container(), container(restarts=1), container(running=False, exit_code=1)], None)
    assert said == "2 of 3 containers: it ended with exit code 1"


def test_a_restart_is_forgotten_after_a_calm_while() -> None:
    since = AT - CALM
    assert ailing([container(restarts=4, restarted_at=since + timedelta(seconds=1))], since)
    assert not ailing([container(restarts=4, restarted_at=since - timedelta(seconds=1))], since)


CRASHED = [container(restarts=3, restarted_at=JUST_NOW)]


@pytest.mark.parametrize(
    ("columns", "containers", "gone", "deployed", "what"),
    [
        (PROVING, CRASHED, "", True, What.GIVE_UP),
        (PROVING, [container()], "", True, What.NOTHING),
        (PROVING, [], "", True, What.NOTHING),  # nothing was told yet
        (PROVING, CRASHED, "", False, What.NOTHING),  # its job ends in a moment
        ({**PROVING, "problem": "went live, then"}, CRASHED, "", True, What.NOTHING),  # given up already
        (PROVING, CRASHED, "worker one is silent", True, What.TELL),
        (PROVEN, CRASHED, "", True, What.TELL),
        ({**PROVEN, "problem": "it restarted 3 times"}, CRASHED, "", True, What.NOTHING),
        ({**PROVEN, "problem": "it restarted 3 times"}, [container()], "", True, What.TELL),
        (PROVEN, [container()], "", True, What.NOTHING),
        ({"steady_at": AT - timedelta(seconds=1)}, CRASHED, "", True, What.GIVE_UP),  # told a moment late
    ],
)
def test_only_in_its_stability_window_a_release_is_given_up(
    columns: dict[str, Any], containers: list[ContainerRow], gone: str, deployed: bool, what: What
) -> None:
    assert judged(release(**columns), containers, gone, AT, deployed=deployed).what is what


@pytest.mark.parametrize(
    ("settings", "pools", "local", "moves", "said"),
    [
        ({}, {"two": "default"}, False, True, "another worker starts it"),
        ({}, {"two": "big"}, False, False, "no other worker of pool default"),
        ({}, {"one": "default"}, False, False, "no other worker of pool default"),
        ({}, {"two": "default"}, True, False, "its image is only there"),
        ({"volumes": {"data": "/data"}}, {"two": "default"}, False, False, "its volumes are there"),
        ({"target": "swarm"}, {"two": "default"}, False, False, "the swarm looks after it"),
    ],
)
def test_a_release_whose_worker_is_gone_moves_if_all_that_it_needs_can(
    settings: dict[str, Any], pools: dict[str, str], local: bool, moves: bool, said: str
) -> None:
    then = fate(release(settings=settings), "default", pools, local)
    assert then.moves is moves
    row = WorkerRow(
        name="one", instance="i", pool="default", slots=1, address="", software="", seen_at=JUST_NOW
    )
    assert lost(row, then).startswith("worker one is silent since 2026-11-24 11:59 UTC: " + said)
    assert lost(None, then) == ""


def served(number: int, image: str, state: ReleaseState = ReleaseState.RETIRED, **columns: Any) -> Release:
    return release(id=number, image=image, state=state, sha=image * 40, **columns)


def test_a_rollback_goes_to_what_served_before_and_was_well() -> None:
    never = served(3, "d", ReleaseState.FAILED, live_at=None)
    releases = [
        served(6, "c", ReleaseState.LIVE),
        served(5, "c"),  # the same: it slept, or its worker was lost
        served(4, "b", ReleaseState.FAILED),  # went live, then crashed
        never,
        served(2, "b"),
        served(1, "a"),
    ]
    assert [one.id for one in earlier(releases)] == [2, 1]
    assert [one.id for one in earlier(releases, "1")] == [1]
    assert [one.id for one in earlier(releases, "ccc")] == [5]
    assert earlier(releases, "ddd") == []
    assert [one.id for one in earlier(releases[1:])] == [5, 2, 1], (
        "nothing serves: the last one is back first"
    )


def test_the_newest_releases_are_kept_and_none_that_still_serves_goes() -> None:
    keep = {"keep": 2}
    releases = [
        served(7, "g", settings=keep),
        served(6, "f", ReleaseState.FAILED, live_at=None),
        served(5, "e"),
        served(4, "d", ReleaseState.LIVE),
        served(3, "c", remove_after=AT + timedelta(seconds=5)),
        served(2, "b", remove_after=AT - timedelta(seconds=5)),
        served(1, "a", ReleaseState.FAILED, live_at=None),
    ]
    assert [one.id for one in forgotten(releases, AT)] == [2]
    assert forgotten([], AT) == []


@pytest.mark.parametrize(
    ("sleep", "asked", "asleep"),
    [
        ("30m", timedelta(minutes=31), True),
        ("30m", timedelta(minutes=29), False),
        (None, timedelta(days=9), False),
    ],
)
def test_a_preview_sleeps_when_nobody_asked_for_it(sleep: str | None, asked: timedelta, asleep: bool) -> None:
    assert sleepy(release(settings={"sleep": sleep}), AT - asked, AT) is asleep


def test_a_preview_that_is_new_is_not_idle() -> None:
    assert not sleepy(release(settings={"sleep": "30m"}, live_at=AT), AT - timedelta(days=1), AT)


@pytest.mark.parametrize(
    ("job", "place", "brought_out", "live", "said"),
    [
        ({}, {}, {}, {}, "✅ succeeded"),
        ({"state": JobState.FAILED}, {}, None, {}, "❌ failed"),
        ({}, {}, {"state": ReleaseState.FAILED}, {}, "↩️ rolled back"),
        ({}, {}, {"problem": "it ended"}, {"problem": "it ended"}, "⚠️ unwell"),
        ({}, {"asleep": True}, {}, None, "💤 asleep"),
        ({}, {"maintenance": "soon"}, {}, {}, "🚧 in maintenance"),
        ({}, {"stopped": True}, {}, None, "🗑 removed"),
    ],
)
def test_the_comment_says_how_an_environment_stands(
    job: dict[str, Any],
    place: dict[str, Any],
    brought_out: dict[str, Any] | None,
    live: dict[str, Any] | None,
    said: str,
) -> None:
    known: dict[str, Any] = {"id": "1-2", "run_id": 1, "repository_id": 7, "sha": "a" * 40}
    known |= {"kind": Kind.DEPLOY, "name": "x", "context": "", "pool": "default", "attempts": 1}
    done = Job(**{**known, "state": JobState.SUCCEEDED, **job})
    here = Environment(repository_id=7, name="x", **place)
    releases = [None if one is None else release(**one) for one in (brought_out, live)]
    assert place_state(done, here, *releases) == said
