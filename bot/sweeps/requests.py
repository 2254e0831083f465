"""How often environments are asked for, as far as the proxy sees: those that nobody asks for may sleep."""

from __future__ import annotations

from collections import Counter

import structlog

from bot.routing import visits
from bot.routing.proxy import Proxy, ProxyDown
from bot.routing.ways import environment_id
from bot.store.database import Store
from workers.contract.messages import now

EVERY = 15.0  # seconds: how exactly the time of the last one is known

log = structlog.get_logger()


async def sweep(store: Store, proxy: Proxy) -> bool:
    """Note how often each environment was asked for since the last look.

    False where the proxy can't tell who is asked for.
    """
    if not proxy.switches:
        return False
    try:
        seen = await proxy.requests()
    except ProxyDown as error:
        log.warning("nobody knows which environments are asked for", error=str(error))
        return False
    came: Counter[int] = Counter()
    for route, requests in seen.items():
        if (environment := environment_id(route)) is not None:
            came[environment] += requests
    if came:
        await visits.add(store, came, now())
    return True
