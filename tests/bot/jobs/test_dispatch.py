"""What is offered, and when: no more than is taken soon, in the order of turns."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from sqlmodel import col, select

from bot.jobs import ending, lifecycle, needs
from bot.jobs.dispatch import Dispatcher
from bot.jobs.turns import SPARE
from bot.store.database import Store
from bot.store.tables import Job, JobState, Report, ReportKind, Repository, WorkerRow
from bot.sweeps import lost_messages
from tests.bot.conftest import Rows
from workers.contract.memory import MemoryQueue
from workers.contract.messages import Failed, Fault, Finished, Kind, Nudge, Offer, Order, Succeeded, now
from workers.contract.queue import QueueDown

LEASE = 300.0  # longer than anything here takes: who was heard once is there


class World:
    """A pool, who works in it, and what its queue holds."""

    def __init__(self, store: Store, rows: Rows) -> None:
        self.store = store
        self.rows = rows
        self.queue = MemoryQueue()
        self.dispatcher = Dispatcher(store, self.queue, LEASE)

    async def dispatch(self) -> None:
        await self.dispatcher._admit()
        await self.dispatcher._offer()

    async def worker(self, slots: int, name: str = "one", labels: str = "amd64") -> None:
        row = WorkerRow(
            name=name, instance="i", pool="default", slots=slots, address="", software="", labels=labels
        )
        async with self.store.transaction() as session:
            session.add(row)

    async def pushes(self, repository: int, count: int) -> list[str]:
        """That many runs with one build each; their jobs."""
        async with self.store.transaction() as session:
            if await session.get(Repository, repository) is None:
                session.add(Repository(id=repository, full_name=f"acme/{repository}", default_branch="main"))
        runs = [await self.rows.run(repository_id=repository) for _ in range(count)]
        return [(await self.rows.job(run)).id for run in runs]

    async def taken(self) -> str:
        """What the next slot that is free gets; it is granted."""
        offer = (await asyncio.wait_for(self.queue.take("default"), 60)).offer
        async with self.store.transaction() as session:
            job = await session.get_one(Job, offer.job)
            assert await lifecycle.move(session, job, JobState.RUNNING, attempt=1, worker="one")
        return offer.job

    async def ends(self, job: str) -> None:
        async with self.store.transaction() as session:
            row = await session.get_one(Job, job)
            ended = Finished(job=job, attempt=1, at=now(), steps=[], result=Succeeded())
            await ending.finished(session, row, ended)

    async def offered(self) -> list[str]:
        wanted = select(Job.id).where(Job.state == JobState.QUEUED, col(Job.offered_at).is_not(None))
        async with self.store.reading() as session:
            return sorted((await session.exec(wanted)).all())


@pytest.fixture
def world(store: Store, rows: Rows) -> World:
    return World(store, rows)


async def test_a_pool_that_nobody_serves_is_offered_a_few_and_the_rest_stays_in_the_store(
    world: World,
) -> None:
    jobs = await world.pushes(7, 20)
    for _ in range(3):
        await world.dispatch()

    assert await world.queue.depth("default") == SPARE
    assert await world.offered() == sorted(jobs[:SPARE])


async def test_a_queue_holds_what_free_slots_take_and_a_few_and_is_filled_up_as_they_do(world: World) -> None:
    await world.worker(slots=3)
    jobs = await world.pushes(7, 10)
    await world.dispatch()
    assert await world.queue.depth("default") == 3 + SPARE

    running = [await world.taken() for _ in range(3)]
    await world.dispatch()
    assert (running, await world.queue.depth("default")) == (jobs[:3], SPARE)

    await world.ends(running[0])
    await world.dispatch()
    assert await world.queue.depth("default") == 1 + SPARE


async def test_a_worker_that_drains_or_is_silent_gets_nothing_in_advance(world: World) -> None:
    await world.worker(slots=50)
    async with world.store.transaction() as session:
        (await session.get_one(WorkerRow, "one")).draining = True
    await world.pushes(7, 10)
    await world.dispatch()
    assert await world.queue.depth("default") == SPARE


async def test_one_push_beside_many_of_another_repository_is_next_but_for_what_is_offered(
    world: World,
) -> None:
    await world.pushes(7, 30)
    await world.dispatch()
    (one,) = await world.pushes(8, 1)
    await world.dispatch()

    order = []
    for _ in range(SPARE + 2):
        order.append(await world.taken())
        await world.dispatch()
    assert one in order


async def test_production_goes_before_previews_that_came_first(world: World) -> None:
    run = await world.rows.run()
    previews = [
        await world.rows.job(await world.rows.run(), kind=Kind.DEPLOY, name=f"pr-{n}", spec={"queues": True})
        for n in range(6)
    ]
    await world.dispatch()
    production = await world.rows.job(run, kind=Kind.DEPLOY, name="production")
    await world.dispatch()

    order = []
    for _ in range(SPARE + 1):
        order.append(await world.taken())
        await world.dispatch()
    assert order == [*(one.id for one in previews[:SPARE]), production.id]


async def test_a_dispatcher_that_starts_anew_goes_on_in_the_same_order(world: World) -> None:
    jobs = await world.pushes(7, 8)
    await world.dispatch()
    order = [await world.taken()]

    world.dispatcher = Dispatcher(world.store, world.queue, LEASE)
    (other,) = await world.pushes(8, 1)
    while len(order) < 9:
        await world.dispatch()
        order.append(await world.taken())
    assert [job for job in order if job != other] == jobs
    assert order.index(other) <= SPARE + 1, "another repository's job is not behind all of them"


async def test_a_job_that_needs_two_starts_when_both_have_succeeded(world: World) -> None:
    await world.worker(slots=4)
    run = await world.rows.run()
    builds = [await world.rows.job(run, place, name=f"image-{place}") for place in (1, 2)]
    deploy = await world.rows.job(run, 3, Kind.DEPLOY, "production", needs=[one.id for one in builds])
    await world.dispatch()
    taken = [await world.taken() for _ in builds]

    for count, job in enumerate(taken):
        assert (await world.rows.again(deploy)).unmet == 2 - count
        assert (await world.rows.again(deploy)).state is JobState.WAITING
        await world.ends(job)
        await world.dispatch()
    assert (await world.rows.again(deploy)).state is JobState.QUEUED
    assert await world.offered() == [deploy.id]


async def test_a_dispatcher_that_starts_anew_knows_the_pools_in_which_jobs_stand(world: World) -> None:
    run = await world.rows.run()
    await world.rows.job(run, pool="gpu", state=JobState.QUEUED)
    await world.pushes(7, 1)

    await world.dispatch()
    assert [await world.queue.depth(pool) for pool in ("gpu", "default")] == [1, 1]


async def test_a_job_that_is_tried_again_is_offered_however_unknown_its_pool(world: World) -> None:
    job = await world.rows.job(await world.rows.run(), pool="gpu", state=JobState.RUNNING, attempt=1)
    await world.dispatch()

    await _lost(world, job.id)
    await world.dispatch()
    assert await world.queue.depth("gpu") == 1


async def _lost(world: World, job: str) -> None:
    """Its worker has gone; it may be tried again at once."""
    async with world.store.transaction() as session:
        row = await session.get_one(Job, job)
        gone = Failed(fault=Fault.OURS, reason="worker_lost", sentence="gone")
        await ending.failed(session, row, gone)
        row.not_before = now()


async def test_one_push_after_another_does_not_keep_out_what_waits(world: World) -> None:
    """Each comes when one may be offered, so that it has none of its own before it."""
    many = await world.pushes(7, 6)
    await world.dispatch()
    order = []
    for _ in range(3 * len(many)):
        order.append(await world.taken())
        await world.ends(order[-1])
        await world.pushes(8, 1)
        await world.dispatch()
    assert set(many) <= set(order)


async def test_a_dispatcher_that_starts_anew_puts_nobody_before_what_was_offered(world: World) -> None:
    """What runs alone tells how far its pool has come: when it is tried again, newcomers do not pass it."""
    far = 2 * 5000
    run = await world.rows.run()
    job = await world.rows.job(run, state=JobState.RUNNING, attempt=1, rank=2, turn=far)
    newcomers = await world.pushes(8, 8)
    await world.dispatch()
    for _ in newcomers[:SPARE]:
        await world.ends(await world.taken())

    await _lost(world, job.id)
    await world.dispatch()
    assert job.id in [await world.taken() for _ in range(2)]


async def test_what_waits_for_a_worker_that_is_away_does_not_bring_newcomers_before_all(world: World) -> None:
    """After a start too, it stands at a place that its pool has long passed."""
    far, away = 2 * 5000, now() + timedelta(hours=1)
    run = await world.rows.run()
    await world.rows.job(run, 1, state=JobState.QUEUED, rank=2, turn=0, not_before=away)
    await world.rows.job(run, 2, state=JobState.RUNNING, attempt=1, rank=2, turn=far)
    waits = await world.rows.job(run, 3, state=JobState.QUEUED, rank=2, turn=far + 3)
    await world.pushes(8, 4)

    await world.dispatch()
    assert waits.id in [await world.taken() for _ in range(2)]


async def test_what_a_bot_of_before_wrote_is_counted_when_leading_begins(world: World) -> None:
    run = await world.rows.run()
    await world.rows.job(run, 1, state=JobState.SUCCEEDED)
    never = await world.rows.job(run, 2, Kind.DEPLOY, "staging", needs=["1-1"], unmet=-1)
    stale = await world.rows.job(run, 3, Kind.DEPLOY, "production", needs=["1-1"], unmet=1)
    early = await world.rows.job(run, 4, Kind.DEPLOY, "demo", needs=["1-1", "1-5"], unmet=-1)
    await world.rows.job(run, 5, state=JobState.RUNNING, attempt=1)

    await needs.recount(world.store)
    assert [(await world.rows.again(job)).unmet for job in (never, stale, early)] == [0, 0, 1]


async def test_offers_that_were_lost_stand_in_line_again_and_the_dispatcher_chooses(world: World) -> None:
    """As after a restart of a queue that kept nothing, with more offers than are taken soon."""
    run = await world.rows.run()
    for place in range(1, 7):
        turn = 2 * (6 - place)
        await world.rows.job(run, place, state=JobState.QUEUED, offered_at=now(), rank=2, turn=turn)

    await lost_messages.sweep(world.store, world.queue, older=0)
    assert (await world.offered(), await world.queue.depth("default")) == ([], 0)

    await world.dispatch()
    assert await world.queue.depth("default") == SPARE
    assert [await world.taken() for _ in range(SPARE)] == [f"{run.id}-6", f"{run.id}-5"]


class Meddled(MemoryQueue):
    """A queue beside which something happens while it takes an offer."""

    def __init__(self, meanwhile: Callable[[Offer], Awaitable[None]]) -> None:
        super().__init__()
        self._meanwhile = meanwhile

    async def offer(self, offer: Offer) -> None:
        await self._meanwhile(offer)
        await super().offer(offer)


async def test_what_follows_from_an_offer_at_once_is_not_overwritten_by_it(world: World) -> None:
    """A worker has it, fails, and it stands in line again before the queue has said that it took it."""

    async def claimed_and_lost(offer: Offer) -> None:
        async with world.store.transaction() as session:
            job = await session.get_one(Job, offer.job)
            assert await lifecycle.move(session, job, JobState.RUNNING, attempt=1, worker="one")
        await _lost(world, offer.job)

    (job,) = await world.pushes(7, 1)
    world.dispatcher = Dispatcher(world.store, Meddled(claimed_and_lost), LEASE)
    await world.dispatch()

    assert await world.offered() == []
    world.dispatcher = Dispatcher(world.store, world.queue, LEASE)
    await world.dispatch()
    assert await world.taken() == job


async def test_what_changed_since_it_was_read_is_not_offered(world: World) -> None:
    (job,) = await world.pushes(7, 1)
    await world.dispatcher._admit()
    async with world.store.reading() as session:
        read = await session.get_one(Job, job)
    async with world.store.transaction() as session:
        (await session.get_one(Job, job)).attempt = 1

    assert await world.dispatcher._noted([read]) == []
    assert await world.offered() == []


async def test_offers_come_to_the_queue_in_their_order_however_long_each_takes(world: World) -> None:
    await world.worker(slots=4)
    jobs = await world.pushes(7, 4)
    waits = iter((0.05, 0.03, 0.01, 0.0))
    queue = Meddled(lambda _: asyncio.sleep(next(waits)))
    world.dispatcher = Dispatcher(world.store, queue, LEASE)

    await world.dispatch()
    assert [(await queue.take("default")).offer.job for _ in jobs] == jobs


async def test_what_the_queue_does_not_take_stands_in_line_again(world: World) -> None:
    async def down(offer: Offer) -> None:
        raise QueueDown(f"no {offer.job}")

    jobs = await world.pushes(7, 2)
    world.dispatcher = Dispatcher(world.store, Meddled(down), LEASE)
    await world.dispatch()
    assert await world.offered() == []

    world.dispatcher = Dispatcher(world.store, world.queue, LEASE)
    await world.dispatch()
    assert [await world.taken() for _ in jobs] == jobs


async def test_a_queue_that_takes_nothing_is_asked_now_and_then(world: World) -> None:
    """What is noted and taken back meanwhile does not wake the dispatcher up."""
    asked: list[float] = []
    twice = asyncio.Event()

    async def down(offer: Offer) -> None:
        asked.append(asyncio.get_running_loop().time())
        if len(asked) == 2:
            twice.set()
        raise QueueDown(f"no {offer.job}")

    await world.pushes(7, 1)
    running = asyncio.create_task(Dispatcher(world.store, Meddled(down), LEASE).run())
    try:
        async with asyncio.timeout(60):
            await twice.wait()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert asked[1] - asked[0] >= 1


async def test_a_repository_at_its_limit_waits_in_line_and_nobody_behind_it_does(world: World) -> None:
    world.dispatcher = Dispatcher(world.store, world.queue, LEASE, repository_jobs=2)
    await world.worker(slots=6)
    many = await world.pushes(7, 30)
    others = await world.pushes(8, 4)
    await world.dispatch()
    assert await world.offered() == sorted([*many[:2], *others[:2]])

    running = [await world.taken() for _ in range(4)]
    await world.dispatch()
    assert await world.offered() == []

    await world.ends(many[0])
    await world.dispatch()
    assert await world.offered() == [many[2]]
    assert set(running) == {*many[:2], *others[:2]}


async def test_what_runs_in_another_pool_counts_and_what_is_only_offered_there_does_not(world: World) -> None:
    world.dispatcher = Dispatcher(world.store, world.queue, LEASE, repository_jobs=2)
    run = await world.rows.run()
    await world.rows.job(run, 1, pool="gpu", state=JobState.QUEUED, offered_at=now())
    await world.rows.job(run, 2, pool="gpu", state=JobState.QUEUED, offered_at=now())
    await world.rows.job(run, 3, pool="gpu", state=JobState.RUNNING, attempt=1)
    jobs = [await world.rows.job(run, place) for place in (4, 5)]

    await world.dispatch()
    assert await world.queue.depth("default") == 1
    assert (await world.rows.again(jobs[0])).offered_at is not None


async def test_a_repositorys_own_limit_holds_where_the_instance_has_none(world: World) -> None:
    await world.worker(slots=6)
    jobs = await world.pushes(7, 4)
    async with world.store.transaction() as session:
        (await session.get_one(Repository, 7)).at_once = 1
    await world.dispatch()
    assert await world.offered() == [jobs[0]]


async def test_of_repositories_beside_one_at_its_limit_each_gets_its_turn_in_order(world: World) -> None:
    world.dispatcher = Dispatcher(world.store, world.queue, LEASE, repository_jobs=3)
    await world.worker(slots=9)
    run = await world.rows.run()
    for place in range(1, 4):
        await world.rows.job(run, place, state=JobState.RUNNING, attempt=1, worker="one")
    await world.pushes(7, 20)
    two, three = await world.pushes(8, 3), await world.pushes(9, 3)
    await world.dispatch()
    order = [await world.taken() for _ in range(6)]
    assert order == [job for pair in zip(two, three, strict=True) for job in pair]


async def test_a_job_stands_in_the_line_of_its_labels_and_goes_to_who_has_them(world: World) -> None:
    await world.worker(4)
    await world.worker(2, "big", "amd64+gpu")
    run = await world.rows.run()
    jobs = [await world.rows.job(run, place, spec={"runs_on": ["gpu"]}) for place in range(1, 6)]
    plain = await world.rows.job(run, 6, spec={"runs_on": []})
    await world.dispatch()

    assert {(await world.rows.again(job)).pool for job in jobs} == {"default+gpu"}
    assert await world.queue.depth("default+gpu") == 2 + SPARE
    assert (await world.rows.again(plain)).pool == "default"
    assert await world.queue.depth("default") == 1


async def test_an_image_of_one_architecture_goes_to_the_workers_that_have_it_if_any(
    world: World,
) -> None:
    run = await world.rows.run()
    await world.worker(1)
    foreign = await world.rows.job(run, 1, spec={"platforms": ["linux/arm64"]})
    await world.dispatch()
    assert (await world.rows.again(foreign)).pool == "default", "it is emulated"

    await world.worker(1, "arm", "arm64")
    native = await world.rows.job(run, 2, spec={"platforms": ["linux/arm64"]})
    await world.dispatch()
    assert (await world.rows.again(native)).pool == "default+arm64"


async def test_what_no_worker_has_is_said_of_the_job_until_one_has_it(world: World) -> None:
    await world.worker(4)
    run = await world.rows.run()
    job = await world.rows.job(run, 1, spec={"runs_on": ["gpu", "big"]}, context="blacktree/build")
    await world.dispatch()
    assert (await world.rows.again(job)).sentence == "Waits for a worker with big and gpu"
    assert await _told(world) == ["Queued", "Waits for a worker with big and gpu"]

    late = await world.rows.job(run, 2, spec={"runs_on": ["gpu", "big"]})
    await world.dispatch()
    assert (await world.rows.again(late)).sentence == "Waits for a worker with big and gpu"

    await world.worker(1, "big", "amd64+big+gpu")
    await world.dispatch()
    assert {(await world.rows.again(one)).sentence for one in (job, late)} == {""}
    assert (await _told(world))[-1] == "Queued"


async def _told(world: World) -> list[str]:
    """The descriptions that are owed, in their order."""
    owed = select(Report).where(Report.kind == ReportKind.STATUS).order_by(col(Report.id))
    async with world.store.reading() as session:
        found = (await session.exec(owed)).all()
    return [row.payload["description"] for row in found if row.payload["context"] == "blacktree/build"]


async def test_workers_hear_of_a_line_that_is_new_to_them(world: World) -> None:
    await world.worker(1, "big", "amd64+gpu")

    async def ordered() -> Order:
        return await anext(world.queue.orders("big"))

    heard = asyncio.create_task(ordered())
    await asyncio.sleep(0)
    await world.rows.job(await world.rows.run(), 1, spec={"runs_on": ["gpu"]})
    await world.dispatch()
    assert isinstance(await asyncio.wait_for(heard, 60), Nudge)
