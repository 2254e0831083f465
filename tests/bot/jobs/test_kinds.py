"""What jobs of each kind wait for in their environment, and which of them end deploys."""

from __future__ import annotations

from typing import Any

import pytest

from bot.jobs import lifecycle
from bot.store.database import Store
from bot.store.tables import Job, JobState
from tests.bot.conftest import NEW, Rows
from tests.bot.jobs.test_dispatch import World
from workers.contract.messages import Kind

IN_PLACES = [kind for kind in Kind if kind is not Kind.BUILD]
SERIAL = {Kind.DEPLOY, Kind.STOP, Kind.RESTORE, Kind.UPDATE}
# For each kind those that it does not begin beside; of another name, and of its own.
WAITS = {
    Kind.DEPLOY: (SERIAL, SERIAL),
    Kind.STOP: (SERIAL | {Kind.TASK}, SERIAL | {Kind.TASK}),
    Kind.RESTORE: (SERIAL | {Kind.TASK}, SERIAL | {Kind.TASK}),
    Kind.TASK: (SERIAL, SERIAL | {Kind.TASK}),
    Kind.UPDATE: (SERIAL | {Kind.TASK, Kind.BACKUP}, SERIAL | {Kind.TASK, Kind.BACKUP}),
    Kind.BACKUP: ({Kind.BACKUP, Kind.UPDATE}, {Kind.BACKUP, Kind.UPDATE}),
}


async def job(rows: Rows, kind: Kind, name: str = "production", **more: Any) -> Job:
    known = {"context": "", "environment": "production"}
    return await rows.job(await rows.run(sha=NEW), 1, kind, name, **{**known, **more})


@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize("busy", IN_PLACES)
@pytest.mark.parametrize("kind", IN_PLACES)
async def test_a_job_waits_for_what_its_kind_waits_for_in_its_environment(
    store: Store, rows: Rows, kind: Kind, busy: Kind, same: bool
) -> None:
    world = World(store, rows)
    await job(rows, busy, state=JobState.RUNNING)
    next_one = await job(rows, kind, "production" if same else "other")

    await world.dispatch()

    waits = busy in WAITS[kind][same]
    assert ((await rows.again(next_one)).state is JobState.WAITING) is waits


@pytest.mark.parametrize("kind", IN_PLACES)
async def test_only_a_deploy_or_a_stop_that_is_ready_ends_an_older_deploy(
    store: Store, rows: Rows, kind: Kind
) -> None:
    world = World(store, rows)
    await job(rows, Kind.DEPLOY, state=JobState.RUNNING)
    older, _ = await job(rows, Kind.DEPLOY), await job(rows, kind)

    await world.dispatch()

    ended = (await rows.again(older)).state is JobState.CANCELLED
    assert ended is (kind in (Kind.DEPLOY, Kind.STOP))


@pytest.mark.parametrize("kind", [Kind.TASK, Kind.BACKUP, Kind.RESTORE])
async def test_what_belongs_to_no_commit_neither_ends_what_an_older_run_does_nor_is_ended(
    store: Store, rows: Rows, kind: Kind
) -> None:
    deploy, other = await job(rows, Kind.DEPLOY), await job(rows, kind)
    newer, newest = await rows.run(), await rows.run()
    async with store.transaction() as session:
        await lifecycle.supersede(session, newer, [Job(**other.model_dump())])
    assert (await rows.again(deploy)).state is JobState.WAITING

    async with store.transaction() as session:
        await lifecycle.supersede(session, newest, [])

    states = [(await rows.again(one)).state for one in (deploy, other)]
    assert states == [JobState.CANCELLED, JobState.WAITING]
