"""The bot's border: what comes over the broker is believed when it has passed it, and not before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from workers.contract.letters import Letters
from workers.contract.messages import (
    Answer,
    Asked,
    Finished,
    LogChunk,
    Offer,
    Order,
    StepChanged,
)


class Refused(Exception):
    """It does not pass, and was told of; `reply` is what its sender gets, if anything."""

    def __init__(self, reply: bytes = b"") -> None:
        super().__init__("refused")
        self.reply = reply


@dataclass(frozen=True)
class Question:
    """A request that passed."""

    request: Asked
    pool: str  # of its sender
    sealed: Callable[[Answer], bytes]  # an answer that its sender alone can read


class Border(Protocol):
    """Knows the workers."""

    async def request(self, body: bytes) -> Question:
        """What a worker asks, who may ask it. Raises Refused."""

    async def event(self, body: bytes) -> StepChanged | Finished | LogChunk:
        """What a worker tells of its own attempt. Raises Refused."""

    async def order(self, worker: str, order: Order) -> bytes | None:
        """An order that this worker alone can read; None if there is no such worker."""

    async def letters(self, worker: str) -> Letters | None:
        """Those of a worker, by which it is known; None if there is no such worker."""

    def marked(self, offer: Offer) -> Offer:
        """An offer that we shall know as ours."""

    def ours(self, offer: Offer) -> bool:
        """Whether we made this offer."""
