"""All behaviours together: which one decides about an event."""

from __future__ import annotations

from gidgethub import sansio

from bot.decisions.decision import Decision
from bot.decisions.desk import Desk
from bot.decisions.events import (
    built,
    checks,
    comment,
    follow,
    merge_group,
    pull_request,
    push,
    schedule,
    tags,
    thaw,
)
from bot.decisions.events.router import Router

_router = Router(
    push.router,
    tags.router,
    pull_request.router,
    comment.router,
    merge_group.router,
    checks.router,
    built.router,
    follow.router,
    schedule.router,
    thaw.router,
)


async def decide(event: sansio.Event, desk: Desk) -> Decision:
    """What is done about an event. Raises GitHubError, and KeyError or TypeError on an odd payload."""
    handler = _router.handler(event)
    if handler is None:
        what = f"{event.event} {event.data.get('action') or ''}".strip()
        return Decision(f"ignored: nothing is done about {what}")
    return await handler(event, desk)


def handled(event: str, action: str | None) -> bool:
    """Whether anything is done about such events."""
    return _router.handler(sansio.Event({"action": action}, event=event, delivery_id="")) is not None
