"""gidgethub's router, with handlers that decide something and never more than one for an event."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

from gidgethub import routing, sansio

from bot.decisions.decision import Decision
from bot.decisions.desk import Desk

Handler = Callable[[sansio.Event, Desk], Awaitable[Decision]]


class Router(routing.Router):
    """Which handler decides about an event."""

    def on(self, event: str, **detail: Any) -> Callable[[Handler], Handler]:
        """Register a handler for an event, or for one with this detail, such as `action="opened"`."""
        return cast(Callable[[Handler], Handler], self.register(event, **detail))

    def handler(self, event: sansio.Event) -> Handler | None:
        """The one handler of an event. gidgethub's own dispatch would call a set of them in no order."""
        found = self.fetch(event)
        if len(found) > 1:
            raise RuntimeError(f"{event.event}: has {len(found)} handlers")
        return cast(Handler, next(iter(found))) if found else None
