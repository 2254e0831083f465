"""What happens when, by a seed: the same seed gives the same acts at the same seconds."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

LEASE = 10.0  # seconds
BOTS, WORKERS = 2, 3


class Break(StrEnum):
    """What goes wrong."""

    BOT_KILLED = "a bot is killed"
    BOT_FROZEN = "a bot is frozen for longer than a lease"
    WORKER_KILLED = "a worker is killed"
    WORKER_FROZEN = "a worker is frozen for longer than a lease"
    BROKER_RESTARTED = "the broker is killed and started again"
    BROKER_WIPED = "the broker loses all that it had"
    STORE_RESTARTED = "the database is restarted"
    STORE_CUT = "a bot's connections to the database are cut"
    CLOCK_JUMPS = "somebody's clock jumps, and is set right again"
    QUEUE_CUT = "somebody's connection to the broker is cut"
    QUEUE_HELD = "nothing passes between somebody and the broker"
    STORE_READS = "the database only reads, as after a failover"
    WORKER_FULL = "a worker's disk is full"
    BOT_FULL = "a bot's disk is full"
    REGISTRY_AWAY = "the registry is killed and started again"
    CADDY_KILLED = "Caddy is killed and started again"
    GITHUB_BROKEN = "GitHub answers 502"
    GITHUB_FORBIDS = "GitHub's secondary limit: 403"
    GITHUB_HINTS = "GitHub's secondary limit: 403 without Retry-After"
    GITHUB_LIMITS = "GitHub's limit: 429 with Retry-After"
    GITHUB_SPENT = "GitHub's hourly limit is used up, for seconds"
    GITHUB_PAGE = "GitHub answers with a page of HTML"
    GITHUB_SLOW = "GitHub takes seconds to answer"
    GITHUB_LOSES = "GitHub does what it is told, and its answer is lost"


class Wish(StrEnum):
    """What somebody does."""

    PUSH = "push to main"
    OPEN = "open a pull request"
    COMMIT = "push to a pull request"
    CLOSE = "close a pull request"
    CANCEL = "/cancel"
    ROLLBACK = "/rollback production"


T = TypeVar("T", Break, Wish)

# How often each, in proportion.
_BREAKS = {
    Break.BOT_KILLED: 3, Break.BOT_FROZEN: 1, Break.WORKER_KILLED: 4, Break.WORKER_FROZEN: 2,
    Break.BROKER_RESTARTED: 1, Break.BROKER_WIPED: 1, Break.STORE_RESTARTED: 2, Break.STORE_CUT: 2,
    Break.QUEUE_CUT: 3, Break.QUEUE_HELD: 2, Break.STORE_READS: 1, Break.WORKER_FULL: 2, Break.BOT_FULL: 1,
    Break.CLOCK_JUMPS: 2,
    Break.REGISTRY_AWAY: 2, Break.CADDY_KILLED: 2, Break.GITHUB_BROKEN: 1, Break.GITHUB_FORBIDS: 1,
    Break.GITHUB_HINTS: 1, Break.GITHUB_LIMITS: 1, Break.GITHUB_SPENT: 1, Break.GITHUB_PAGE: 1,
    Break.GITHUB_SLOW: 1, Break.GITHUB_LOSES: 1,
}  # fmt: skip
_WISHES = {
    Wish.PUSH: 4, Wish.OPEN: 2, Wish.COMMIT: 3, Wish.CLOSE: 1, Wish.CANCEL: 1, Wish.ROLLBACK: 1,
}  # fmt: skip
# Until it is started again, or emptied, or takes changes.
_FOR_A_WHILE = {
    Break.BOT_KILLED, Break.WORKER_KILLED, Break.STORE_RESTARTED, Break.BROKER_RESTARTED, Break.STORE_READS,
    Break.WORKER_FULL, Break.BOT_FULL, Break.REGISTRY_AWAY, Break.CADDY_KILLED,
    Break.CLOCK_JUMPS,
}  # fmt: skip
_HELD = LEASE + 3  # seconds: everybody has to notice
_JUMPS = (-7200, -600, -60, -15, 15, 60, 600, 7200)  # seconds that a clock is off
_REST = (1.0, 4.0)  # seconds between two breaks …
_PAUSE = (0.5, 3.0)  # … and between two wishes


@dataclass(frozen=True)
class Act:
    """One thing at one time. `whom`: one of those that it can happen to, by number."""

    at: float  # seconds from the start
    what: Break | Wish
    whom: int
    lasts: float = 0.0  # seconds until it is over

    @property
    def off(self) -> int:
        """Seconds that a clock which jumps is off."""
        return _JUMPS[self.whom % len(_JUMPS)]

    def __str__(self) -> str:
        lasting = f", for {self.lasts:.1f} s" if self.lasts else ""
        return f"{self.at:5.1f} s  {self.what} ({self.whom}{lasting})"


def acts(seed: int, seconds: float, breaks: Collection[Break] = tuple(Break)) -> list[Act]:
    """Pure: all acts of the first `seconds`, in their order; of what may break, `breaks` alone."""
    wishes, chance = random.Random(f"wishes {seed}"), random.Random(f"breaks {seed}")
    found = [Act(0.0, Wish.PUSH, 0), Act(0.5, Wish.OPEN, 0)]
    found += _several(wishes, _WISHES, _PAUSE, 1.0, seconds)
    if breaks:
        weights = {what: weight for what, weight in _BREAKS.items() if what in breaks}
        found += _several(chance, weights, _REST, 3.0, seconds)
    return sorted(found, key=lambda act: act.at)


def _several(
    chance: random.Random,
    weights: Mapping[T, int],
    pauses: tuple[float, float],
    first: float,
    seconds: float,
) -> list[Act]:
    found, at = [], first
    while at < seconds:
        what = chance.choices(list(weights), list(weights.values()))[0]
        found.append(Act(round(at, 2), what, chance.randrange(60), _lasts(what, chance)))
        at += chance.uniform(*pauses)
    return found


def _lasts(what: Break | Wish, chance: random.Random) -> float:
    if what in (Break.WORKER_FROZEN, Break.BOT_FROZEN, Break.QUEUE_HELD):
        return _HELD
    return round(chance.uniform(0.2, 3.0), 2) if what in _FOR_A_WHILE else 0.0
