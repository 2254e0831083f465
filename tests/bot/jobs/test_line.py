"""Limits and labels in both stores: what PostgreSQL is asked, it understands, and answers as SQLite does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.fleet import warmth
from bot.jobs.dispatch import Dispatcher
from bot.store.database import Store
from bot.store.tables import Job, JobState, Repository
from tests.bot.conftest import Rows
from tests.bot.jobs.test_dispatch import LEASE, World
from tests.parts.postgres import Postgres
from workers.contract.messages import Claim


@pytest.fixture(params=["sqlite", "postgresql"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    url = f"sqlite:///{tmp_path / 'blacktree.db'}"
    if request.param == "postgresql":
        postgres: Postgres = request.getfixturevalue("postgres")
        url = postgres.create_database("bot_test_line")
    async with Store.opened(url) as store:
        yield World(store, Rows(store))


async def test_beside_a_repository_at_its_limit_others_go_on_in_every_line(world: World) -> None:
    world.dispatcher = Dispatcher(world.store, world.queue, LEASE, repository_jobs=1)
    await world.worker(6, labels="amd64+gpu")
    first, second = await world.pushes(7, 2)
    (third,) = await world.pushes(8, 1)
    async with world.store.transaction() as session:
        (await session.get_one(Job, third)).spec = {"runs_on": ["gpu"]}
    await world.dispatch()
    assert await world.offered() == sorted([first, third])
    assert [await world.queue.depth(line) for line in ("default", "default+gpu")] == [1, 1]

    await world.ends(await world.taken())
    await world.dispatch()
    assert await world.offered() == sorted([second, third])


async def test_a_warm_job_is_found_in_line_and_what_is_passed_over_stands_there_again(world: World) -> None:
    await world.worker(2)
    (cold,), (warm,) = await world.pushes(7, 1), await world.pushes(8, 1)
    await world.dispatch()
    claim = Claim(job=cold, worker="one", instance="i", nonce="n", public_key="")
    async with world.store.transaction() as session:
        owner = await session.get_one(Repository, 8)
        owner.built_on = ["one"]
    async with world.store.transaction() as session:
        job, owner = await session.get_one(Job, cold), await session.get_one(Repository, 8)
        found = await warmth.better(session, job, claim, lease=LEASE, local=False)
        assert found is not None
        assert found.id == warm
        await warmth.granted(session, found, owner, cold)
    assert await world.offered() == [warm]

    async with world.store.transaction() as session:
        (await session.get_one(Job, warm)).state = JobState.SUCCEEDED
    await world.dispatch()
    assert await world.offered() == [cold]
