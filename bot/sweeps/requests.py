"""When environments were last asked for, as far as the proxy sees: those that nobody asks for may sleep."""

from __future__ import annotations

import structlog
from sqlalchemy import update
from sqlmodel import col

from bot.routing.proxy import Proxy, ProxyDown
from bot.routing.ways import environment_id
from bot.store.database import Store
from bot.store.tables import Environment

EVERY = 15.0  # seconds: how exactly the time is known

log = structlog.get_logger()


async def sweep(store: Store, proxy: Proxy) -> bool:
    """Note the last request of each environment that was asked for since the last look.

    False where the proxy can't tell who is asked for.
    """
    if not proxy.switches:
        return False
    try:
        seen = await proxy.last_requests()
    except ProxyDown as error:
        log.warning("nobody knows which environments are asked for", error=str(error))
        return False
    if not seen:
        return True
    async with store.transaction() as session:
        for route, at in seen.items():
            here = col(Environment.id) == environment_id(route)
            await session.exec(update(Environment).where(here).values(requested_at=at))
    return True
