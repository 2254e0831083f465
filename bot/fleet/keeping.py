"""Which images no worker prunes: looked up for all workers together, and told each of them once."""

from __future__ import annotations

import asyncio
import math
import time

from bot.jobs import images
from bot.store.database import Store
from workers.contract.messages import edition

# Seconds that a look is told again. A worker takes a list for true for a whole lease, and leaves alone for
# ten minutes what was built or has run: so it hears of what is needed soon enough.
_FRESH = 2.0
_SHARE = 20  # times as long as a look took: it takes a twentieth of the database's time at most
_LONGEST = 30.0


class Keeping:
    """Remembers the last look."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._until = -math.inf
        self._images: list[str] = []
        self._edition = ""
        self._looking = asyncio.Lock()

    async def news(self, known: str) -> list[str] | None:
        """The images to keep; None for who has this very list, `known` by its edition."""
        async with self._looking:
            if time.monotonic() > self._until:
                await self._look()
        return None if known == self._edition else self._images

    async def _look(self) -> None:
        begun = time.monotonic()
        async with self._store.reading() as session:
            self._images = await images.kept(session)
        self._edition, ended = edition(self._images), time.monotonic()
        self._until = ended + min(max(_FRESH, _SHARE * (ended - begun)), _LONGEST)
