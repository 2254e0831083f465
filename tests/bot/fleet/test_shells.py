"""What the bot does between a person and a worker: it passes on, and trusts neither."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from pydantic import ValidationError

from bot.fleet import shells
from bot.fleet.shells import Relay
from workers.contract.memory import MemoryQueue
from workers.contract.messages import ShellOrder
from workers.contract.shells import (
    OUT,
    PIECE,
    WINDOW,
    Back,
    Began,
    Close,
    Eof,
    Numbers,
    Over,
    Overrun,
    Printed,
    ShellSaid,
    Sized,
    Start,
    Stream,
    Took,
    Typed,
    Wanted,
    Why,
    Window,
    packed,
)

START = Start(instance="1", release="r", wanted=Wanted(), idle=60, longest=60)


@dataclass
class Person:
    """Somebody who does what a test says."""

    does: asyncio.Queue[Typed | Eof | Sized | Took | Over | ValueError | None] = field(
        default_factory=asyncio.Queue
    )
    told: list[Began | Printed | Took] = field(default_factory=list)

    async def heard(self) -> Typed | Eof | Sized | Took | Over | None:
        what = await self.does.get()
        if isinstance(what, ValueError):
            raise what
        return what

    async def tell(self, what: Began | Printed | Took) -> None:
        self.told.append(what)


@dataclass
class Worker:
    """The other end."""

    queue: MemoryQueue
    orders: AsyncIterator[object]
    said: int = 0

    async def hears(self) -> ShellOrder:
        order = await anext(self.orders)
        assert isinstance(order, ShellOrder)
        return order

    async def say(self, what: Back, skip: int = 0) -> None:
        self.said += skip
        await self.queue.say(ShellSaid(shell=NAME, number=self.said, what=what))
        self.said += 1


NAME = "of-a-shell"


@dataclass
class Scene:
    """A shell that has begun."""

    person: Person
    worker: Worker
    ends: asyncio.Task[Over]


async def yes() -> bool:
    return True


@asynccontextmanager
async def begun(may: Callable[[], Awaitable[bool]] = yes) -> AsyncIterator[Scene]:
    queue, person = MemoryQueue(), Person()
    worker = Worker(queue, aiter(queue.orders("one")))
    listening = asyncio.create_task(worker.hears())
    await asyncio.sleep(0)
    ends = asyncio.create_task(Relay(queue, NAME, "one", person, may).run(START))
    try:
        async with asyncio.timeout(30):
            assert (await listening).what == START
            await worker.say(Began(container="shop-1"))
            yield Scene(person, worker, ends)
    finally:
        ends.cancel()
        await asyncio.gather(ends, return_exceptions=True)


async def test_what_either_says_reaches_the_other_and_the_end_comes_from_the_command() -> None:
    async with begun() as scene:
        scene.person.does.put_nowait(Typed(data=b"ls\n"))
        order = await scene.worker.hears()
        assert (order.number, order.what) == (1, Typed(data=b"ls\n"))
        printed = Printed(stream=Stream.ERR, data=b"\x00\xff")
        for what in (Took(bytes=3), printed, Over(why=Why.ENDED, code=3)):
            await scene.worker.say(what)
        assert await scene.ends == Over(why=Why.ENDED, code=3)
        assert scene.person.told == [Began(container="shop-1"), Took(bytes=3), printed]


@pytest.mark.parametrize(
    ("does", "why"),
    [
        (None, Why.LEFT),
        (Over(why=Why.LOST, sentence="the bot stops"), Why.LOST),
        (ValueError("with a secret"), Why.LOST),
        (Took(bytes=1), Why.LOST),  # of nothing that was printed
    ],
    ids=["leaves", "is left", "speaks in riddles", "takes what is not there"],
)
async def test_the_worker_is_told_when_a_person_leaves_or_breaks_the_rules(
    does: Took | Over | ValueError | None, why: Why
) -> None:
    async with begun() as scene:
        scene.person.does.put_nowait(does)
        over = await scene.ends
        assert (over.why, "secret" in over.sentence) == (why, False)
        assert (await scene.worker.hears()).what == Close()


async def test_who_sends_more_than_may_be_on_the_way_is_cut_off() -> None:
    async with begun() as scene:
        for _ in range(WINDOW // PIECE + 1):
            scene.person.does.put_nowait(Typed(data=b"x" * PIECE))
        assert (await scene.ends).why is Why.LOST
    async with begun() as scene:
        for _ in range(WINDOW // PIECE + 1):
            await scene.worker.say(Printed(stream=Stream.OUT, data=b"x" * PIECE))
        assert (await scene.ends).why is Why.LOST


async def test_what_a_broker_leaves_out_or_says_twice_ends_a_shell() -> None:
    for skip in (1, -1):
        async with begun() as scene:
            await scene.worker.say(Printed(stream=Stream.OUT, data=b"x"), skip=skip)
            assert (await scene.ends).why is Why.LOST
            assert len(scene.person.told) == 1


async def test_a_right_that_is_lost_and_a_worker_that_is_silent_end_a_shell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def no() -> bool:
        return False

    monkeypatch.setattr(shells, "LOOK", 0.05)
    async with begun(no) as scene:
        assert (await scene.ends).why is Why.RIGHT
        assert (await scene.worker.hears()).what == Close()
    async with begun() as scene:
        monkeypatch.setattr(shells, "SILENT", 0.05)  # from when it has begun
        over = await scene.ends
        assert (over.why, "says nothing any more" in over.sentence) == (Why.LOST, True)


async def test_a_worker_that_is_not_connected_is_told_of() -> None:
    over = await Relay(MemoryQueue(), NAME, "one", Person(), yes).run(START)
    assert over == Over(why=Why.LOST, sentence="worker one is not connected: is it up?")


def test_a_frame_is_small_and_its_bytes_are_as_they_were() -> None:
    every = bytes(range(256))
    order = ShellOrder(shell=NAME, number=1, what=Typed(data=every))
    assert ShellOrder.model_validate_json(order.model_dump_json()) == order
    assert packed(Printed(stream=Stream.OUT, data=every)) == bytes((OUT,)) + every
    for size in (0, PIECE + 1):
        with pytest.raises(ValidationError):
            Typed(data=b"x" * size)
    with pytest.raises(ValidationError):
        Wanted(term="xterm; rm -r /")


def test_a_window_is_never_larger_than_it_was_and_numbers_come_once() -> None:
    window = Window()
    window.send(WINDOW)
    with pytest.raises(Overrun):
        window.send(1)
    window.take(10)
    assert window.left == 10
    with pytest.raises(Overrun):
        window.take(WINDOW)
    numbers = Numbers(1)
    assert [numbers.fits(number) for number in (1, 2, 2, 4, 6)] == [True, True, False, True, False]
