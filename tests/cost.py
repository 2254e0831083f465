"""What something costs, for what must not be made to exhaust us."""

from __future__ import annotations

import time
from collections.abc import Callable

from config import cron, globs

_KEPT = (cron._wrong, globs.globs)  # what a second try would find done


def cost(work: Callable[[], object]) -> float:
    """Seconds of a processor, the least of three tries, each as if it were the first.

    A look for garbage among what thousands of other tests left takes longer than the work itself.
    """
    took = []
    for _ in range(3):
        for kept in _KEPT:
            kept.cache_clear()
        started = time.process_time()
        work()
        took.append(time.process_time() - started)
    return min(took)
