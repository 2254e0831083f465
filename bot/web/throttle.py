"""Whoever fails too often has to wait: a few failures a minute for each address."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable

MOST = 10  # failures of one address …
WITHIN = 60.0  # … in so many seconds
_ADDRESSES = 1024  # that are remembered; the one that failed longest ago goes first


class Throttle:
    """Counts failures."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def wait(self, address: str) -> float:
        """Seconds until this address may try again, 0 if it may now."""
        failures = self._failures.get(address)
        if failures is None or len(failures) < MOST:
            return 0.0
        return max(0.0, failures[0] + WITHIN - self._clock())

    def failed(self, address: str) -> None:
        self._failures.setdefault(address, deque(maxlen=MOST)).append(self._clock())
        self._failures.move_to_end(address)
        if len(self._failures) > _ADDRESSES:
            self._failures.popitem(last=False)


class Rate:
    """Lets each ask `most` times a minute, evenly: a bucket that fills with time, and holds a fifth of it."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._each = 60.0 / most
        self._burst = max(1.0, most / 5) * self._each
        self._full: OrderedDict[str, float] = OrderedDict()  # when each one's bucket is full again

    def wait(self, who: str) -> float:
        """Seconds until `who` may ask again; 0 if it may now: then that counts."""
        now = self._clock()
        full = max(self._full.get(who, now), now) + self._each
        if full - now > self._burst:
            return full - now - self._burst
        self._full[who] = full
        self._full.move_to_end(who)
        if len(self._full) > _ADDRESSES:
            self._full.popitem(last=False)
        return 0.0
