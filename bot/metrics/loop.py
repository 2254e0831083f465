"""How late the loop is: what blocks it delays everybody."""

from __future__ import annotations

import asyncio

from bot.metrics.instruments import Instruments

_EVERY = 1.0  # seconds


async def watch(instruments: Instruments) -> None:
    """Until cancelled: how much later than asked for a sleep ends."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _EVERY
        await asyncio.sleep(_EVERY)
        instruments.lagged(max(0.0, loop.time() - due))
