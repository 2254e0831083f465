"""A channel gets few messages, whatever breaks at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bot.outbox.grouping import COLLECT, DISTANCE, batch
from bot.reports.lanes import TEST
from bot.store.tables import Outgoing

AT = datetime(2030, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def owed(thing: str, due: timedelta = -SECOND, event: str = "crash") -> Outgoing:
    return Outgoing(lane="channel:0:ops", event=event, thing=thing, body="{}", due_at=AT + due)


def shown(rows: object) -> str:
    return " ".join(f"{one.thing}/{one.event}" for one in rows)  # type: ignore[attr-defined]


# What is owed, when the last message went ▸ what goes, what is left out for it, or the seconds until then.
BATCHES: dict[str, tuple[list[Outgoing], timedelta | None, tuple[str, str, float | None]]] = {
    "nothing": ([], None, ("", "", None)),
    "one thing, once it has waited for others": ([owed("a")], None, ("a/crash", "", None)),
    "before": ([owed("a", COLLECT)], None, ("", "", 5.0)),
    "many at once, and what came just now with them": (
        [owed("a"), owed("b"), owed("c", COLLECT)],
        None,
        ("a/crash b/crash c/crash", "", None),
    ),
    "soon after a message": ([owed("a")], SECOND, ("", "", DISTANCE.total_seconds() - 1)),
    "long after one": ([owed("a")], DISTANCE, ("a/crash", "", None)),
    "of one thing the newest": (
        [owed("a"), owed("b"), owed("a", event="crash.recovered")],
        None,
        ("a/crash.recovered b/crash", "a/crash", None),
    ),
    "a test goes at once and alone": (
        [owed("a"), owed("", event=TEST)],
        SECOND,
        (f"/{TEST}", "", None),
    ),
    "what is tried again later": ([owed("a", 90 * SECOND)], DISTANCE, ("", "", 90.0)),
}


@pytest.mark.parametrize("name", BATCHES)
def test_many_things_are_one_message_and_messages_keep_a_distance(name: str) -> None:
    rows, last, (sent, left_out, wait) = BATCHES[name]
    found = batch(rows, None if last is None else AT - last, AT)

    assert (shown(found.sent), shown(found.left_out), found.wait) == (sent, left_out, wait)
