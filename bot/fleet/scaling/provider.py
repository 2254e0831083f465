"""The port to what workers are started on. A new one is a file here, and a line in `providers.py`.

A provider keeps no books: what it is told is told again until `list` shows it, so everything may come twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

# Given what is this machine's own, by settings' names: all of a worker's settings, as TOML. It is a secret.
WorkersSettings = Callable[[Mapping[str, str]], Awaitable[str]]


class ProviderDown(Exception):
    """It does not do what it is told now. Its text says which, and why."""


class Machine(StrEnum):
    """How far a worker's machine is: a process, a container, an instance."""

    THERE = "there"
    HELD = "held"  # somebody else ends it; it waits for our word
    LEAVING = "leaving"
    ENDED = "ended"  # it ended by itself, and what is left of it is to be cleaned up


@dataclass(frozen=True)
class Listed:
    """A machine of this pool's: who works there, empty where nobody was told to yet."""

    id: str
    worker: str
    place: str
    state: Machine = Machine.THERE
    problem: str = ""  # of one that ended, for people


@dataclass(frozen=True)
class Found:
    """What there is, at the places that answered; `problem` says why another one did not."""

    machines: tuple[Listed, ...]
    places: frozenset[str]
    coming: int = 0  # machines that were asked for and are not there yet
    problem: str = ""


@dataclass(frozen=True)
class Newcomer:
    """A worker that is to come."""

    name: str
    place: str
    settings: WorkersSettings = field(repr=False)


class Provider(Protocol):
    """Whatever has machines for workers of one pool."""

    @property
    def places(self) -> Sequence[str]:
        """Where workers may be: their names are kept in the store."""

    @property
    def every(self) -> float:
        """Seconds between two looks at it."""

    async def list(self) -> Found:
        """All machines of this pool and this instance, whoever started them. Raises ProviderDown."""

    async def bring(self, newcomers: Sequence[Newcomer]) -> None:
        """See that these come, and no others. Those that are listed already are none of them.

        Raises ProviderDown.
        """

    async def end(self, machine: Listed) -> None:
        """Let it go, and what it left: no job runs there any more. Raises ProviderDown."""

    async def protect(self, machines: Collection[Listed]) -> None:
        """Whoever else may end machines is to spare these: they work, or drain. Raises ProviderDown."""
