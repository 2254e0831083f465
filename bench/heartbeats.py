"""What a heartbeat costs the bot, and its answer the broker: 500 workers at the protocol, over real parts.

    make bench ARGS=heartbeats

RabbitMQ, PostgreSQL and `blacktree serve` are real; the workers say what 500 with two attempts and three
containers each would, ten seconds apart, to a bot that has 100 environments with 10 releases each. The bot's
time is what its own /metrics says of its process, less what it takes without workers.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import insert

from bot.fleet import enrolment
from bot.jobs.specs import release_name
from bot.secrets.vault import Vault
from bot.store.database import Store
from bot.store.tables import Environment, Job, JobState, Release, ReleaseState, Repository, Run
from config.sources import load
from tests.github import GitHub
from tests.instance import Instance, instance
from tests.parts.broker import Broker
from tests.parts.postgres import Postgres
from workers.contract.broker_connection import BrokerConnection
from workers.contract.broker_topology import Topology
from workers.contract.credential import Credential
from workers.contract.messages import (
    AttemptRef,
    ContainerState,
    Heartbeat,
    HeartbeatAnswer,
    Kind,
    edition,
    now,
)
from workers.contract.rabbitmq import RabbitWorker

WORKERS, ATTEMPTS, CONTAINERS = 500, 2, 3
ENVIRONMENTS, RELEASES = 100, 10
INTERVAL = 10.0  # seconds between two heartbeats of one worker
PATIENCE = 20.0  # seconds that a worker waits for an answer: a third of its lease
WARM = 45.0  # seconds in which each comes, and the bot sees that all is as it was
SECONDS = 20.0  # that are measured
CONNECTIONS = 10  # that the workers share: the bot sees none of them
GOAL = 2.0  # milliseconds


async def main() -> None:
    """Print the figures."""
    folder = Path(tempfile.mkdtemp(prefix="blacktree-bench-"))
    try:
        async with contextlib.AsyncExitStack() as stack:
            broker, postgres = stack.enter_context(Broker()), stack.enter_context(Postgres())
            github = await stack.enter_async_context(GitHub.running(folder / "github"))
            url = postgres.create_database("heartbeats")
            here = await stack.enter_async_context(
                instance(folder, github, database_url=url, queue_url=broker.amqp_url, proxy="none")
            )
            await here.start("serve")
            await here.ready()
            workers = await _workers(here)
            print(f"{len(workers)} workers are there", file=sys.stderr)
            told = await stack.enter_async_context(_connected(broker.amqp_url, workers))
            await _measured(here, told)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Simulated:
    """A worker, as far as its heartbeats show it."""

    def __init__(self, credential: Credential, beat: Heartbeat) -> None:
        self.credential = credential
        self.beat = beat
        self.missed = 0
        self.sizes: list[int] = []
        self.waits: list[float] = []

    async def run(self, queue: RabbitWorker, first: float) -> None:
        """Beat for ever, as `workers.heartbeat` does."""
        due = asyncio.get_running_loop().time() + first
        while True:
            await asyncio.sleep(due - asyncio.get_running_loop().time())
            due += INTERVAL
            begun = time.perf_counter()
            try:
                answer = await queue.request(self.beat, PATIENCE)
            except TimeoutError:
                self.missed += 1
                continue
            self.waits.append(1000 * (time.perf_counter() - begun))
            assert isinstance(answer, HeartbeatAnswer), answer
            assert answer.lost == [], answer
            if answer.kept is not None:
                self.beat = self.beat.model_copy(update={"kept": edition(answer.kept)})
            self.sizes.append(len(answer.model_dump_json()))


async def _measured(here: Instance, workers: Sequence[tuple[Simulated, RabbitWorker]]) -> None:
    idle = await share(here, 10)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(worker.run(queue, INTERVAL * place / len(workers)))
            for place, (worker, queue) in enumerate(workers)
        ]
        await asyncio.sleep(WARM)
        for worker, _ in workers:
            worker.sizes, worker.waits, worker.missed = [], [], 0
        cpu, beats = await used(here)
        await asyncio.sleep(SECONDS)
        cpu, beats = (after - before for before, after in zip((cpu, beats), await used(here), strict=True))
        for task in tasks:
            task.cancel()
    waits = sorted(wait for worker, _ in workers for wait in worker.waits)
    size = statistics.mean(size for worker, _ in workers for size in worker.sizes)
    cost = 1000 * (cpu - idle * SECONDS) / beats
    rate = len(workers) / INTERVAL
    print(f"{WORKERS} workers, {beats / SECONDS:.1f} heartbeats a second of {rate:.0f}; idle {idle:.1%}")
    print(f"{'the processor time of one, in the bot':<42}{cost:8.2f} ms   goal at most {GOAL:g}")
    print(f"{'the bytes of an answer':<42}{size:8.0f}")
    print(f"{'not answered in time':<42}{sum(worker.missed for worker, _ in workers):8}")
    p50, p99 = statistics.median(waits), waits[len(waits) * 99 // 100]
    print(f"{'asked to answered':<42}{p50:8.1f} ms p50 {p99:8.1f} ms p99")


async def used(here: Instance) -> tuple[float, float]:
    """The bot's seconds of processor time, and the heartbeats that it answered."""
    async with httpx2.AsyncClient() as http:
        page = (await http.get(f"{here.url}/metrics", headers=here.headers)).text
    found = {
        sample.name: sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.labels in ({}, {"kind": "heartbeat"})
    }
    return (
        found["process_cpu_seconds_total"],
        found.get("blacktree_worker_request_seconds_count", 0.0),
    )


async def share(here: Instance, seconds: float) -> float:
    """Of a core, that the bot takes while nobody speaks."""
    before, _ = await used(here)
    await asyncio.sleep(seconds)
    return ((await used(here))[0] - before) / seconds


@contextlib.asynccontextmanager
async def _connected(
    url: str, workers: Sequence[Simulated]
) -> AsyncIterator[list[tuple[Simulated, RabbitWorker]]]:
    topology = Topology("blacktree")
    async with contextlib.AsyncExitStack() as stack:
        connections = [
            await stack.enter_async_context(BrokerConnection(url, topology, f"bench {number}").opened(30))
            for number in range(CONNECTIONS)
        ]
        yield [
            (worker, RabbitWorker(connections[place % CONNECTIONS], topology, worker.credential))
            for place, worker in enumerate(workers)
        ]


async def _workers(here: Instance) -> list[Simulated]:
    """All of them, added; with what they run and have run in the store."""
    settings = load(here.processes[0].env)
    async with Store.opened(settings.store_url) as store:
        vault = Vault(store, settings)
        credentials = [await enrolment.add(store, vault, f"worker-{n}", "default") for n in range(WORKERS)]
        live = await _filled(store)
        return [
            Simulated(credential, _beat(credential.name, number, live))
            for number, credential in enumerate(credentials)
        ]


async def _filled(store: Store) -> list[str]:
    """What runs on whom, and what ran; gives the names of the releases that are live."""
    at, jobs, releases = now(), [], []
    later = at + timedelta(hours=1)  # nobody is lost while the first heartbeats wait
    for number in range(WORKERS * ATTEMPTS):
        state: dict[str, Any] = {
            "state": JobState.RUNNING,
            "attempt": 1,
            "instance": "i",
            "lease_until": later,
        }
        jobs.append(_job(f"1-{number}", number // ATTEMPTS, Kind.BUILD, started_at=at, **state))
    for place in range(ENVIRONMENTS):
        for number in range(RELEASES):
            state = {"state": JobState.SUCCEEDED, "ended_at": at}
            jobs.append(
                _job(f"2-{place * RELEASES + number}", place, Kind.DEPLOY, environment=f"e-{place}", **state)
            )
            releases.append(
                Release(
                    id=place * RELEASES + number + 1, environment_id=place + 1, run_id=1, job_id=jobs[-1].id,
                    sha="1" * 40, image=f"registry.example.com/acme/shop@sha256:{place:032}{number:032}",
                    state=ReleaseState.LIVE if number == RELEASES - 1 else ReleaseState.RETIRED, attempt=1,
                    live_at=at, steady_at=at, remove_after=at, worker=f"worker-{place}", addresses=[],
                    settings={"keep": RELEASES, "port": 8080, "env": {"A": "b" * 500}},
                )
            )  # fmt: skip
    async with store.transaction() as session:
        session.add(Repository(id=1, full_name="acme/shop", default_branch="main", inactive="archived"))
        session.add(
            Run(id=1, repository_id=1, cause="push", cause_key="k", ref="r", sha="1" * 40, actor="ada")
        )
        for place in range(ENVIRONMENTS):
            session.add(Environment(id=place + 1, repository_id=1, name=f"e-{place}"))
        await session.flush()
        connection = await session.connection()
        await connection.execute(insert(Job), [job.model_dump() for job in jobs])
        await connection.execute(insert(Release), [release.model_dump() for release in releases])
    return [release_name(store.instance, one) for one in releases if one.state is ReleaseState.LIVE]


def _job(name: str, worker: int, kind: Kind, **more: Any) -> Job:
    return Job(
        id=name, run_id=1, repository_id=1, sha="1" * 40, kind=kind, name="app", context="", pool="default",
        attempts=3, worker=f"worker-{worker}", **more,
    )  # fmt: skip


def _beat(name: str, number: int, live: Sequence[str]) -> Heartbeat:
    here = [live[number]] if number < len(live) else []
    containers = [
        ContainerState(
            release=release, environment=f"e-{number}", name=f"{release}-{n}", running=True, restarts=0
        )
        for release in here
        for n in range(CONTAINERS)
    ]
    attempts = [AttemptRef(job=f"1-{number * ATTEMPTS + n}", attempt=1) for n in range(ATTEMPTS)]
    return Heartbeat(
        worker=name, instance="i", pool="default", slots=4, address="10.0.0.9", software="bench",
        attempts=attempts, containers=containers, disk_free=10**11,
    )  # fmt: skip


if __name__ == "__main__":
    asyncio.run(main())
