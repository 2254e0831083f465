"""Schedules of tasks: each time begins one once, or is left out with a reason."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlmodel import col, select

from bot.store.database import Store
from bot.store.tables import Environment, Job, JobState, Release, ReleaseState, Repository, Run, TaskRow
from bot.sweeps import tasks
from bot.sweeps.tasks import Steps, steps
from config.settings import Settings
from tests.bot.conftest import REPOSITORY, Rows
from workers.contract.messages import Kind, now

AT = datetime(2026, 3, 1, 3, 0, 7, tzinfo=UTC)
DAY = timedelta(days=1)
NIGHTLY = {"command": ["./clean"], "cron": "0 3 * * *"}


def row(cron: str = "0 3 * * *", ago: timedelta = DAY, place: int = 1) -> TaskRow:
    return TaskRow(environment_id=place, name="nightly", cron=cron, ticked_at=AT - ago)


KEY, THREE = (1, "nightly"), AT.replace(second=0)


@pytest.mark.parametrize(
    ("scheduled", "rows", "resting", "expected"),
    [
        ({KEY: "0 3 * * *"}, [], set(), Steps(seen={KEY: "0 3 * * *"})),  # its first time is to come
        ({KEY: "0 3 * * *"}, [row()], set(), Steps(due={KEY: THREE})),
        ({KEY: "0 3 * * *"}, [row(ago=3 * DAY)], set(), Steps(due={KEY: THREE})),  # one for all
        ({KEY: "0 3 * * *"}, [row(ago=timedelta(seconds=7))], set(), Steps()),
        ({KEY: "0 2 * * *"}, [row()], set(), Steps(seen={KEY: "0 2 * * *"})),
        ({}, [row()], set(), Steps(gone=(KEY,))),
        ({}, [row()], {1}, Steps(due={KEY: THREE})),
    ],
)
def test_what_there_is_to_do(
    scheduled: dict[tuple[int, str], str], rows: list[TaskRow], resting: set[int], expected: Steps
) -> None:
    assert steps(scheduled, rows, resting, AT) == expected


class Place:
    """production, with a release that is live and names tasks."""

    def __init__(self, store: Store, rows: Rows) -> None:
        self.store, self.rows, self.settings = store, rows, Settings()
        self.release: Release

    async def live(self, **task: Any) -> None:
        job = await self.rows.job(
            await self.rows.run(), 1, Kind.DEPLOY, "production", state=JobState.SUCCEEDED, pool="gpu"
        )
        settings = {"tasks": {"nightly": {**NIGHTLY, **task}, "by-hand": {"command": ["./x"]}}}
        self.release = await self.rows.release(
            job, state=ReleaseState.LIVE, worker="one", live_at=now(), settings=settings
        )

    async def sweep(self) -> None:
        await tasks.sweep(self.store, self.settings)

    async def due(self) -> None:
        """Its last time was long ago."""
        async with self.store.transaction() as session:
            (await session.exec(select(TaskRow))).one().ticked_at = now() - 2 * DAY

    async def begun(self) -> Sequence[Job]:
        mine = select(Job).where(Job.kind == Kind.TASK).order_by(col(Job.created_at))
        async with self.store.reading() as session:
            return (await session.exec(mine)).all()

    async def row(self) -> TaskRow:
        async with self.store.reading() as session:
            return (await session.exec(select(TaskRow))).one()

    async def rest(self, **columns: Any) -> None:
        async with self.store.transaction() as session:
            (await session.get_one(Release, self.release.id)).state = ReleaseState.RETIRED
            place = await session.get_one(Environment, self.release.environment_id)
            for name, value in columns.items():
                setattr(place, name, value)


@pytest.fixture
async def place(store: Store, rows: Rows) -> Place:
    return Place(store, rows)


async def test_a_task_begins_at_its_time_and_once_where_its_release_lives(place: Place) -> None:
    await place.live()
    await place.sweep()
    assert await place.begun() == []
    await place.due()

    await place.sweep()
    await place.sweep()

    [job] = await place.begun()
    assert (job.name, job.environment, job.pool, job.context) == ("nightly", "production", "gpu", "")
    assert (job.spec["command"], job.sha) == (["./clean"], place.release.sha)
    async with place.store.reading() as session:
        run = await session.get_one(Run, job.run_id)
    assert (run.cause, run.ref, run.actor) == ("schedule", "environment/production", "")


async def test_of_two_bots_that_look_at_once_one_begins_it(place: Place) -> None:
    await place.live()
    await place.sweep()
    await place.due()

    await asyncio.gather(place.sweep(), place.sweep())

    assert len(await place.begun()) == 1


async def test_a_bot_that_is_killed_in_between_has_neither_begun_nor_noted_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    await place.live()
    await place.sweep()
    await place.due()

    async def killed(*_: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as broken:
        broken.setattr("bot.reports.rows.job_changed", killed)  # the last that is done for the job
        with pytest.raises(RuntimeError):
            await place.sweep()
    assert await place.begun() == []

    await place.sweep()
    assert len(await place.begun()) == 1


async def test_a_time_is_left_out_while_the_one_before_has_not_ended_and_it_is_said(place: Place) -> None:
    await place.live()
    await place.sweep()
    await place.due()
    await place.sweep()
    [first] = await place.begun()
    await place.due()

    await place.sweep()

    assert [job.id for job in await place.begun()] == [first.id]
    assert (await place.row()).skipped == f"nightly has not ended yet (job {first.id})"


async def test_of_one_that_queues_one_waits_at_most(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    await place.live(overlap="queue")
    await place.sweep()
    await place.due()
    await place.sweep()
    async with place.store.transaction() as session:
        (await session.exec(select(Job).where(Job.kind == Kind.TASK))).one().state = JobState.RUNNING

    for days in range(1, 4):
        monkeypatch.setattr(tasks, "now", lambda days=days: now() + days * DAY)
        await place.sweep()

    assert [job.state for job in await place.begun()] == [JobState.RUNNING, JobState.WAITING]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"asleep": True}, "production sleeps: wake it"),
        ({"stopped": True}, "production is stopped: deploy it first"),
    ],
)
async def test_a_time_at_which_nothing_is_live_is_left_out_and_not_made_up_for(
    place: Place, columns: dict[str, bool], said: str
) -> None:
    await place.live()
    await place.sweep()
    await place.due()
    await place.rest(**columns)

    await place.sweep()
    assert said in (await place.row()).skipped
    async with place.store.transaction() as session:
        (await session.get_one(Release, place.release.id)).state = ReleaseState.LIVE
    await place.sweep()

    assert await place.begun() == []


async def test_nothing_is_kept_of_a_task_that_no_release_names_or_of_a_preview_that_ended(
    place: Place,
) -> None:
    await place.live()
    await place.sweep()
    await place.rest(stopped=True, pull_number=7)

    await place.sweep()

    async with place.store.reading() as session:
        assert (await session.exec(select(TaskRow))).all() == []


async def test_a_repository_that_is_archived_begins_nothing(place: Place) -> None:
    await place.live()
    await place.sweep()
    await place.due()
    async with place.store.transaction() as session:
        (await session.get_one(Repository, REPOSITORY)).inactive = "archived"

    await place.sweep()

    assert await place.begun() == []
