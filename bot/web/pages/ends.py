"""Whether attempts are over, looked at once for all who follow them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

from bot.store.database import Store
from bot.store.tables import Job, JobState, StepRow

_FRESH = 1.0  # seconds for which a look counts where nothing is known to have changed
_KEPT = 64  # attempts


@dataclass(frozen=True)
class _Look:
    changes: int  # that there were when it began
    at: float  # by the loop's clock
    over: asyncio.Task[bool]


class Ends:
    """Fifty who look on at one build are one question to the store for each change, not fifty."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changes = 0
        self._looks: OrderedDict[tuple[str, int], _Look] = OrderedDict()

    async def watch(self) -> None:
        """Until cancelled: after a change of any job what is known of all is old."""
        with self._store.changes(Job, StepRow) as changed:
            while True:
                await changed.wait()
                changed.clear()
                self._changes += 1

    async def over(self, job: str, attempt: int) -> bool:
        """Whether no more is told of it than what is there. Raises what the store raises."""
        now = asyncio.get_running_loop().time()
        look = self._looks.get((job, attempt))
        if look is None or look.changes != self._changes or now >= look.at + _FRESH:
            look = _Look(self._changes, now, asyncio.create_task(self._over(job, attempt)))
            self._looks[job, attempt] = look
            self._looks.move_to_end((job, attempt))
            while len(self._looks) > _KEPT:
                self._looks.popitem(last=False)
        return await asyncio.shield(look.over)

    async def _over(self, job: str, attempt: int) -> bool:
        async with self._store.reading() as session:
            row = await session.get(Job, job)
        return row is None or row.attempt != attempt or row.state.final or row.state is JobState.QUEUED
