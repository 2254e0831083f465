"""Pure: times in which nothing is deployed, from `freeze` of an environment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bot.decisions.cron import last
from config.durations import seconds


@dataclass(frozen=True)
class Frozen:
    """A window that lasts until then."""

    until: datetime
    reason: str


def frozen(windows: Iterable[Mapping[str, Any]], at: datetime) -> Frozen | None:
    """The window that `at` lies in, the one that ends last; None if it lies in none.

    A window holds from the moment of its `cron` (UTC) on, for as long as it `lasts`, its end not included.
    """
    now = []
    for window in windows:
        lasts = timedelta(seconds=seconds(window["lasts"]))
        begun = last(window["cron"], at - lasts, at)
        if begun is not None:
            now.append(Frozen(begun + lasts, window["reason"]))
    return max(now, key=lambda one: one.until, default=None)
