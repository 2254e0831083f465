"""Tasks as jobs: what they run beside, what hinders one, and which are never begun twice."""

from __future__ import annotations

from typing import Any

import pytest

from bot.jobs import ending, lifecycle, tasks
from bot.store.database import Store
from bot.store.tables import Job, JobState, StepRow
from config.tasks import Task
from tests.bot.conftest import NEW, Rows
from tests.bot.jobs.test_dispatch import World
from workers.contract.messages import Failed, Fault, Finished, Kind, Step, Succeeded, now

RUNNING, QUEUED, WAITING = JobState.RUNNING, JobState.QUEUED, JobState.WAITING


async def task(rows: Rows, name: str = "nightly", **more: Any) -> Job:
    run = await rows.run(ref="environment/production", cause="schedule")
    known = {"context": "", "environment": "production"}
    return await rows.job(run, 1, Kind.TASK, name, **{**known, **more})


async def deploy(rows: Rows, **more: Any) -> Job:
    return await rows.job(await rows.run(sha=NEW), 1, Kind.DEPLOY, "production", **more)


@pytest.mark.parametrize(
    ("overlap", "states", "hindered"),
    [
        ("skip", [], False),
        ("skip", [RUNNING], True),
        ("skip", [WAITING], True),
        ("queue", [], False),
        ("queue", [RUNNING], False),
        ("queue", [RUNNING, WAITING], True),
        ("queue", [QUEUED], True),
    ],
)
def test_a_task_is_hindered_by_itself_and_one_that_queues_by_who_waits_already(
    overlap: str, states: list[JobState], hindered: bool
) -> None:
    meant = Task.model_validate({"command": ["x"], "overlap": overlap})
    known: dict[str, Any] = {"run_id": 1, "repository_id": 1, "sha": "", "kind": Kind.TASK, "name": "nightly"}
    before = [
        Job(**known, id=f"1-{n}", context="", pool="p", attempts=1, state=state)
        for n, state in enumerate(states)
    ]

    assert bool(tasks.hindered(meant, "nightly", before)) is hindered


async def test_a_deploy_waits_for_no_task_and_a_task_for_the_deploy(store: Store, rows: Rows) -> None:
    world = World(store, rows)
    nightly = await task(rows, state=RUNNING)
    first = await deploy(rows)
    hourly = await task(rows, "hourly")

    await world.dispatch()

    assert (await rows.again(first)).state is QUEUED
    assert (await rows.again(hourly)).state is WAITING
    assert (await rows.again(nightly)).state is RUNNING


async def test_tasks_run_beside_each_other_but_none_beside_itself(store: Store, rows: Rows) -> None:
    world = World(store, rows)
    await task(rows, state=RUNNING)
    again, other = await task(rows), await task(rows, "hourly")

    await world.dispatch()

    assert (await rows.again(again)).state is WAITING
    assert (await rows.again(other)).state is QUEUED


async def test_a_stop_waits_for_what_runs(store: Store, rows: Rows) -> None:
    world = World(store, rows)
    await task(rows, state=RUNNING, cancelling="it is being stopped")
    stop = await rows.job(await rows.run(), 1, Kind.STOP, "production")

    await world.dispatch()

    assert (await rows.again(stop)).state is WAITING


async def test_a_task_neither_supersedes_a_deploy_nor_is_it_superseded(store: Store, rows: Rows) -> None:
    world = World(store, rows)
    running, waiting = await deploy(rows, state=RUNNING), await deploy(rows)
    nightly = await task(rows)
    await world.dispatch()
    newer = await rows.run(sha=NEW, ref="environment/production")
    async with store.transaction() as session:
        await lifecycle.supersede(session, newer, [])

    states = [(await rows.again(job)).state for job in (running, waiting, nightly)]
    assert states == [RUNNING, WAITING, WAITING]


async def test_a_task_does_not_count_as_what_brings_a_release_back(store: Store, rows: Rows) -> None:
    world = World(store, rows)
    first, second = (
        await task(rows),
        await rows.job(await rows.run(cause="command /rollback"), 1, Kind.DEPLOY, "a"),
    )

    await world.dispatch()

    assert (await rows.again(first)).rank > (await rows.again(second)).rank


@pytest.mark.parametrize(
    ("spec", "began", "reason", "again"),
    [
        ({}, True, "engine_gone", False),
        ({}, False, "pull_failed", True),
        ({}, False, ending.LOST, False),  # it may have begun all the same
        ({"retry": True}, True, "engine_gone", True),
        ({"retry": True}, False, ending.LOST, True),
    ],
)
async def test_what_may_have_begun_is_begun_again_only_where_it_may(
    store: Store, rows: Rows, spec: dict[str, bool], began: bool, reason: str, again: bool
) -> None:
    job = await task(rows, state=RUNNING, attempt=1, worker="one", spec=spec)
    if began:
        async with store.transaction() as session:
            session.add(StepRow(job_id=job.id, attempt=1, name=Step.TASK, started_at=now()))

    if reason == ending.LOST:
        await ending.lost(store, job, "worker one has gone")
    else:
        async with store.transaction() as session:
            row = await session.merge(job)
            await ending.failed(session, row, Failed(fault=Fault.OURS, reason=reason, sentence="it went."))

    ended = await rows.again(job)
    assert ended.state is (QUEUED if again else JobState.FAILED)
    assert ended.reason == reason
    assert (". It may have begun, so it is not begun again" in ended.sentence) is not again


@pytest.mark.parametrize(
    ("result", "state", "code", "said"),
    [
        (Succeeded(), JobState.SUCCEEDED, 0, "Ended with 0 after"),
        (
            Failed(fault=Fault.USER, reason="task_failed", sentence="nightly ended with 3", exit_code=3),
            JobState.FAILED,
            3,
            "nightly ended with 3",
        ),
    ],
)
async def test_a_tasks_exit_code_is_kept(
    store: Store, rows: Rows, result: Succeeded | Failed, state: JobState, code: int, said: str
) -> None:
    job = await task(rows, state=RUNNING, attempt=1, worker="one", started_at=now())

    async with store.transaction() as session:
        row = await session.merge(job)
        await ending.finished(
            session, row, Finished(job=job.id, attempt=1, at=now(), result=result, steps=[])
        )

    ended = await rows.again(job)
    assert (ended.state, ended.exit_code) == (state, code)
    assert ended.sentence.startswith(said)
    assert await rows.reports() == []  # it says nothing of a commit
