"""What either queue promises."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import pytest

from tests.workers.contract.conftest import POOL, Bot, Ends, eventually
from workers.contract.messages import (
    Cancel,
    Claim,
    Heartbeat,
    LogChunk,
    Nudge,
    Offer,
    Order,
    Refusal,
    Step,
    StepChanged,
    StepReport,
    now,
)
from workers.contract.queue import QueueDown, Taken, WorkerQueue
from workers.contract.shells import Printed, ShellSaid, Still, Stream

pytestmark = pytest.mark.timeout(600)  # the broker may have to be started first


def offer(job: str = "job-1") -> Offer:
    return Offer(job=job, pool=POOL)


def claim(worker: str = "w1") -> Claim:
    return Claim(job="job-1", worker=worker, instance="i", nonce="n", public_key="00")


def step(attempt: int) -> StepChanged:
    return StepChanged(job="job-1", attempt=attempt, step=StepReport(name=Step.BUILD, started_at=now()))


def line(offset: int) -> LogChunk:
    return LogChunk(job="job-1", attempt=1, offset=offset, text="ünïcode\n")


async def take(queue: WorkerQueue) -> Taken:
    return await queue.take(POOL)


async def waiting(ends: Ends, number: int, *pools: str) -> None:
    """Returns once so many offers wait there. A broker that is busy may say for a moment that none does."""

    async def so_many() -> bool:
        return sum([await ends.bot.depth(pool) for pool in pools]) == number

    await eventually(so_many)


async def test_an_offer_is_taken_and_acknowledged_once(ends: Ends) -> None:
    await ends.bot.offer(offer())
    await waiting(ends, 1, POOL)
    taken = await ends.worker.take(POOL)
    assert taken.offer == offer()
    assert not taken.redelivered
    await taken.ack()
    await taken.ack()
    assert await ends.bot.depth(POOL) == 0


async def test_a_taker_that_waits_gets_the_offer(ends: Ends) -> None:
    taking = asyncio.create_task(take(ends.worker))
    await asyncio.wait({taking}, timeout=0.1)
    assert not taking.done()
    await ends.bot.offer(offer())
    await (await taking).ack()


async def test_one_of_two_takers_gets_an_offer(ends: Ends) -> None:
    takers: set[asyncio.Task[Taken]] = {
        asyncio.create_task(take(queue)) for queue in (ends.worker, ends.other)
    }
    await ends.bot.offer(offer("first"))
    done, waiting = await asyncio.wait(takers, return_when=asyncio.FIRST_COMPLETED)
    assert len(done) == 1
    first = done.pop().result()
    assert first.offer.job == "first"
    await ends.bot.offer(offer("second"))
    second = await waiting.pop()
    assert second.offer.job == "second"
    await first.ack()
    await second.ack()


async def test_a_running_attempt_reserves_no_second_offer(ends: Ends) -> None:
    for job in ("first", "second"):
        await ends.bot.offer(offer(job))
    first = await ends.worker.take(POOL)
    await waiting(ends, 1, POOL)
    await first.ack()
    second = await ends.other.take(POOL)
    assert second.offer.job == "second"
    await second.ack()


async def test_what_is_given_back_goes_to_another(ends: Ends) -> None:
    await ends.bot.offer(offer())
    await (await ends.worker.take(POOL)).give_back()
    again = await ends.other.take(POOL)
    assert again.offer == offer()
    await again.ack()


async def test_a_cancelled_take_loses_nothing(ends: Ends) -> None:
    for job in map(str, range(25)):
        taking = asyncio.create_task(take(ends.worker))
        await asyncio.wait({taking}, timeout=random.uniform(0, 0.02))
        offering = asyncio.create_task(ends.bot.offer(offer(job)))
        await asyncio.wait({taking}, timeout=random.uniform(0, 0.02))
        taking.cancel()
        await asyncio.wait({taking})
        await offering
        taken = await ends.other.take(POOL) if taking.cancelled() else taking.result()
        assert taken.offer.job == job
        await taken.ack()
    assert await ends.bot.depth(POOL) == 0


GPU = f"{POOL}+gpu"


async def test_of_several_lines_none_is_preferred_and_one_offer_is_reserved_at_most(ends: Ends) -> None:
    many = 14  # that the first half of all is of one line then would be a rare chance
    for number in range(many):
        await ends.bot.offer(offer(f"plain-{number}"))
        await ends.bot.offer(offer(f"gpu-{number}").model_copy(update={"pool": GPU}))
    order = []
    for left in range(2 * many - 1, -1, -1):
        taken = await ends.worker.take(POOL, GPU)
        await waiting(ends, left, POOL, GPU)
        assert not taken.redelivered
        order.append(taken.offer.job)
        await taken.ack()
    assert [job for job in order if job.startswith("gpu")] == [f"gpu-{number}" for number in range(many)]
    assert [job for job in order if job.startswith("plain")] == [f"plain-{number}" for number in range(many)]
    assert len({job.split("-")[0] for job in order[:many]}) == 2, "both are taken from"


async def test_who_waits_at_several_lines_gets_one_offer_and_loses_none_when_cancelled(ends: Ends) -> None:
    await ends.bot.depth(POOL), await ends.bot.depth(GPU)
    for number in range(6):
        taking = asyncio.create_task(_of_both(ends.worker))
        await asyncio.wait({taking}, timeout=0.1)
        assert not taking.done()
        both = [offer(f"{number}-a"), offer(f"{number}-b").model_copy(update={"pool": GPU})]
        await asyncio.gather(*map(ends.bot.offer, both))
        if number % 2:
            taking.cancel()
        await asyncio.wait({taking})
        jobs: set[str] = set()
        while len(jobs) < 2:
            taken = await _of_both(ends.other) if taking.cancelled() or jobs else taking.result()
            assert taken.offer.job not in jobs
            jobs.add(taken.offer.job)
            await taken.ack()
        assert jobs == {f"{number}-a", f"{number}-b"}
    assert await ends.bot.depth(POOL) == await ends.bot.depth(GPU) == 0


async def _of_both(queue: WorkerQueue) -> Taken:
    return await queue.take(POOL, GPU)


async def test_requests_are_answered_side_by_side(ends: Ends) -> None:
    async with Bot().serving(ends.bot):
        beat = Heartbeat(worker="w2", instance="i", pool=POOL, slots=1, address="", software="")
        answers = await asyncio.gather(
            ends.worker.request(claim(), 60),
            ends.other.request(beat, 60),
            ends.worker.request(claim("w3"), 60),
        )
    assert list(answers) == [Refusal(reason="w1"), Refusal(reason="w2"), Refusal(reason="w3")]


async def test_a_request_that_nobody_answers_times_out(ends: Ends) -> None:
    with pytest.raises(TimeoutError):
        await ends.worker.request(claim(), 0.3)


async def test_events_come_in_order(ends: Ends) -> None:
    told = [step(attempt) for attempt in range(20)]
    bot = Bot()
    for event in told[:5]:
        await ends.worker.tell(event)
    async with bot.serving(ends.bot):
        for event in told[5:]:
            await ends.worker.tell(event)
        await eventually(lambda: len(bot.heard) == len(told))
    assert bot.heard == told


async def test_log_lines_come_in_order(ends: Ends) -> None:
    told = [line(offset) for offset in range(50)]
    bot = Bot()
    for chunk in told[:40]:
        await ends.worker.tell(chunk)
    async with bot.serving(ends.bot):
        for chunk in told[40:]:
            await ends.worker.tell(chunk)
        await eventually(lambda: len(bot.heard) == len(told))
    assert bot.heard == told


@pytest.mark.parametrize(
    "events", [[step(1), step(2), step(3)], [line(0), line(1), line(2)]], ids=["step", "log"]
)
async def test_an_event_that_is_not_taken_comes_again_before_the_next(
    ends: Ends, events: list[StepChanged | LogChunk]
) -> None:
    bot = Bot(refuses=[ValueError])
    async with bot.serving(ends.bot):
        for event in events:
            await ends.worker.tell(event)
        await eventually(lambda: len(bot.heard) == len(events))
    assert bot.heard == events


async def test_orders_reach_a_worker_that_is_connected(ends: Ends) -> None:
    assert not await ends.bot.order("w1", Nudge())
    heard: list[Order] = []

    async def hear() -> None:
        async for order in ends.worker.orders("w1"):
            heard.append(order)  # noqa: PERF401

    async def reached() -> bool:
        return await ends.bot.order("w1", Nudge())

    hearing = asyncio.create_task(hear())
    await eventually(reached)
    assert await ends.bot.order("w1", Cancel(job="job-1", attempt=2))
    assert not await ends.bot.order("w2", Nudge())
    await eventually(lambda: heard == [Nudge(), Cancel(job="job-1", attempt=2)])
    hearing.cancel()
    await asyncio.wait({hearing})

    async def gone() -> bool:
        return not await reached()

    await eventually(gone)


async def test_what_is_said_of_a_shell_comes_in_order_and_to_nobody_when_that_is_gone(ends: Ends) -> None:
    name = "of-a-shell"
    async with ends.bot.shell(name, "w1") as hearing:
        for number in range(20):
            what = Printed(stream=Stream.OUT, data=bytes((0, number, 255)))
            await ends.worker.say(ShellSaid(shell=name, number=number, what=what))
        heard = [await asyncio.wait_for(hearing(), 30) for _ in range(20)]
    assert [(one.number, getattr(one.what, "data", b"")[1]) for one in heard] == [(n, n) for n in range(20)]

    async def unheard() -> bool:
        with suppress(QueueDown):
            await ends.worker.say(ShellSaid(shell=name, number=20, what=Still()))
            return False
        return True

    await eventually(unheard)  # a broker removes the queue just after it has closed the channel
