"""Runs the sweeps, by APScheduler: each on its own interval, never twice at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from bot.fleet import usage
from bot.github.forge import GitHub
from bot.metrics.instruments import Instruments
from bot.reports.reporter import Reporter
from bot.routing import visits
from bot.routing.proxy import Proxy
from bot.store.database import Store
from bot.store.logs import LogStore
from bot.store.outages import told
from bot.store.outputs import Outputs
from bot.sweeps import (
    awaited,
    backups,
    cancels,
    drains,
    heads,
    leases,
    lost_messages,
    lost_releases,
    missed,
    orphans,
    previews,
    retention,
    sleepers,
    tasks,
    thaws,
    updates,
)
from bot.sweeps.schedules import EVERY as SCHEDULES
from bot.sweeps.schedules import Schedules
from config.settings import Settings
from workers.contract.messages import now
from workers.contract.queue import BotQueue

# A message is on its way for less than this many seconds after it was offered.
_ON_ITS_WAY = 15.0
_REPORTS = 30.0

log = structlog.get_logger()


@asynccontextmanager
async def sweeping(
    store: Store,
    queue: BotQueue,
    logs: LogStore,
    outputs: Outputs,
    reporter: Reporter,
    github: GitHub,
    proxy: Proxy,
    settings: Settings,
) -> AsyncIterator[None]:
    """The sweeps run until the end of the block; what a dead bot left is looked at once at the start."""
    await lost_messages.sweep(store, queue, older=0)
    schedules, idle = Schedules(store, github), sleepers.Sleepers(store, proxy)
    sweeps: dict[str, tuple[float, Callable[[], Awaitable[object]]]] = {
        "stale workers": (min(5.0, settings.lease / 4), lambda: leases.sweep(store, queue, settings.lease)),
        "lost messages": (_ON_ITS_WAY, lambda: lost_messages.sweep(store, queue, older=_ON_ITS_WAY)),
        "cancels": (1.0, lambda: cancels.sweep(store, queue)),
        "drains": (drains.EVERY, lambda: drains.sweep(store, queue)),
        "retention": (
            retention.EVERY,
            lambda: retention.sweep(store, logs, settings.retention, settings.audit_retention),
        ),
        "outputs": (retention.EVERY, lambda: retention.outputs(store, outputs, settings.output_days)),
        "usage": (usage.EVERY, lambda: usage.sweep(store)),
        "visits": (visits.EVERY, lambda: visits.sweep(store)),
        "reports": (_REPORTS, reporter.send_due),
        "previews": (previews.EVERY, lambda: previews.sweep(store, settings)),
        "lost releases": (lost_releases.EVERY, lambda: lost_releases.sweep(store, queue, settings)),
        "sleepers": (sleepers.EVERY, idle.sweep),
        "thaws": (thaws.EVERY, lambda: thaws.sweep(store)),
        "tasks": (tasks.EVERY, lambda: tasks.sweep(store, settings)),
        "backups": (backups.EVERY, lambda: backups.sweep(store, settings)),
        "updates": (updates.EVERY, lambda: updates.sweep(store, settings)),
    }
    asking: dict[str, tuple[float, Callable[[], Awaitable[object]]]] = {
        "missed deliveries": (missed.EVERY, lambda: missed.sweep(store, github, settings)),
        "orphans": (orphans.EVERY, lambda: orphans.sweep(store, github)),
        "heads": (heads.EVERY, lambda: heads.sweep(store, github)),
        "awaited images": (awaited.EVERY, lambda: awaited.sweep(store, github)),
        "schedules": (SCHEDULES, schedules.sweep),
    }
    scheduler = AsyncIOScheduler(event_loop=asyncio.get_running_loop(), timezone="UTC")
    running: set[asyncio.Task[None]] = set()
    for name, (seconds, sweep) in (sweeps | asking).items():
        scheduler.add_job(
            _tracked(name, sweep, running, store.instruments),
            "interval",
            seconds=seconds,
            name=name,
            coalesce=True,
            misfire_grace_time=None,  # however late: APScheduler leaves out what is late by a second
            max_instances=1,
            # Nobody waits for what asks GitHub: it starts beside the rest, and again on its interval.
            **({"next_run_time": now()} if name in asking else {}),
        )
    scheduler.start()
    try:
        yield
    finally:
        await _ended(scheduler, running)


async def _ended(scheduler: AsyncIOScheduler, running: set[asyncio.Task[None]]) -> None:
    """Nothing runs any more, and no log has a traceback of that."""
    scheduler.pause()
    try:
        await asyncio.sleep(0)  # what is due at this very moment begins, and is then one of those that we end
    finally:
        scheduler.shutdown(wait=False)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _tracked(
    name: str,
    sweep: Callable[[], Awaitable[object]],
    running: set[asyncio.Task[None]],
    instruments: Instruments,
) -> Callable[[], Awaitable[None]]:
    """The sweep as a job whose failure is logged and whose task can be ended with us."""

    async def job() -> None:
        task = asyncio.current_task()
        assert task is not None, "APScheduler runs coroutines as tasks"  # noqa: S101
        running.add(task)
        begun = time.monotonic()
        try:
            await sweep()
            instruments.swept(name, time.monotonic() - begun)
        except asyncio.CancelledError:
            return  # nobody but we does that, at our end; APScheduler would add a traceback
        except Exception as error:
            instruments.sweep_broke(name)
            told(log, "sweep failed", error, sweep=name)
        finally:
            running.discard(task)

    return job
