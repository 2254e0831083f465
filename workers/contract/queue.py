"""The queue's two ends. `rabbitmq.py` crosses machines; `memory.py` stays in one process.

Transport only: whatever is lost here is found again in the store.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from config.outages import Outside
from workers.contract.messages import (
    Answer,
    Asked,
    Event,
    Finished,
    LogChunk,
    Offer,
    Order,
    StepChanged,
)
from workers.contract.shells import ShellSaid

Answerer = Callable[[Asked], Awaitable[Answer]]
Listener = Callable[[StepChanged | Finished | LogChunk], Awaitable[None]]
# Given an offer that was delivered too often.
Undertaker = Callable[[Offer], Awaitable[None]]
# Waits for what is said next. Raises QueueDown.
Hearing = Callable[[], Awaitable[ShellSaid]]


class QueueDown(Outside):
    """The queue does not answer now. Its text says which, and why."""


class QueueRefused(QueueDown):
    """The queue is there, and will not have us so, or cannot be there: waiting does not help."""


class QueueLow(QueueDown):
    """The queue is there, and takes nothing now: it is low on memory or disk."""


class Outcast(QueueDown):
    """The bot does not take this worker's word. Its text says why, and what to do.

    `proven`: the bot itself says so. Where it has no key for the worker nobody can prove who answered.
    """

    def __init__(self, text: str, *, proven: bool) -> None:
        super().__init__(text)
        self.proven = proven


class Taken(Protocol):
    """An offer in a worker's hands. Unsettled when the worker dies, it goes to another."""

    offer: Offer
    redelivered: bool

    async def ack(self) -> None:
        """Settle it; does nothing if the connection that it came by is gone."""

    async def give_back(self) -> None:
        """Return it to the queue for another worker."""


class BotQueue(Protocol):
    """The bot's end."""

    async def offer(self, offer: Offer) -> None:
        """Put a job up in its pool; returns when the queue has it safely. Raises QueueDown."""

    async def depth(self, pool: str) -> int:
        """Offers that wait in a pool, those in workers' hands not counted. Raises QueueDown."""

    async def order(self, worker: str, order: Order) -> bool:
        """Tell one worker something; False if no such worker is connected. Raises QueueDown."""

    async def serve(self, answerer: Answerer, listener: Listener, undertaker: Undertaker) -> None:
        """Answer requests and hear events until cancelled; survives the loss of the connection.

        A listener that raises is given the event again later.
        """

    async def hear_lines(self, listener: Listener) -> None:
        """Hear log lines, as `serve` hears events.

        Of several bots one does at a time: so a log comes in order, and to one place.
        """

    def shell(self, shell: str, worker: str) -> AbstractAsyncContextManager[Hearing]:
        """Inside, what this worker says of this shell, in order; it is lost with the connection.

        Raises QueueDown.
        """

    async def check(self) -> str:
        """What this end is connected to, for people. Raises QueueDown."""

    @property
    def connected_at(self) -> float:
        """time.monotonic() since when things pass; infinity while there is no connection, or an alarm."""

    @property
    def alarm(self) -> bool:
        """Whether the queue is there and takes nothing, being low on memory or disk."""


class WorkerQueue(Protocol):
    """A worker's end."""

    async def take(self, *lines: str) -> Taken:
        """Wait for one offer of any of these lines; at most one is ever reserved for one caller.

        None of them is preferred. The first is the pool's own, which is there at all times.
        """

    async def request(self, request: Asked, timeout: float) -> Answer:
        """Ask the bot and wait `timeout` seconds for its answer. Raises QueueDown or TimeoutError."""

    async def tell(self, event: Event) -> None:
        """Tell the bot; returns when the queue has it safely, which may be after a reconnect."""

    async def say(self, said: ShellSaid) -> None:
        """Say something of a shell, now or never. Raises QueueDown, also where nobody hears of it."""

    def orders(self, worker: str) -> AsyncIterator[Order]:
        """What the bot orders this worker, until closed; survives the loss of the connection."""

    async def check(self) -> str:
        """What this end is connected to, for people. Raises QueueDown."""
