"""Which handler decides about an event."""

from __future__ import annotations

import pytest
from gidgethub import sansio

from bot.decisions.decision import Decision
from bot.decisions.desk import Desk
from bot.decisions.events.router import Router


async def _one(_event: sansio.Event, _desk: Desk) -> Decision:
    return Decision("one")


async def _two(_event: sansio.Event, _desk: Desk) -> Decision:
    return Decision("two")


def _event(action: str) -> sansio.Event:
    return sansio.Event({"action": action}, event="release", delivery_id="1")


def test_an_event_has_one_handler_or_none() -> None:
    router = Router()
    router.on("release", action="published")(_one)
    router.on("release", action="deleted")(_one)
    router.on("release", action="deleted")(_two)

    assert router.handler(_event("published")) is _one
    assert router.handler(_event("edited")) is None
    with pytest.raises(RuntimeError, match="release: has 2 handlers"):
        router.handler(_event("deleted"))
