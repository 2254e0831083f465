"""Scaling over a real store, with machines that are words: each step, and a bot killed between any two."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.fleet import enrolment
from bot.fleet.heartbeats import Heartbeats
from bot.fleet.scaling import shown
from bot.fleet.scaling.provider import Found, Listed, Machine, Newcomer, ProviderDown
from bot.fleet.scaling.scaler import PoolScaler, Scaler
from bot.secrets.vault import Vault
from bot.store.database import Store
from bot.store.tables import (
    Job,
    JobState,
    Release,
    ReleaseState,
    ScaledRow,
    ScaledState,
    WorkerRow,
)
from config.pools import Pool
from config.settings import Settings
from tests.bot.conftest import Rows
from workers.contract.credential import Credential
from workers.contract.memory import MemoryQueue
from workers.contract.messages import AttemptRef, Drain, Heartbeat, Order, now

POOL = Pool(name="builders", kind="processes", max=3, slots=2, wait=30, cooldown=0, boot=300)


class Killed(BaseException):
    """kill -9."""


class Queue(MemoryQueue):
    """Notes who was told to drain."""

    def __init__(self) -> None:
        super().__init__()
        self.connected_at = float("-inf")
        self.drained: set[str] = set()

    async def order(self, worker: str, order: Order) -> bool:
        assert isinstance(order, Drain)
        self.drained.add(worker)
        return True


@dataclass
class Words:
    """A provider whose machines are words."""

    machines: dict[str, Listed] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    protected: set[str] = field(default_factory=set)
    fails: str = ""
    deaf: str = ""
    brings: int = 0
    every: float = 0
    places: Sequence[str] = ("words:here",)

    async def list(self) -> Found:
        if self.deaf:
            raise ProviderDown(self.deaf)
        return Found(tuple(self.machines.values()), frozenset(self.places))

    async def bring(self, newcomers: Sequence[Newcomer]) -> None:
        self.brings += 1
        if self.fails:
            raise ProviderDown(self.fails)
        for one in newcomers:
            assert one.name not in self.machines
            self.settings[one.name] = await one.settings({})
            self.machines[one.name] = Listed(f"m-{one.name}", one.name, one.place)

    async def end(self, machine: Listed) -> None:
        self.ended.append(machine.worker or machine.id)
        self.machines = {name: one for name, one in self.machines.items() if one.id != machine.id}

    async def protect(self, machines: Collection[Listed]) -> None:
        self.protected = {machine.worker for machine in machines}


@dataclass
class Scene:
    store: Store
    rows: Rows
    settings: Settings
    queue: Queue
    words: Words
    pool: Pool = POOL
    scaler: PoolScaler = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self.vault = Vault(self.store, self.settings)
        self.restart()

    def restart(self) -> None:
        """A bot that knows nothing but what the store says."""
        shared = Scaler(self.store, self.queue, self.vault, self.settings)
        self.scaler = PoolScaler(shared, self.pool, self.words)

    async def jobs(self, number: int, **columns: Any) -> list[Job]:
        run = await self.rows.run()
        known = {"pool": "builders", "state": JobState.QUEUED, **columns}
        return [await self.rows.job(run, place, **known) for place in range(1, number + 1)]

    async def beat(self, worker: str, *attempts: Job, **fields: Any) -> None:
        """What a worker says of itself, by its credential's life."""
        beat = Heartbeat(
            worker=worker,
            instance=f"life of {self.words.settings.get(worker, '')[-60:]}",
            pool="builders",
            slots=2,
            address="127.0.0.1",
            software="",
            attempts=[AttemptRef(job=job.id, attempt=job.attempt) for job in attempts],
        )
        await Heartbeats(self.store, self.settings).answer(beat.model_copy(update=fields))

    async def set(self, job: Job, **columns: Any) -> None:
        async with self.store.transaction() as session:
            await session.exec(update(Job).where(col(Job.id) == job.id).values(**columns))

    async def states(self) -> dict[str, str]:
        async with self.store.reading() as session:
            found = (await session.exec(select(ScaledRow).order_by(col(ScaledRow.name)))).all()
        return {row.name: row.state.value for row in found}

    def counted(self) -> tuple[float | None, float | None]:
        """The workers that the metrics say are wanted, and are there."""
        value = partial(self.store.instruments.registry.get_sample_value, labels={"pool": "builders"})
        return value("blacktree_pool_workers_wanted"), value("blacktree_pool_workers_actual")

    async def shown(self) -> shown.ShownPool:
        settings = self.settings.model_copy(update={"pools": "builders: processes max=3 cooldown=0"})
        async with self.store.reading() as session:
            (pool,) = await shown.pools(session, settings, now())
        return pool


@pytest.fixture
def scene(store: Store, rows: Rows, tmp_path: Path) -> Scene:
    settings = Settings(
        data_dir=tmp_path, queue_url="amqp://bot:pw@rabbit.test/", registry="ghcr.io/acme", lease=60
    )
    return Scene(store, rows, settings, Queue(), Words())


@pytest.fixture
def much_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that failed is told again after more than a test takes."""
    monkeypatch.setattr("bot.fleet.scaling.rows._FIRST_WAIT", 300.0)


async def test_jobs_that_wait_bring_workers_with_credentials_of_their_own(scene: Scene) -> None:
    await scene.jobs(3)

    await scene.scaler.round()

    assert await scene.states() == {"builders-1": "starting", "builders-2": "starting"}
    assert scene.counted() == (2, 0)
    for name, text in scene.words.settings.items():
        told = dict(line.split(" = ", 1) for line in text.splitlines())
        credential = Credential.parse(told["worker_credential"].strip('"'))
        assert (credential.name, credential.pool) == (name, "builders")
        assert await enrolment.holds(scene.store, credential)
        assert (told["worker_slots"], told["queue_url"]) == ("2", '"amqp://bot:pw@rabbit.test/"')
    await scene.scaler.round()
    assert (scene.words.brings, len(scene.words.machines)) == (1, 2)
    assert scene.counted() == (2, 2)


async def test_who_was_heard_works_and_drains_when_nothing_is_left_to_do(scene: Scene) -> None:
    (job,) = await scene.jobs(1)
    await scene.scaler.round()
    await scene.beat("builders-1")
    await scene.scaler.round()
    assert await scene.states() == {"builders-1": "working"}
    assert scene.words.protected == {"builders-1"}

    await scene.set(job, state=JobState.SUCCEEDED)
    await scene.scaler.round()
    await scene.scaler.round()
    assert await scene.states() == {"builders-1": "draining"}
    assert (scene.queue.drained, scene.words.ended) == ({"builders-1"}, [])

    await scene.beat("builders-1", draining=True, stopped=True)
    for _ in range(3):
        await scene.scaler.round()
    assert (scene.words.ended, await scene.states()) == (["builders-1"], {})
    assert await enrolment.all_of(scene.store) == []


async def test_who_has_a_job_goes_neither_now_nor_while_it_drains(scene: Scene) -> None:
    (job,) = await scene.jobs(1)
    await scene.scaler.round()
    await scene.beat("builders-1")
    await scene.scaler.round()
    await scene.set(job, state=JobState.SUCCEEDED)
    await scene.scaler.round()
    await scene.scaler.round()
    assert await scene.states() == {"builders-1": "draining"}

    # It was given a job at that very moment.
    await scene.set(job, state=JobState.RUNNING, worker="builders-1", attempt=1)
    await scene.beat("builders-1", await scene.rows.again(job), draining=True)
    for _ in range(9):
        await scene.scaler.round()

    assert (scene.words.ended, await scene.states()) == ([], {"builders-1": "draining"})
    assert scene.words.protected == {"builders-1"}


async def test_who_serves_a_release_stays(scene: Scene) -> None:
    (job,) = await scene.jobs(1)
    await scene.scaler.round()
    await scene.beat("builders-1")
    await scene.scaler.round()
    await scene.set(job, state=JobState.SUCCEEDED)
    await scene.rows.release(job, state=ReleaseState.LIVE, worker="builders-1")

    for _ in range(3):
        await scene.scaler.round()
    assert await scene.states() == {"builders-1": "working"}
    assert (await scene.shown()).why == "nothing waits or runs; 1 stay with what they serve"

    async with scene.store.transaction() as session:
        await session.exec(update(Release).values(state=ReleaseState.RETIRED))
    for _ in range(3):
        await scene.scaler.round()
    assert await scene.states() == {"builders-1": "draining"}


@pytest.mark.usefixtures("much_later")
async def test_a_provider_that_fails_is_told_again_later_and_people_are_told_why(scene: Scene) -> None:
    await scene.jobs(1)
    scene.words.fails = "no space is left"

    for _ in range(5):
        await scene.scaler.round()

    assert scene.words.brings == 1
    pool = await scene.shown()
    assert (pool.wanted, pool.coming, pool.started[0].state) == (1, 1, ScaledState.STARTING)


@pytest.mark.usefixtures("much_later")
async def test_who_ends_before_it_is_heard_is_not_started_again_at_once(scene: Scene) -> None:
    await scene.jobs(1)
    await scene.scaler.round()
    here = scene.words.machines
    here["builders-1"] = replace(here["builders-1"], state=Machine.ENDED, problem="start Docker")

    for _ in range(5):
        await scene.scaler.round()

    assert (await scene.states(), scene.words.brings) == ({}, 1)
    assert "none can be started" in (why := (await scene.shown()).why)
    assert why.endswith("worker builders-1: it ended before it was heard: start Docker")


async def test_who_is_not_heard_in_time_is_ended(scene: Scene) -> None:
    scene.pool = POOL.model_copy(update={"boot": 0.001})
    scene.restart()
    await scene.jobs(1)
    for _ in range(4):
        await scene.scaler.round()

    assert scene.words.ended == ["builders-1"]


async def test_nothing_is_held_against_anybody_while_the_provider_is_silent(scene: Scene) -> None:
    (job,) = await scene.jobs(1)
    await scene.scaler.round()
    await scene.beat("builders-1")
    await scene.scaler.round()
    scene.words.deaf = "no answer"
    await scene.jobs(9)

    for _ in range(3):
        await scene.scaler.round()

    assert await scene.states() == {"builders-1": "working"}
    assert "none is started while it is not known which there are: no answer" in (await scene.shown()).why
    assert job is not None


async def test_an_orphan_is_ended_when_it_was_seen_twice(scene: Scene) -> None:
    scene.words.machines["builders-7"] = Listed("m-7", "builders-7", "words:here")
    scene.words.machines["?"] = Listed("m-8", "", "words:here")

    await scene.scaler.round()
    assert scene.words.ended == []
    await scene.scaler.round()

    assert sorted(scene.words.ended) == ["builders-7", "m-8"]


async def test_an_orphan_that_works_is_known_again(scene: Scene) -> None:
    await enrolment.add(scene.store, scene.vault, "builders-7", "builders")
    await scene.beat("builders-7")
    await scene.jobs(1)
    scene.words.machines["builders-7"] = Listed("m-7", "builders-7", "words:here")

    for _ in range(3):
        await scene.scaler.round()

    assert (await scene.states())["builders-7"] == "working"
    assert scene.words.ended == []


async def test_the_jobs_of_one_that_vanished_go_to_others(scene: Scene) -> None:
    (job,) = await scene.jobs(1)
    await scene.scaler.round()
    await scene.beat("builders-1")
    await scene.scaler.round()
    await scene.set(job, state=JobState.RUNNING, worker="builders-1", attempt=1)
    scene.words.machines.clear()
    async with scene.store.transaction() as session:
        long_ago = now().replace(year=2020)
        await session.exec(update(WorkerRow).values(seen_at=long_ago))

    for _ in range(2):
        await scene.scaler.round()

    again = await scene.rows.again(job)
    assert (again.state, again.sentence) == (JobState.QUEUED, "worker builders-1 is gone")


async def test_one_that_its_provider_is_about_to_end_drains(scene: Scene) -> None:
    await scene.jobs(1)
    await scene.scaler.round()
    await scene.beat("builders-1")
    await scene.scaler.round()
    here = scene.words.machines
    here["builders-1"] = replace(here["builders-1"], state=Machine.HELD)

    await scene.scaler.round()
    assert scene.queue.drained == {"builders-1"}
    assert (await scene.states())["builders-1"] == "draining"
    assert scene.words.protected == {"builders-1"}, "it is held until it has drained"

    await scene.beat("builders-1", draining=True, stopped=True)
    await scene.scaler.round()
    await scene.scaler.round()
    assert scene.words.ended == ["builders-1"]


class Mortal:
    """Kills whoever takes the `after`th step: before it is done, or when it is done."""

    def __init__(self, after: int) -> None:
        self.after = after
        self.steps = 0

    def step(self) -> None:
        self.steps += 1
        if self.steps == self.after:
            raise Killed

    def before_and_after(self, act: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        async def acted(*given: Any) -> None:
            self.step()
            await act(*given)
            self.step()

        return acted


async def lived(scene: Scene, mortal: Mortal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three jobs come and are done; the bot is killed at some step of it, and started again."""
    whole = scene.store.transaction

    @asynccontextmanager
    async def transaction() -> AsyncIterator[AsyncSession]:
        mortal.step()
        async with whole() as session:
            yield session
        mortal.step()

    bring, end = scene.words.bring, scene.words.end
    monkeypatch.setattr(scene.words, "bring", mortal.before_and_after(bring), raising=False)
    monkeypatch.setattr(scene.words, "end", mortal.before_and_after(end), raising=False)

    async def round_() -> None:
        monkeypatch.setattr(scene.store, "transaction", transaction)
        try:
            await scene.scaler.round()
        except Killed:
            scene.restart()
        finally:
            monkeypatch.setattr(scene.store, "transaction", whole)

    async def until(states: set[str], machines: int) -> None:
        """Round by round, and heartbeat by heartbeat, twelve at most."""
        for _ in range(12):
            await round_()
            for worker in list(scene.words.machines):
                drained = worker in scene.queue.drained
                mine = [job for job in running if job.worker == worker]
                await scene.beat(worker, *mine, draining=drained, stopped=drained and not mine)
            found = await scene.states()
            if (set(found.values()), len(found), len(scene.words.machines)) == (states, machines, machines):
                return
        raise AssertionError(f"killed at step {mortal.after}: {await scene.states()}, {scene.words.machines}")

    running: list[Job] = []
    jobs = await scene.jobs(3)
    await until({"working"}, 2)
    await scene.set(jobs[0], state=JobState.RUNNING, worker="builders-1", attempt=1)
    running.append(await scene.rows.again(jobs[0]))
    for job in jobs[1:]:
        await scene.set(job, state=JobState.SUCCEEDED)
    await until({"working"}, 1)
    assert "builders-1" in scene.words.machines, "it has a job"
    assert "builders-1" not in scene.words.ended, "it has a job"
    running.clear()
    await scene.set(jobs[0], state=JobState.SUCCEEDED)
    await until(set(), 0)


@pytest.mark.timeout(900)  # it lives as often as there are steps
async def test_a_bot_killed_at_any_step_leaves_nothing_wrong(
    store: Store, rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(data_dir=tmp_path, queue_url="amqp://rabbit.test/", registry="ghcr.io/acme", lease=60)
    after = 0
    while True:
        after += 1
        scene, mortal = Scene(store, rows, settings, Queue(), Words()), Mortal(after)

        await lived(scene, mortal, monkeypatch)

        assert await enrolment.all_of(store) == [], f"killed at step {after}"
        if mortal.steps < after:
            break
    assert after > 20, "every step was tried"


async def test_what_is_shown_of_a_pool(scene: Scene) -> None:
    await scene.jobs(3)
    before = await scene.shown()
    assert (before.wanted, before.workers, before.waiting) == (2, 0, 3)
    assert re.fullmatch(r"3 jobs wait, the oldest for \d+ s; 2 more to start", before.why)

    await scene.scaler.round()
    await scene.beat("builders-1")
    await scene.scaler.round()

    after = await scene.shown()
    assert (after.workers, after.slots, after.coming, after.draining, after.busy) == (1, 2, 1, 0, 0)
    assert [(one.name, one.state.value) for one in after.started] == [
        ("builders-1", "working"),
        ("builders-2", "starting"),
    ]
    async with scene.store.reading() as session:
        (unscaled,) = await shown.pools(session, scene.settings, now())
    assert (unscaled.scaled, unscaled.wanted) == (None, None)
    assert "BLACKTREE_POOLS does not name it" in unscaled.why


async def test_jobs_that_ask_for_what_no_worker_of_the_pool_has_bring_none(scene: Scene) -> None:
    await scene.jobs(1, pool="builders+gpu")
    await scene.scaler.round()
    assert await scene.states() == {}


async def test_jobs_that_ask_for_labels_bring_workers_where_those_may_have_them(scene: Scene) -> None:
    scene.pool = POOL.model_copy(update={"labels": "gpu"})
    scene.restart()
    await scene.jobs(1, pool="builders+gpu")
    await scene.scaler.round()
    assert 'worker_labels = "gpu"' in scene.words.settings["builders-1"]
    assert await scene.states() == {"builders-1": "starting"}

    await scene.beat("builders-1", labels=["amd64"])
    for _ in range(2):
        await scene.scaler.round()
    assert await scene.states() == {
        "builders-1": "draining"
    }  # it is not what they wait for, nor would another be


async def test_a_worker_whose_job_asks_for_a_label_is_busy(scene: Scene) -> None:
    scene.pool = POOL.model_copy(update={"labels": "gpu"})
    scene.restart()
    (job,) = await scene.jobs(1, pool="builders+gpu")
    await scene.scaler.round()
    await scene.beat("builders-1", labels=["gpu"])
    await scene.set(job, state=JobState.RUNNING, worker="builders-1")
    for _ in range(3):
        await scene.scaler.round()

    assert await scene.states() == {"builders-1": "working"}
    assert [pool.name for pool in [await scene.shown()]] == ["builders"]
