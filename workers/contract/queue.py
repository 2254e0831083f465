"""The queue's two ends. `rabbitmq.py` crosses machines; `memory.py` stays in one process.

Transport only: whatever is lost here is found again in the store.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from workers.contract.messages import (
    Answer,
    Asked,
    Cancel,
    Event,
    Finished,
    LogChunk,
    Nudge,
    Offer,
    Order,
    StepChanged,
)

Answerer = Callable[[Asked], Awaitable[Answer]]
Listener = Callable[[StepChanged | Finished | LogChunk], Awaitable[None]]
# Given the raw body of a message that could not be read or was delivered too often.
Undertaker = Callable[[bytes], Awaitable[None]]


class QueueDown(Exception):
    """The queue does not answer now. Its text says which, and why."""


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

    async def order(self, worker: str, order: Cancel | Nudge) -> bool:
        """Tell one worker something; False if no such worker is connected. Raises QueueDown."""

    async def serve(self, answerer: Answerer, listener: Listener, undertaker: Undertaker) -> None:
        """Answer requests and hear events until cancelled; survives the loss of the connection.

        A listener that raises is given the event again later.
        """

    async def check(self) -> str:
        """What this end is connected to, for people. Raises QueueDown."""

    @property
    def connected_at(self) -> float:
        """time.monotonic() of the last connect; infinity while there is no connection."""


class WorkerQueue(Protocol):
    """A worker's end."""

    async def take(self, pool: str) -> Taken:
        """Wait for one offer of the pool; at most one is ever reserved for one caller."""

    async def request(self, request: Asked, timeout: float) -> Answer:
        """Ask the bot and wait `timeout` seconds for its answer. Raises QueueDown or TimeoutError."""

    async def tell(self, event: Event) -> None:
        """Tell the bot; returns when the queue has it safely, which may be after a reconnect."""

    def orders(self, worker: str) -> AsyncIterator[Order]:
        """What the bot orders this worker, until closed; survives the loss of the connection."""

    async def check(self) -> str:
        """What this end is connected to, for people. Raises QueueDown."""
