"""What an environment's containers print and use, as programs and people ask for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from bot.cli import app
from bot.routing import visits
from bot.store.database import Store
from bot.store.outputs import Outputs, Said, Wanted
from bot.store.tables import JobState, Release, ReleaseState, UsageRow
from bot.web.pages.render import Pages
from bot.web.pages.runtime import Runtime
from config.settings import Settings
from tests.bot.conftest import Rows
from tests.bot.intake.test_receiver import TOKEN
from tests.bot.web.pages.conftest import Scene, scene_of
from workers.contract.messages import Kind, now

KNOWN = {"authorization": f"Bearer {TOKEN}"}
SECOND = 1_000_000_000


@pytest.fixture
def outputs(tmp_path: Path) -> Outputs:
    return Outputs.of(Settings(data_dir=tmp_path))


@pytest.fixture
async def scene(store: Store, tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene_of(store, tmp_path, Settings(data_dir=tmp_path)) as here:
        here.http.headers |= KNOWN
        yield here


@pytest.fixture
async def release(rows: Rows) -> Release:
    run = await rows.run()
    job = await rows.job(run, 2, Kind.DEPLOY, "production", state=JobState.SUCCEEDED)
    return await rows.release(job, state=ReleaseState.LIVE, live_at=now(), attempt=1, worker="one")


def ago(seconds: float) -> int:
    return int((now().timestamp() - seconds) * SECOND)


def said(at: int, text: str, **more: Any) -> Said:
    known = {"process": "web", "name": "shop", "container": "c" * 64, "release": 1}
    return Said(at=at, text=text, **{**known, **more})


@pytest.fixture
async def printed(outputs: Outputs, release: Release) -> int:
    """An environment whose old and new release printed something, over a deploy."""
    lines = [
        said(ago(3600), "long ago"),
        said(ago(60), "GET /old"),
        said(ago(30), "Listening", release=2, container="d" * 64),
        said(ago(20), "tick <b>", process="clock", release=2, container="e" * 64),
        said(ago(10), "GET /old"),
    ]
    await outputs.append(release.environment_id, lines)
    return release.environment_id


async def asked(scene: Scene, place: int, query: str = "") -> list[dict[str, Any]]:
    answer = await scene.http.get(f"/api/v1/environments/{place}/logs{query}")
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["long ago", "GET /old", "Listening", "tick <b>", "GET /old"]),
        ("?tail=2", ["tick <b>", "GET /old"]),
        ("?process=clock", ["tick <b>"]),
        ("?since=5m", ["GET /old", "Listening", "tick <b>", "GET /old"]),
        ("?since=45s&search=get", ["GET /old"]),
        ("?search=nothing", []),
    ],
)
async def test_old_and_new_release_are_in_one_stream_and_lines_can_be_chosen(
    scene: Scene, printed: int, query: str, found: list[str]
) -> None:
    lines = await asked(scene, printed, query)
    assert [line["text"] for line in lines] == found


async def test_a_line_says_whose_it_is_and_where_to_go_on(scene: Scene, printed: int) -> None:
    lines = await asked(scene, printed)
    assert [(line["process"], line["release"]) for line in lines[1:4]] == [
        ("web", 1),
        ("web", 2),
        ("clock", 2),
    ]
    assert lines[0]["container"] == "c" * 12
    assert await asked(scene, printed, f"?from={lines[2]['place']}") == lines[3:]
    since = f"?since={lines[3]['at']}".replace("+", "%2B")
    assert [line["text"] for line in await asked(scene, printed, since)][-1] == "GET /old"


@pytest.mark.parametrize(
    ("query", "status"),
    [("?since=yesterday", 422), ("?since=99999999d", 422), ("?from=x", 422), ("?tail=x", 400)],
)
async def test_what_is_no_question_is_said_to_be_none(
    scene: Scene, printed: int, query: str, status: int
) -> None:
    answer = await scene.http.get(f"/api/v1/environments/{printed}/logs{query}")
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize("since", ["0001-01-01T00:00:00%2B23:00", "9999-12-31T23:00:00-23:00"])
async def test_a_time_that_no_clock_has_is_a_question_too(scene: Scene, printed: int, since: str) -> None:
    for path in ("logs", "usage"):
        answer = await scene.http.get(f"/api/v1/environments/{printed}/{path}?since={since}")
        assert answer.status_code == 200, answer.text


async def test_nobody_reads_it_without_the_token_and_there_is_nothing_of_no_environment(
    scene: Scene, printed: int
) -> None:
    assert (await scene.http.get("/api/v1/environments/99/logs")).status_code == 404
    del scene.http.headers["authorization"]
    for path in ("logs", "usage"):
        assert (await scene.http.get(f"/api/v1/environments/{printed}/{path}")).status_code == 401
    for path in ("output", "output/follow"):
        assert (await scene.http.get(f"/environments/{printed}/{path}")).status_code == 401


async def test_whoever_reads_slowly_is_not_told_what_is_printed_meanwhile(
    scene: Scene, printed: int, outputs: Outputs
) -> None:
    runtime = Runtime(cast(Pages, None), scene.store, outputs, scene.live)
    lines = runtime._from(printed, 0, Wanted())
    await anext(lines)
    await outputs.append(printed, [said(ago(1), "new")])
    assert len([line async for line in lines]) == 4


async def test_events_go_on_after_the_last_one_that_somebody_has(
    scene: Scene, printed: int, outputs: Outputs
) -> None:
    lines = await asked(scene, printed)
    headers = {"accept": "text/event-stream", "last-event-id": str(lines[3]["place"])}
    async with scene.http.stream("GET", f"/api/v1/environments/{printed}/logs", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = _events(answer.aiter_lines())
        assert await anext(events) == (str(lines[4]["place"]), lines[4])
        # By another bot, or this one: it comes.
        await outputs.append(printed, [said(ago(1), "new")])
        async with asyncio.timeout(60):
            assert (await anext(events))[1]["text"] == "new"


async def test_who_has_nothing_is_given_the_last_lines_first(scene: Scene, printed: int) -> None:
    path = f"/api/v1/environments/{printed}/logs?follow&tail=2&process=web"
    async with scene.http.stream("GET", path) as answer:
        events = _events(answer.aiter_lines())
        found = [(await anext(events))[1] for _ in range(2)]
    assert [(line["text"], line["release"]) for line in found] == [("Listening", 2), ("GET /old", 1)]


async def _events(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    id_ = ""
    async for line in lines:
        if line.startswith("id: "):
            id_ = line.removeprefix("id: ")
        if line.startswith("data: "):
            yield id_, json.loads(line.removeprefix("data: "))


async def test_the_page_shows_the_last_lines_and_finds_others_without_a_script(
    scene: Scene, printed: int
) -> None:
    await scene.sign_in()
    page = (await scene.get(f"/environments/{printed}")).text
    assert "tick &lt;b&gt;" in page
    assert "tick <b>" not in page
    whole = (await scene.get(f"/environments/{printed}/output?search=listening")).text
    assert "Listening" in whole
    assert "GET /old" not in whole
    assert "search=listening" in whole, "who follows follows what was searched"


async def test_what_is_used_is_told_as_numbers_and_drawn(
    scene: Scene, release: Release, store: Store
) -> None:
    async with store.transaction() as session:
        for minutes in (90, 2, 1):
            session.add(
                UsageRow(
                    environment_id=release.environment_id, container="shop", process="web", release_id=1,
                    span=60, at=now() - timedelta(minutes=minutes), seconds=60, cpu=30, memory=50 * 2**20,
                    memory_limit=512 * 2**20, received=6000, sent=600, restarts=1,
                )
            )  # fmt: skip
    told = (await scene.http.get(f"/api/v1/environments/{release.environment_id}/usage")).json()
    (one,) = told["containers"]
    assert (one["name"], one["process"], one["release"], len(one["samples"])) == ("shop", "web", 1, 2)
    assert one["samples"][0]["cpu"] == 0.5
    assert one["samples"][0]["received"] == 100
    longer = (await scene.http.get(f"/api/v1/environments/{release.environment_id}/usage?since=2h")).json()
    assert len(longer["containers"][0]["samples"]) == 3

    await scene.sign_in()
    page = (await scene.get(f"/environments/{release.environment_id}")).text
    assert "<polyline points=" in page
    assert "0.50" in page


async def test_visits_are_told_by_the_hour_and_drawn(scene: Scene, release: Release, store: Store) -> None:
    where, at = f"/environments/{release.environment_id}", now()
    await scene.sign_in()
    assert "Nobody asked for it in the last day" in (await scene.get(where)).text

    await visits.add(store, {release.environment_id: 1200}, at)
    await visits.add(store, {release.environment_id: 5}, at - timedelta(days=2))

    assert "1,200 in a day" in (await scene.get(where)).text
    told = (await scene.http.get(f"/api/v1{where}/visits")).json()
    assert told == {"hours": [{"at": f"{visits.begin(at):%Y-%m-%dT%H}:00:00Z", "requests": 1200}]}
    longer = (await scene.http.get(f"/api/v1{where}/visits?since=3d")).json()
    assert [hour["requests"] for hour in longer["hours"]] == [5, 1200]
    assert (await scene.http.get(f"/api/v1{where}/visits?since=x")).status_code == 422


@pytest.mark.usefixtures("printed")
async def test_the_command_line_prints_lines_and_says_what_is_wrong(scene: Scene, tmp_path: Path) -> None:
    def called(*arguments: str) -> tuple[int, str]:
        environ = {"BLACKTREE_API_TOKEN": TOKEN, "BLACKTREE_DATA_DIR": str(tmp_path)}
        ended = CliRunner().invoke(app, ["logs", *arguments, "--url", scene.url], env=environ)
        return ended.exit_code, ended.output + (f"{ended.exception}" if ended.exception else "")

    code, told = await asyncio.to_thread(called, "acme/shop", "production", "--process", "clock")
    assert code == 0, told
    assert told.endswith("Z clock 2 | tick <b>\n")
    code, told = await asyncio.to_thread(called, "Acme/Shop", "production", "--since", "5m")
    assert told.count("\n") == 4
    code, told = await asyncio.to_thread(called, "acme/shop", "nowhere")
    assert (code, "acme/shop has no environment nowhere" in told) == (1, True)
    code, told = await asyncio.to_thread(called, "acme/shop", "production", "--since", "10x")
    assert (code, "the bot answers 422: since must be a time" in told) == (1, True)
