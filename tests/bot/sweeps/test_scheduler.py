"""Sweeps as jobs of a scheduler that ends with its bot's leadership."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from apscheduler.events import EVENT_JOB_SUBMITTED
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from bot.metrics.instruments import Instruments
from bot.sweeps.scheduler import _ended, _tracked
from workers.contract.messages import now


def patient() -> AsyncIOScheduler:
    """One that begins what is due however late it is."""
    late: dict[str, Any] = {"misfire_grace_time": None}
    return AsyncIOScheduler(event_loop=asyncio.get_running_loop(), timezone="UTC", job_defaults=late)


async def test_a_sweep_that_ends_with_its_bot_is_no_failure_that_anybody_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun, running = asyncio.Event(), set[asyncio.Task[None]]()

    async def sweep() -> None:
        begun.set()
        await asyncio.Event().wait()

    scheduler = patient()
    scheduler.add_job(_tracked("endless", sweep, running, Instruments()), next_run_time=now())
    scheduler.start()
    await begun.wait()
    ended = list(running)

    await _ended(scheduler, running)

    assert len(ended) == 1
    assert "raised an exception" not in caplog.text


async def test_neither_is_one_that_was_due_at_the_very_moment_of_that_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    submitted, running = asyncio.Event(), set[asyncio.Task[None]]()
    scheduler = patient()
    scheduler.add_job(_tracked("endless", asyncio.Event().wait, running, Instruments()), next_run_time=now())
    scheduler.add_listener(lambda _: submitted.set(), EVENT_JOB_SUBMITTED)
    scheduler.start()
    while not submitted.is_set():  # noqa: ASYNC110 - an Event would wake us when it has begun
        await asyncio.sleep(0)
    assert not running  # it has not begun

    await _ended(scheduler, running)
    await asyncio.sleep(0)

    assert not running
    assert "Error running job" not in caplog.text
    assert "Traceback" not in caplog.text
