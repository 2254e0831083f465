"""Fifty people look on at 10,000 lines a second: what they get, and how long others wait meanwhile.

PostgreSQL, RabbitMQ and `blacktree serve` are real; the lines are printed by a worker at the protocol, whose
log is cleaned, masked and told as that of any. Each round is measured three times, one after the other:
without viewers; with as many who read the same bytes of another program (`bench.elsewhere`), since they take
from everybody what the machine has; and with the bot's. Meanwhile GitHub delivers webhooks, somebody opens
the overview, and jobs are there to be granted.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

import httpx2
from sqlmodel import col, select

from bench.elsewhere import WORDS
from bench.heartbeats import used
from bench.protocol import AtWork, serving
from bot.store.database import Store
from bot.store.tables import Job
from config.trust import trusted
from tests.instance import Instance
from workers.contract.messages import Kind
from workers.output.logs import LogSink

VIEWERS, RATE, SECONDS, ROUNDS = 50, 10_000, 10, 2
_TICK = 0.02  # seconds between two bursts of lines
_DELIVERED, _LOOKED, _MADE = 0.05, 0.25, 0.25  # seconds between two webhooks, two looks, two jobs
_LAST = 30.0  # seconds that viewers have after the last line

# Has viewers come, of a job perhaps: the process that they are.
Come = Callable[[str], Awaitable[asyncio.subprocess.Process | None]]


@dataclass
class Waited:
    """Milliseconds that others waited, and seconds of the bot's processor."""

    intake: list[float] = field(default_factory=list)
    page: list[float] = field(default_factory=list)
    grant: list[float] = field(default_factory=list)
    cpu: float = 0.0


@dataclass
class Crowd:
    """What is measured."""

    here: Instance
    store: Store
    worker: AtWork
    http: httpx2.AsyncClient
    like: Job  # which others are made as
    made: int = 100

    async def job(self) -> str:
        """One more, which may be granted."""
        self.made += 1
        like, name = self.like, f"more-{self.made}"
        row = Job(
            id=f"{like.run_id}-{self.made}", run_id=like.run_id, repository_id=like.repository_id,
            sha=like.sha, kind=Kind.BUILD, name=name, context=f"blacktree/{name}", pool=like.pool,
            spec=like.spec, attempts=1, rank=like.rank,
        )  # fmt: skip
        async with self.store.transaction() as session:
            session.add(row)
        return row.id


async def main() -> bool:
    """Print the figures; whether nobody missed a line."""
    folder = Path(tempfile.mkdtemp(prefix="blacktree-bench-"))
    try:
        async with _crowd(folder) as crowd:
            alone, elsewhere, beside = Waited(), Waited(), Waited()
            counts: list[int] = []
            ages: list[float] = []
            last: list[float] = []
            for number in range(ROUNDS):
                await _round(crowd, alone, _nobody)
                await _round(crowd, elsewhere, _of_another)
                said, after = await _round(crowd, beside, lambda job: _viewers(crowd.here, job))
                counts, ages, last = counts + said["counts"], ages + said["ages"], [*last, after]
                print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _whole(counts, ages, last)
    print(f"{'meanwhile':<36}{'without viewers':>24}{'of another program':>24}{'with them':>24}{'ratio':>18}")
    _beside("a webhook, until it is answered", [one.intake for one in (alone, elsewhere, beside)], 99)
    _beside("the overview, to its last byte", [one.page for one in (alone, elsewhere, beside)], 95)
    _beside("a job, from its commit to its grant", [one.grant for one in (alone, elsewhere, beside)], 95)
    cores = [f"{one.cpu / ROUNDS / SECONDS:.0%}" for one in (alone, elsewhere, beside)]
    print(f"{'processor of the bot, of a core':<36}{cores[0]:>24}{cores[1]:>24}{cores[2]:>24}")
    return counts.count(RATE * SECONDS) == len(counts)


def _whole(counts: list[int], ages: list[float], last: list[float]) -> None:
    whole = counts.count(RATE * SECONDS)
    print(f"{VIEWERS} viewers of {RATE:,} lines a second for {SECONDS} s, {ROUNDS} times")
    print(f"{'viewers with each line, in order and once':<48} {whole} of {len(counts)}   goal all")
    print(f"{'all had all of it, after its last line':<48} {max(last):7.1f} s")
    p50, p95 = median(ages), _at(ages, 95)
    print(f"{'the newest line of what one reads, its age':<48} p50 {p50:5.0f} ms   p95 {p95:5.0f} ms")


def _beside(what: str, waited: list[list[float]], most: int) -> None:
    """`ratio` is of what waited beside the bot's viewers to what waited beside another's."""
    found = [(median(one), _at(one, most)) for one in waited]
    shown = "".join(f"{f'p50 {middle:.0f} p{most} {late:.0f} ms':>24}" for middle, late in found)
    ratio = ", ".join(f"{mine / theirs:.1f}" for theirs, mine in zip(found[1], found[2], strict=True))
    print(f"{what:<36}{shown}{ratio:>18}", flush=True)


def _at(some: list[float], percent: int) -> float:
    return sorted(some)[min(len(some) - 1, len(some) * percent // 100)]


async def _round(crowd: Crowd, waited: Waited, come: Come) -> tuple[dict[str, Any], float]:
    """One flood with the viewers who come: what they say, and the seconds until they had all."""
    crowd.worker.kept[job := f"{crowd.like.run_id}-{crowd.made + 1}"] = granted = asyncio.Event()
    assert await crowd.job() == job
    async with asyncio.timeout(30):
        await granted.wait()
    child = await come(job)
    first, over = crowd.made, asyncio.Event()
    before, _ = await used(crowd.here)
    async with asyncio.TaskGroup() as group:
        group.create_task(_again(over, _DELIVERED, lambda: _delivered(crowd, waited)))
        group.create_task(_again(over, _LOOKED, lambda: _looked(crowd, waited)))
        group.create_task(_again(over, _MADE, crowd.job))
        try:
            async with LogSink(crowd.worker.queue.tell, job, 1, ["a-secret"]).pumped(_LAST) as sink:
                await _printed(sink)
            ended = time.perf_counter()
            said = await _said(child)
            took = time.perf_counter() - ended
        finally:
            over.set()
    waited.cpu += (await used(crowd.here))[0] - before
    waited.grant += await _granted(crowd, first)
    await crowd.worker.end(job)
    return said, took


async def _printed(sink: LogSink) -> None:
    begun, burst = time.perf_counter(), round(RATE * _TICK)
    for number, first in enumerate(range(0, RATE * SECONDS, burst)):
        await asyncio.sleep(max(0.0, begun + number * _TICK - time.perf_counter()))
        for line in range(first, first + burst):
            sink.write(f"{line} {time.time():.4f} {WORDS}\n")


async def _again(over: asyncio.Event, every: float, does: Callable[[], Awaitable[Any]]) -> None:
    """At a pace that does not depend on how long it takes, but one after the other."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    while not over.is_set():
        await does()
        due = max(due + every, loop.time())
        await asyncio.sleep(due - loop.time())


async def _delivered(crowd: Crowd, waited: Waited) -> None:
    """A delivery of GitHub's, of something that nothing follows from."""
    about = {"id": crowd.like.repository_id, "full_name": "acme/shop"}
    body = json.dumps({"action": "started", "repository": about, "more": "x" * 7_500}).encode()
    secret = crowd.here.github.app.webhook_secret.encode()
    headers = {
        "content-type": "application/json",
        "x-github-event": "watch",
        "x-github-delivery": str(uuid4()),
        "x-hub-signature-256": f"sha256={hmac.new(secret, body, hashlib.sha256).hexdigest()}",
    }
    begun = time.perf_counter()
    answer = await crowd.http.post("/webhooks/github", content=body, headers=headers)
    waited.intake.append(1000 * (time.perf_counter() - begun))
    assert answer.status_code == 202, answer.text


async def _looked(crowd: Crowd, waited: Waited) -> None:
    begun = time.perf_counter()
    answer = await crowd.http.get("/", headers={**crowd.here.headers, "accept": "text/html"})
    waited.page.append(1000 * (time.perf_counter() - begun))
    answer.raise_for_status()


async def _granted(crowd: Crowd, after: int) -> list[float]:
    """Milliseconds from the commit to the grant, of each job that was made since."""
    made = [f"{crowd.like.run_id}-{number}" for number in range(after + 1, crowd.made + 1)]
    asked = select(Job.created_at, Job.started_at).where(col(Job.id).in_(made))
    async with asyncio.timeout(60):
        while True:
            async with crowd.store.reading() as session:
                rows = (await session.exec(asked)).all()
            if all(begun for _, begun in rows):
                return [1000 * (begun - at).total_seconds() for at, begun in rows if begun]
            await asyncio.sleep(0.1)


async def _nobody(_: str) -> None:
    """Nobody looks on."""


async def _of_another(_: str) -> asyncio.subprocess.Process:
    """As many viewers, of a program that has nothing to do with the bot; it ends by itself."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.elsewhere", str(VIEWERS), str(RATE * SECONDS), str(RATE),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    async with asyncio.timeout(30):
        port = int(await child.stdout.readline())
    return await _watching(f"http://127.0.0.1:{port}", "/", "nobody asks")


async def _viewers(here: Instance, job: str) -> asyncio.subprocess.Process:
    return await _watching(here.url, f"/jobs/{job}/follow?attempt=1", here.headers["authorization"])


async def _watching(url: str, path: str, proof: str) -> asyncio.subprocess.Process:
    """A process with all viewers, so that they read beside the bot, not in its turn."""
    lines, seconds = RATE * SECONDS, SECONDS + _LAST
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.viewers", url, path, str(VIEWERS), str(lines), str(seconds),
        env={**os.environ, "AUTHORIZATION": proof}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    async with asyncio.timeout(30):
        if (said := await child.stdout.readline()) != b"ready\n":
            raise RuntimeError(f"the viewers did not get in: {said!r}")
    return child


async def _said(child: asyncio.subprocess.Process | None) -> dict[str, Any]:
    if child is None:
        return {}
    assert child.stdout is not None
    async with asyncio.timeout(SECONDS + 2 * _LAST):
        said: dict[str, Any] = json.loads(await child.stdout.readline())
    await child.wait()
    return said


@contextlib.asynccontextmanager
async def _crowd(folder: Path) -> AsyncIterator[Crowd]:
    async with AsyncExitStack() as stack:
        bot = await stack.enter_async_context(serving(folder, "crowd", 30))
        here, store, work = bot.here, bot.store, bot.work
        http = await stack.enter_async_context(
            httpx2.AsyncClient(base_url=here.url, verify=trusted(), timeout=30)
        )
        worker = await stack.enter_async_context(AtWork(bot.queue).open())
        await work.commit({"a": "first"})
        await work.push(branch="main")
        built = await here.job("build", "failed", 60)
        async with store.reading() as session:
            like = await session.get_one(Job, built["id"])
        assert like.kind is Kind.BUILD
        yield Crowd(here, store, worker, http, like)


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(main()) else 1)
