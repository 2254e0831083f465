"""A shell between a person and the worker that has the container: it passes on, and looks that none overruns.

It holds nothing: what either end sends beyond what the other has taken ends the shell.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from config.outages import told
from workers.contract.first import first
from workers.contract.queue import BotQueue, Hearing, QueueDown
from workers.contract.shells import (
    BEAT,
    SILENT,
    Began,
    Close,
    Eof,
    Numbers,
    Over,
    Overrun,
    Printed,
    ShellOrder,
    Sized,
    Start,
    Still,
    Took,
    Towards,
    Typed,
    Why,
    Window,
)

log = structlog.get_logger()

LOOK = 15.0  # seconds between two looks whether somebody still may
_LAST = 5.0  # seconds to tell the worker that it is over
_NO_WORKER = "worker {} is not connected: is it up?"


class Person(Protocol):
    """Whoever has the shell."""

    async def heard(self) -> Typed | Eof | Sized | Took | Over | None:
        """What they do next; None when they have gone, Over when their line ends here.

        Raises ValueError for what cannot be read.
        """

    async def tell(self, what: Began | Printed | Took) -> None:
        """Waits until they take it, or their connection does."""


class Relay:
    """One shell, `name`, on `worker`. `may`: whether that person still may have it."""

    def __init__(
        self, queue: BotQueue, name: str, worker: str, person: Person, may: Callable[[], Awaitable[bool]]
    ) -> None:
        self._queue = queue
        self._name = name
        self._worker = worker
        self._person = person
        self._may = may
        self._number = 0
        self._ordering = asyncio.Lock()
        self._typed, self._printed = Window(), Window()

    async def run(self, start: Start) -> Over:
        """How it ended. The worker is told where it does not know."""
        over = Over(why=Why.LOST, sentence="the bot stops")
        try:
            async with self._queue.shell(self._name, self._worker) as hearing:
                await self._order(start)
                over = await first(self._hearing(hearing), self._passing(), self._beating(), self._looking())
        except QueueDown as error:
            over = Over(why=Why.LOST, sentence=str(error))
        except Overrun as error:
            log.warning("a shell was ended: an end of it broke the rules", shell=self._name, why=str(error))
            over = Over(why=Why.LOST, sentence=f"more came than may be on the way: {error}")
        finally:
            if over.why not in (Why.ENDED, Why.REFUSED):
                with contextlib.suppress(QueueDown, TimeoutError):
                    async with asyncio.timeout(_LAST):
                        await self._order(Close())
        return over

    async def _hearing(self, hearing: Hearing) -> Over:
        """What the worker says goes on to the person, as fast as that takes it."""
        numbers, began = Numbers(), False
        while True:
            try:
                async with asyncio.timeout(SILENT):
                    said = await hearing()
            except TimeoutError:
                what = "says nothing any more" if began else "does not answer: is it up, and of this version?"
                return Over(why=Why.LOST, sentence=f"worker {self._worker} {what}")
            if said.shell != self._name or not numbers.fits(said.number):
                return Over(why=Why.LOST, sentence="something on the way from the worker was lost")
            what_ = said.what
            if isinstance(what_, Over):
                return what_
            if isinstance(what_, Still):
                continue
            if isinstance(what_, Printed):
                self._printed.send(len(what_.data))
            elif isinstance(what_, Took):
                self._typed.take(what_.bytes)
            began = True
            await self._person.tell(what_)

    async def _passing(self) -> Over:
        """What the person does goes on to the worker."""
        while True:
            try:
                what = await self._person.heard()
            except ValueError:  # whose text may have what was typed
                return Over(why=Why.LOST, sentence="what came cannot be read")
            if what is None:
                return Over(why=Why.LEFT)
            if isinstance(what, Over):
                return what
            if isinstance(what, Typed):
                self._typed.send(len(what.data))
            elif isinstance(what, Took):
                self._printed.take(what.bytes)
            await self._order(what)

    async def _beating(self) -> Over:
        while True:
            await asyncio.sleep(BEAT)
            await self._order(Still())

    async def _looking(self) -> Over:
        while True:
            await asyncio.sleep(LOOK)
            try:
                if not await self._may():
                    return Over(why=Why.RIGHT, sentence="you may not have it any more")
            except Exception as error:  # a store that is away takes nobody's right, nor gives one for long
                told(log, "nobody can say whether somebody may still have a shell", error, shell=self._name)
                return Over(why=Why.RIGHT, sentence="nobody can say just now whether you still may have it")

    async def _order(self, what: Towards) -> None:
        async with self._ordering:
            order = ShellOrder(shell=self._name, number=self._number, what=what)
            self._number += 1
            if not await self._queue.order(self._worker, order):
                raise QueueDown(_NO_WORKER.format(self._worker))
