"""Passes on what containers print, by the bot that leads: who has something? ▸ let each go on ▸ write down.

Of several bots one leads, and how far each drain is stands in the store: so no line passes twice, but for
those of the last seconds before a bot was killed. Each environment goes its own way into each drain, in its
lines' order; none waits for another but for its turn at the very same drain.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog
from sqlmodel import col, delete, select

from bot.log_drains.pump import Progress, Pump
from bot.log_drains.sinks import Sinks
from bot.log_drains.wanted import INSTANCE, OWN, Key, wanted
from bot.secrets.repositories import Secrets
from bot.store.database import Store
from bot.store.outages import told
from bot.store.outputs import Outputs
from bot.store.tables import Environment, LogDrainRow, Repository
from config.fields import size_bytes
from config.settings import Settings

_LOOK = 1.0  # seconds between two looks at who has something to send
_ASK = 15.0  # seconds between two looks at which drains there are
_LINGER = 900.0  # seconds in which one that nobody wants any more may still take what was printed before

log = structlog.get_logger()


@dataclass
class Drainer:
    """Runs until cancelled."""

    store: Store
    outputs: Outputs
    secrets: Secrets
    settings: Settings
    sinks: Sinks = field(default_factory=Sinks)
    _known: dict[Key, Progress] = field(default_factory=dict)
    _tasks: dict[Key, asyncio.Task[None]] = field(default_factory=dict)

    async def run(self) -> None:
        asked = 0.0
        try:
            while True:
                if time.monotonic() >= asked:
                    await self.ask()
                    asked = time.monotonic() + _ASK
                await self.look()
                await asyncio.sleep(_LOOK)
        finally:
            await self.close()

    async def close(self) -> None:
        """Nobody is under way any more. What was not written down is sent again."""
        await self._end(list(self._tasks))
        await self.sinks.keep_only(())

    async def ask(self) -> None:
        """Learn which drains there are now."""
        found = await wanted(self.store, self.secrets, self.settings)
        if new := [key for key in found if key not in self._known]:
            rows = await self._rows()
            for key in new:
                self._known[key] = _progress(Progress(key, found[key]), rows.get(key))
        for key, one in found.items():
            if one != self._known[key].wanted:
                self._known[key].due = 0.0  # what was wrong with it may be right now
            self._known[key].wanted, self._known[key].gone = one, 0.0
        gone = await self._over([key for key in self._known if key not in found])
        await self._end(gone)
        for key in gone:
            del self._known[key]
        known = (one.wanted.target for one in self._known.values())
        await self.sinks.keep_only({target for target in known if target})
        await self._forget()

    async def _over(self, unwanted: list[Key]) -> list[Key]:
        """Those whose lines it has, or had time enough to take: what has just ended has printed why."""
        ends = await self.outputs.ends() if unwanted else {}
        for key in unwanted:
            self._known[key].gone = self._known[key].gone or time.monotonic()
        known = {key: self._known[key] for key in unwanted}
        return [
            key
            for key, one in known.items()
            if one.place == ends.get(key[0], 0) or time.monotonic() - one.gone > _LINGER
        ]

    async def look(self) -> None:
        """Set those going that have something to send, and write down how far all are."""
        ends = await self.outputs.ends() if self._known else {}
        pump = Pump(self.outputs, self.sinks, self._budget(), self.store.instruments)
        for key, progress in self._known.items():
            task = self._tasks.get(key)
            if task is not None and not task.done():
                continue
            if ends.get(key[0], 0) != progress.place and time.monotonic() >= progress.due:
                self._tasks[key] = asyncio.create_task(_kept_going(pump, progress))
        await self._note()
        self._measure()

    async def idle(self) -> None:
        """Wait until nobody who was set going is under way."""
        await asyncio.gather(*self._tasks.values())

    async def _note(self) -> None:
        changed = [one for one in self._known.values() if one.changed]
        if not changed:
            return
        async with self.store.transaction() as session:
            for one in changed:
                await session.merge(
                    LogDrainRow(
                        environment_id=one.key[0],
                        scope=one.key[1],
                        address=one.wanted.shown,
                        place=one.place,
                        dropped=one.dropped,
                        sent_at=one.sent_at,
                        problem=one.problem,
                        failing_since=one.failing_since,
                    )
                )
                one.changed = False

    async def _rows(self) -> Mapping[Key, LogDrainRow]:
        async with self.store.reading() as session:
            rows = (await session.exec(select(LogDrainRow))).all()
        return {(row.environment_id, row.scope): row for row in rows}

    async def _forget(self) -> None:
        """Drains that are none any more: should one come back, it begins anew."""
        gone = [key for key in await self._rows() if key not in self._known]
        if not gone:
            return
        async with self.store.transaction() as session:
            for environment, scope in gone:
                await session.exec(
                    delete(LogDrainRow).where(
                        col(LogDrainRow.environment_id) == environment, col(LogDrainRow.scope) == scope
                    )
                )

    async def _end(self, keys: list[Key]) -> None:
        tasks = [task for key in keys if (task := self._tasks.pop(key, None))]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _measure(self) -> None:
        for scope in (INSTANCE, OWN):
            theirs = [one for key, one in self._known.items() if key[1] == scope]
            oldest = min((one.oldest for one in theirs if one.oldest), default=0)
            lag = max(0.0, time.time() - oldest / 1e9) if oldest else 0.0
            self.store.instruments.draining(scope, sum(bool(one.problem) for one in theirs), lag)

    def _budget(self) -> int:
        """What is forgotten nobody counts, so a drain is never let so far behind."""
        return min(
            size_bytes(self.settings.log_drain_budget), size_bytes(self.settings.output_budget) * 3 // 4
        )


def _progress(new: Progress, row: LogDrainRow | None) -> Progress:
    """How far it is, as it was written down."""
    if row is not None:
        new.place, new.since, new.dropped = row.place, 0, row.dropped
        new.sent_at, new.problem, new.failing_since = row.sent_at, row.problem, row.failing_since
    return new


async def _kept_going(pump: Pump, progress: Progress) -> None:
    try:
        await pump.drain(progress)
    except Exception as error:
        told(log, "a log drain breaks", error, **progress.named)
        progress.failed(f"{type(error).__name__}, as the bot's log tells")


async def troubles(store: Store) -> list[str]:
    """What does not work, a sentence each, for people."""
    asked = (
        select(LogDrainRow, Environment, Repository)
        .join(Environment, col(Environment.id) == col(LogDrainRow.environment_id))
        .join(Repository, col(Repository.id) == col(Environment.repository_id))
        .where(LogDrainRow.problem != "")
        .order_by(col(LogDrainRow.failing_since))
    )
    async with store.reading() as session:
        rows = (await session.exec(asked)).all()
    return [f"{whose.full_name} {place.name}: {row.address}: {row.problem}" for row, place, whose in rows]
