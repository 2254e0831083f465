"""What a backup has as not ended goes on with attempts that nobody had."""

from __future__ import annotations

from datetime import UTC, datetime

from bot.jobs import restored
from bot.reports import texts
from bot.store.database import Store
from bot.store.tables import JobState
from tests.bot.conftest import Rows
from workers.contract.messages import Kind

MADE = datetime(2026, 11, 28, 3, 0, tzinfo=UTC)


async def go_on(store: Store) -> dict[str, int]:
    async with store.transaction() as session:
        connection = await session.connection()
        return await connection.run_sync(lambda plain: restored.go_on(plain, MADE))


async def test_a_job_that_waits_has_as_many_tries_as_before_with_numbers_that_none_had(
    store: Store, rows: Rows
) -> None:
    run = await rows.run()
    tried = await rows.job(run, 1, state=JobState.QUEUED, attempt=1, offered_at=MADE)
    fresh = await rows.job(run, 2, Kind.DEPLOY, "production", needs=[tried.id])

    assert await go_on(store) == {}

    tried, fresh = await rows.again(tried), await rows.again(fresh)
    assert (tried.attempt, tried.attempts, tried.offered_at) == (3, 5, None)
    assert (fresh.attempt, fresh.attempts, fresh.state) == (3, 6, JobState.WAITING)
    assert texts.status(tried)["description"] == (
        "Trying again: this instance was restored from a backup of 2026-11-28 03:00 UTC"
    )


async def test_what_ran_is_left_to_its_lease_and_what_has_ended_stays(store: Store, rows: Rows) -> None:
    run = await rows.run()
    runs = await rows.job(run, 1, state=JobState.RUNNING, attempt=2, worker="one", instance="i")
    ended = await rows.job(run, 2, state=JobState.FAILED, attempt=1, sentence="It failed")

    assert await go_on(store) == {runs.id: 2}

    for before in (runs, ended):
        assert await rows.again(before) == before
