"""Answers to what workers ask: may I have this job, do I still have it, may traffic come here."""

from __future__ import annotations

from typing import assert_never

from bot.fleet import outputs, services, usage
from bot.fleet.claims import Claims
from bot.fleet.heartbeats import Heartbeats
from bot.jobs import images
from bot.routing.router import Router
from bot.store.database import Store
from bot.store.outputs import Outputs
from workers.contract.messages import (
    Answer,
    Asked,
    Claim,
    Heartbeat,
    Lookup,
    Measured,
    Printed,
    Ready,
    ServiceNews,
)


class Requests:
    """The bot's side of every request of a worker's. `local`: images stay in their workers' engines."""

    def __init__(
        self,
        store: Store,
        claims: Claims,
        heartbeats: Heartbeats,
        router: Router,
        outputs: Outputs,
        *,
        local: bool,
    ) -> None:
        self._store = store
        self._claims = claims
        self._heartbeats = heartbeats
        self._router = router
        self._outputs = outputs
        self._local = local

    async def answer(self, request: Asked) -> Answer:
        """Any request's answer."""
        match request:
            case Claim():
                return await self._claims.answer(request)
            case Heartbeat():
                return await self._heartbeats.answer(request)
            case Lookup():
                return await images.lookup(self._store, request, local=self._local)
            case Ready():
                return await self._router.ready(request)
            case ServiceNews():
                return await services.noted(self._store, request)
            case Printed():
                return await outputs.kept(self._store, self._outputs, request)
            case Measured():
                return await usage.noted(self._store, request)
            case _:
                assert_never(request)
