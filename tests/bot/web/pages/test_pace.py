"""How fast and how safely a repository gets live, as figures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from bot.store.tables import Environment, JobState
from bot.web.pages.pace import HEIGHT, WEEKS, Built, Deployed, charts, recoveries
from tests.bot.conftest import REPOSITORY, Rows
from tests.bot.web.pages.conftest import Scene
from workers.contract.messages import Kind, now

AT = datetime(2026, 11, 28, 12, tzinfo=UTC)
WELL, FAILED = JobState.SUCCEEDED, JobState.FAILED


def ago(**since: float) -> datetime:
    return AT - timedelta(**since)


def built(hours: float, seconds: float, **known: Any) -> Built:
    ended = ago(hours=hours)
    return Built("1-1", "web", True, ended - timedelta(seconds=seconds), ended, **known)


def test_each_figure_says_what_its_bars_come_to() -> None:
    builds = [
        built(3, 40, size=90_000_000),
        built(2, 20, size=80_000_000),
        built(1, 1, reused=True, size=80_000_000),
    ]
    deploys = [
        Deployed("production", WELL, ago(days=9), ago(days=9), ago(days=9, seconds=60)),
        Deployed("production", FAILED, ago(days=2, hours=2)),
        Deployed("production", JobState.CANCELLED, ago(days=2)),
        Deployed("production", WELL, ago(days=2), ago(days=2), ago(days=2, seconds=120)),
    ]
    found = {one.title: one for one in charts(builds, deploys, AT)}

    assert {title: one.says for title, one in found.items()} == {
        "Build time": "30 s in the middle",
        "Image size": "80.0 MB now",
        "Deploys": "0.2 a week",
        "Failure rate": "33% of 3 deploys",
        "Lead time": "1 min 30 s from push to live, in the middle",
        "Time to recovery": "2 h in the middle",
    }
    weeks = found["Deploys"].bars
    assert [bar.told for bar in weeks] == ["none"] * (WEEKS - 2) + ["1", "1"]
    assert weeks[-1].height == HEIGHT
    assert found["Failure rate"].bars[-1].told == "50%"
    assert [bar.told for bar in found["Build time"].bars] == ["40 s", "20 s"]  # what was reused was not built


def test_where_nothing_happened_nothing_is_drawn() -> None:
    assert [(one.says, list(one.bars)) for one in charts([], [], AT)] == [("nothing yet", [])] * 6


def test_an_environment_is_down_from_the_first_failure_to_the_next_success() -> None:
    deploys = [
        Deployed("production", FAILED, ago(hours=5)),
        Deployed("staging", WELL, ago(hours=4)),
        Deployed("production", FAILED, ago(hours=3)),
        Deployed("production", WELL, ago(hours=1)),
        Deployed("production", WELL, ago(minutes=1)),
        Deployed("staging", FAILED, ago(seconds=1)),
    ]
    assert recoveries(deploys) == [(ago(hours=1), 4 * 3600)]


async def test_the_page_of_a_repository_shows_them_as_pictures_and_tables(scene: Scene) -> None:
    rows = Rows(scene.store)
    await scene.sign_in()
    at = now()
    run = await rows.run(created_at=at - timedelta(minutes=10))
    begun, ended = at - timedelta(minutes=9), at - timedelta(minutes=8)
    await rows.job(run, 1, state=WELL, started_at=begun, ended_at=ended)
    for place, name in ((2, "production"), (3, "pr-7")):
        await rows.job(
            run,
            place,
            Kind.DEPLOY,
            name,
            state=WELL,
            started_at=at - timedelta(minutes=7),
            ended_at=at - timedelta(minutes=5),
        )
    async with scene.store.transaction() as session:
        session.add(Environment(repository_id=REPOSITORY, name="production"))
        session.add(Environment(repository_id=REPOSITORY, name="pr-7", pull_number=7))
    page = (await scene.get("/repositories/acme/shop")).text

    assert "1 min in the middle" in page
    assert "5 min from push to live, in the middle" in page
    assert "0% of 1 deploys" in page  # previews do not count
    assert '<table class="list"><thead><tr><th scope="col">Week from</th><th scope="col">Deploys</th>' in page
