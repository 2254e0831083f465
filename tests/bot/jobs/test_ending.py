"""How attempts end: a lost worker is no word about its job, unless it happens again and again."""

from __future__ import annotations

import pytest

from bot.jobs import ending
from bot.store.database import Store
from bot.store.tables import JobState
from tests.bot.conftest import Rows
from workers.contract.messages import Failed, Fault, now


@pytest.mark.parametrize(("attempt", "at_once"), [(1, True), (2, False)])
async def test_the_job_of_a_lost_worker_is_another_ones_at_once_the_first_time(
    store: Store, rows: Rows, attempt: int, at_once: bool
) -> None:
    job = await rows.job(await rows.run(), state=JobState.RUNNING, attempt=attempt, worker="one")

    await ending.lost(store, job, "worker one has gone")

    again = await rows.again(job)
    assert (again.state, again.offered_at) == (JobState.QUEUED, None)
    assert (again.not_before <= now()) is at_once


async def test_what_failed_by_our_fault_waits_before_it_is_tried_again(store: Store, rows: Rows) -> None:
    job = await rows.job(await rows.run(), state=JobState.RUNNING, attempt=1, worker="one")

    async with store.transaction() as session:
        row = await session.merge(job)
        await ending.failed(session, row, Failed(fault=Fault.OURS, reason="registry", sentence="503"))

    assert (await rows.again(job)).not_before > now()
