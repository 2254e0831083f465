"""All behaviours together: which one decides about an event."""

from __future__ import annotations

from gidgethub import sansio

from bot.decision import Decision
from bot.events import comment, pull_request, push
from bot.events.desk import Desk
from bot.events.router import Router

_router = Router(push.router, pull_request.router, comment.router)


async def decide(event: sansio.Event, desk: Desk) -> Decision:
    """What is done about an event. Raises GitHubError, and KeyError or TypeError on an odd payload."""
    handler = _router.handler(event)
    if handler is None:
        return Decision("ignored: nothing is done about this event")
    return await handler(event, desk)
