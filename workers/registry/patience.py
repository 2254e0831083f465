"""Pure: when something that a registry could not do is tried again."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


@dataclass(frozen=True)
class Patience:
    """Exponential backoff with jitter, up to a limit."""

    tries: int = 5
    first: float = 0.5  # seconds until the second try
    longest: float = 10.0  # seconds between two tries
    told: float = 60.0  # seconds that a registry may ask to wait

    def pause(
        self, tried: int, told: float | None = None, chance: Callable[[], float] = random.random
    ) -> float | None:
        """Seconds until the next try, after `tried` ones; None when it is given up.

        `told` is how long the registry asked to wait; `chance` is from 0 to 1.
        """
        if tried >= self.tries or (told is not None and told > self.told):
            return None
        if told is not None:
            return told + self.first * chance()
        return min(self.longest, self.first * 2.0 ** (tried - 1)) * (0.5 + chance() / 2)


def retry_after(header: str, now: datetime) -> float | None:
    """The seconds of a Retry-After, which has a number or a date; None if it has neither."""
    if header.strip().isdecimal():
        return float(header)
    try:
        then = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return None
    return max(0.0, ((then if then.tzinfo else then.replace(tzinfo=UTC)) - now).total_seconds())
