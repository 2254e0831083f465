"""What the bot hands to one worker comes to one of its slots, once, and nothing is lost."""

from __future__ import annotations

import asyncio

import pytest

from tests.workers.contract.conftest import POOL
from workers.contract.handed import Hand
from workers.contract.memory import MemoryQueue
from workers.contract.messages import Offer, Take


def take(job: str) -> Take:
    return Take(job=job, pool=POOL)


async def test_what_is_handed_is_taken_beside_the_pools_offers_and_once() -> None:
    queue, hand = MemoryQueue(), Hand()
    await queue.offer(Offer(job="pools", pool=POOL))
    hand.put(take("own"))
    hand.put(take("own"))

    assert {(await hand.next(queue, POOL)).offer.job for _ in range(2)} == {"own", "pools"}
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(hand.next(queue, POOL), 0.05)


async def test_a_slot_that_waits_for_the_pool_gets_what_is_handed() -> None:
    queue, hand = MemoryQueue(), Hand()
    waiting = asyncio.create_task(hand.next(queue, POOL))
    await asyncio.sleep(0)
    hand.put(take("own"))

    taken = await asyncio.wait_for(waiting, 60)

    assert taken.offer == Offer(job="own", pool=POOL)
    await taken.give_back()
    await taken.ack()
    hand.put(take("own"))  # by now it may be handed again
    assert (await hand.next(queue, POOL)).offer.job == "own"


async def test_one_of_two_waiting_slots_gets_what_is_handed() -> None:
    queue, hand = MemoryQueue(), Hand()
    slots = [asyncio.create_task(hand.next(queue, POOL)) for _ in range(2)]
    await asyncio.sleep(0)
    hand.put(take("own"))

    done, _ = await asyncio.wait(slots, timeout=60, return_when=asyncio.FIRST_COMPLETED)
    assert [slot.result().offer.job for slot in done] == ["own"]
    await queue.offer(Offer(job="pools", pool=POOL))
    jobs = {(await asyncio.wait_for(slot, 60)).offer.job for slot in slots}
    assert jobs == {"own", "pools"}


async def test_a_slot_that_is_cancelled_loses_nothing() -> None:
    queue, hand = MemoryQueue(), Hand()
    waiting = asyncio.create_task(hand.next(queue, POOL))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    hand.put(take("own"))
    await queue.offer(Offer(job="pools", pool=POOL))

    assert {(await hand.next(queue, POOL)).offer.job for _ in range(2)} == {"own", "pools"}
