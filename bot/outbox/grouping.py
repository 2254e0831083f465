"""Pure: what a channel is sent at once, and when: many things are one message; messages keep a distance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bot.reports.lanes import TEST
from bot.store.tables import Outgoing

COLLECT = timedelta(seconds=5)  # that something waits for what goes wrong with it
DISTANCE = timedelta(seconds=60)  # between two messages of a channel


@dataclass(frozen=True)
class Batch:
    """What goes out as one message, what is left out for it; or the seconds until there is one."""

    sent: Sequence[Outgoing] = ()
    left_out: Sequence[Outgoing] = ()
    wait: float | None = None


def batch(owed: Sequence[Outgoing], last: datetime | None, at: datetime) -> Batch:
    """What of a channel's `owed`, oldest first, goes now, where the `last` message went so long ago.

    Of each thing the newest is told. What is due takes along what is not due yet, but for what is tried
    again later.
    """
    if test := next((one for one in owed if one.event == TEST and one.due_at <= at), None):
        return Batch((test,))
    told = [one for one in owed if one.event != TEST]
    due = [one.due_at for one in owed]
    if not due:
        return Batch()
    earliest = max(min(due), *([last + DISTANCE] if last else []), datetime.min.replace(tzinfo=at.tzinfo))
    if not told or earliest > at:
        return Batch(wait=(earliest - at).total_seconds())
    newest = {one.thing or one.guid: one for one in told}
    sent = list(newest.values())
    return Batch(sent, [one for one in told if one not in sent])
