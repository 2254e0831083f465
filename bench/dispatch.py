"""`make bench ARGS=dispatch`: from a job's commit to its offer, beside many that nobody takes."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles

import structlog
from sqlalchemy import insert

from bot.jobs.dispatch import Dispatcher
from bot.store.database import Store
from bot.store.tables import Job, JobState, Repository, Run, WorkerRow
from workers.contract.memory import MemoryQueue
from workers.contract.messages import Kind

WAITING = (10, 10_000, 100_000)
TRIES = 100
_MOST = 2_000  # rows in one statement


async def waits(waiting: int, folder: Path) -> tuple[list[float], int]:
    """Milliseconds until each of `TRIES` jobs is offered; how many offers the pool has that nobody serves."""
    queue = MemoryQueue()
    async with Store.opened(f"sqlite:///{folder / 'blacktree.db'}") as store:
        await _filled(store, waiting)
        dispatcher = Dispatcher(store, queue, lease=600)
        running = asyncio.create_task(dispatcher.run())
        taken = []
        try:
            for number in range(TRIES):
                async with store.transaction() as session:
                    session.add(_job(f"try-{number}", number + 1, "default"))
                begun = time.perf_counter()
                offer = await queue.take("default")
                taken.append(1000 * (time.perf_counter() - begun))
                await offer.ack()
                async with store.transaction() as session:
                    (await session.get_one(Job, offer.offer.job)).state = JobState.SUCCEEDED
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    return taken, await queue.depth("nobody")


async def _filled(store: Store, waiting: int) -> None:
    runs = max(waiting, TRIES)
    async with store.transaction() as session:
        session.add(Repository(id=1, full_name="acme/shop", default_branch="main"))
        session.add(WorkerRow(name="one", instance="", pool="default", slots=4, address="", software=""))
        await session.flush()
        connection = await session.connection()
        for first in range(1, runs + 1, _MOST):
            numbers = range(first, min(first + _MOST, runs + 1))
            await connection.execute(insert(Run), [_run(number).model_dump() for number in numbers])
            queued = [
                _job(f"{number}-1", number, "nobody", state=JobState.QUEUED, turn=number, rank=2).model_dump()
                for number in numbers
                if number <= waiting
            ]
            if queued:
                await connection.execute(insert(Job), queued)


def _run(number: int) -> Run:
    key = f"key {number}"
    return Run(id=number, repository_id=1, cause="push", cause_key=key, ref="r", sha="1" * 40, actor="ada")


def _job(name: str, run: int, pool: str, **more: object) -> Job:
    known = {"id": name, "run_id": run, "repository_id": 1, "sha": "1" * 40, "kind": Kind.BUILD}
    return Job(**known, name="app", context="", pool=pool, attempts=3, **more)  # type: ignore[arg-type]


def main() -> None:
    """Print the table."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    print(f"{'waiting':>9}{'p50 ms':>9}{'p95 ms':>9}{'ratio of p50':>14}{'offered to nobody':>20}")
    first = 0.0
    for waiting in WAITING:
        with tempfile.TemporaryDirectory() as folder:
            taken, offered = asyncio.run(waits(waiting, Path(folder)))
        first = first or median(taken)
        p95 = quantiles(taken, n=20)[-1]
        print(f"{waiting:9,}{median(taken):9.1f}{p95:9.1f}{median(taken) / first:14.2f}{offered:20}")


if __name__ == "__main__":
    main()
