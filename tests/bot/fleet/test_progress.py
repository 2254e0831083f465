"""What several bots hear of one job at once comes into the store as it was, each event once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlmodel import select

from bot.fleet.progress import Progress
from bot.store.database import Store
from bot.store.logs import FileLogs
from bot.store.tables import JobState, StepRow
from tests.bot.conftest import Rows
from tests.parts.postgres import Postgres
from workers.contract.messages import Step, StepChanged, StepReport, now


@pytest.fixture
async def bots(postgres: Postgres, tmp_path: Path) -> AsyncIterator[tuple[Store, list[Progress]]]:
    """Two bots on one PostgreSQL."""
    url = postgres.create_database("progress")
    async with Store.opened(url) as one, Store.opened(url) as two:
        yield one, [Progress(store, FileLogs(tmp_path, 1_000_000)) for store in (one, two)]


async def test_a_steps_start_and_end_that_two_bots_hear_at_once_are_one_step(
    bots: tuple[Store, list[Progress]],
) -> None:
    store, (one, two) = bots
    rows = Rows(store)
    for _ in range(10):
        job = await rows.job(await rows.run(), state=JobState.RUNNING, attempt=1, worker="one")
        begun = StepReport(name=Step.BUILD, started_at=now())
        ended = begun.model_copy(update={"ended_at": now(), "ok": True})

        await asyncio.gather(
            one.hear(StepChanged(job=job.id, attempt=1, step=begun)),
            two.hear(StepChanged(job=job.id, attempt=1, step=ended)),
        )

        async with store.reading() as session:
            (step,) = (await session.exec(select(StepRow).where(StepRow.job_id == job.id))).all()
        assert (step.started_at, step.ended_at, step.ok) == (begun.started_at, ended.ended_at, True)
