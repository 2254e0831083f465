"""What a push costs: the bot's processor time and its delays; and all of it, on a toy, beside a script.

    make bench ARGS=push

First: PostgreSQL, RabbitMQ and `blacktree serve` are real; a worker at the protocol takes each job and ends
it at once. A push's time is what the bot's own /metrics says of its process, less what it takes at rest; the
delays are those of its rows: from the delivery to its jobs, and from those to the attempt of a worker that
waited for them. Then: from a push to traffic on a page of one line, less what a script takes for the same.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from uuid import uuid4

import httpx2
from sqlmodel import col, select

from bench.deploys import side_by_side
from bench.heartbeats import share, used
from bench.protocol import AtWork, serving
from bench.world import BASE_IMAGE, ENVIRONMENT, world
from bot.store.database import Store
from bot.store.tables import Delivery, DeliveryState, Job, JobState
from config.trust import trusted
from tests.github import WorkTree
from workers.contract.messages import Kind

PUSHES, EVERY = 100, 0.2  # seconds between two
WARM, REST = 5, 20.0  # pushes; seconds
ROUNDS = 10
TOY = {
    "Dockerfile": f'FROM {BASE_IMAGE}\nCOPY www /www\nEXPOSE 8080\nCMD ["httpd", "-fp8080", "-h", "/www"]\n',
    "www/index.html": "first",
    ".blacktree.yml": ENVIRONMENT,
}


async def main() -> None:
    """Print the figures."""
    await _costs()
    await _toy()


async def _costs() -> None:
    folder = Path(tempfile.mkdtemp(prefix="blacktree-bench-"))
    try:
        async with AsyncExitStack() as stack:
            bot = await stack.enter_async_context(serving(folder, "push", 10))
            here, store = bot.here, bot.store
            push = partial(_pushed, store, bot.work)
            async with AtWork(bot.queue).open():
                await push(WARM)
                idle = await share(here, REST)
                before, _ = await used(here)
                begun = time.monotonic()
                await push(PUSHES)
                seconds = time.monotonic() - begun
                after, _ = await used(here)
            cost = 1000 * (after - before - idle * seconds) / PUSHES
            print(f"{'the processor time of a push, in the bot':<42}{cost:8.1f} ms   goal at most 15")
            print(f"{'of a core, at rest':<42}{100 * idle:8.2f} %    goal at most 1")
            await _delays(store)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _pushed(store: Store, work: WorkTree, count: int) -> None:
    """Push that many times, at a pace, and wait until every job is over; reports go on at GitHub's pace."""
    for number in range(count):
        due = time.monotonic() + EVERY
        await work.commit({"a": f"{number} {uuid4().hex}"})
        await work.push(branch="main")
        await asyncio.sleep(max(0.0, due - time.monotonic()))
    async with asyncio.timeout(120):
        while await _open(store):
            await asyncio.sleep(0.1)


async def _open(store: Store) -> bool:
    """Whether there is something to decide or to do."""
    decide = select(Delivery.guid).where(Delivery.state == DeliveryState.RECEIVED).limit(1)
    ended = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
    do = select(Job.id).where(col(Job.state).not_in(ended)).limit(1)
    async with store.reading() as session:
        return bool((await session.exec(decide)).all() or (await session.exec(do)).all())


async def _delays(store: Store) -> None:
    rows = (
        select(Delivery.received_at, Job.created_at, Job.started_at)
        .join(Job, col(Job.run_id) == col(Delivery.run_id))
        .where(Job.kind == Kind.BUILD, col(Job.started_at).is_not(None))
        .order_by(col(Job.created_at))
    )
    async with store.reading() as session:
        found = (await session.exec(rows)).all()[WARM:]
    _told("delivery received to job committed", [(made - came).total_seconds() for came, made, _ in found])
    starts = [(begun - made).total_seconds() for _, made, begun in found if begun]
    _told("job committed to granted", starts)


def _told(what: str, seconds: Sequence[float]) -> None:
    p50, p95 = 1000 * statistics.median(seconds), 1000 * statistics.quantiles(seconds, n=20)[-1]
    print(f"{what:<42}{p50:8.1f} ms p50 {p95:8.1f} ms p95   of {len(seconds)}")


async def _toy() -> None:
    async with world(TOY) as here, httpx2.AsyncClient(verify=trusted()) as http:
        await side_by_side(here, http, ROUNDS, "push to traffic on a toy", "the script's own and 0.1 s")


if __name__ == "__main__":
    asyncio.run(main())
