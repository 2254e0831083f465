"""Two bots on one PostgreSQL that end two jobs of one run in the same moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlmodel import select

from bot.jobs import lifecycle
from bot.store.database import Store, heard
from bot.store.tables import CommandRow, CommandState, Job, JobState
from tests.bot.conftest import Rows
from tests.parts.postgres import Postgres
from workers.contract.messages import Kind


@pytest.fixture
async def bots(postgres: Postgres) -> AsyncIterator[tuple[Store, Store]]:
    url = postgres.create_database("bot_test_several")
    async with Store.opened(url) as one, Store.opened(url) as two:
        yield one, two


async def ended_at_once(bots: tuple[Store, Store], first: Job, second: Job) -> None:
    """Neither bot's transaction sees the other's, unless it waits for it."""
    moved = asyncio.Event(), asyncio.Event()

    async def end(place: int, job: Job) -> None:
        async with bots[place].transaction() as session:
            row = await session.get_one(Job, job.id)
            assert await lifecycle.move(session, row, JobState.SUCCEEDED)
            await session.flush()
            moved[place].set()
            await heard(moved[1 - place], 1)

    await asyncio.gather(end(0, first), end(1, second))


async def test_the_command_that_caused_their_run_ends_with_them(bots: tuple[Store, Store]) -> None:
    rows = Rows(bots[0])
    run = await rows.run(comment_id=5)
    first, second = [await rows.job(run, place, state=JobState.RUNNING, attempt=1) for place in (1, 2)]
    async with bots[0].transaction() as session:
        session.add(
            CommandRow(
                repository_id=7, pull_number=1, comment_id=5, line="/redeploy", actor="ada", sha="s",
                state=CommandState.ACCEPTED, answer="", run_id=run.id,
            )
        )  # fmt: skip

    await ended_at_once(bots, first, second)

    async with bots[1].reading() as session:
        assert (await session.exec(select(CommandRow.state))).all() == [CommandState.SUCCEEDED]


async def test_what_needs_both_waits_for_nothing_any_more(bots: tuple[Store, Store]) -> None:
    rows = Rows(bots[0])
    run = await rows.run()
    first, second = [await rows.job(run, place, state=JobState.RUNNING, attempt=1) for place in (1, 2)]
    deploy = await rows.job(run, 3, Kind.DEPLOY, "production", needs=[first.id, second.id])

    await ended_at_once(bots, first, second)

    assert (await rows.again(deploy)).unmet == 0
