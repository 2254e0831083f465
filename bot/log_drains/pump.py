"""One environment's lines on their way into one drain: read ▸ send ▸ remember, until it has all, or fails.

Nothing is kept in between but one batch: the lines lie where the bot keeps them anyway. What lies there for
longer than the budget allows is left out, oldest first, and the drain is told how much that was.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from bot.log_drains import forms
from bot.log_drains.sink import DrainDown, DrainRefused
from bot.log_drains.sinks import Sinks
from bot.log_drains.wanted import Key, Wanted
from bot.metrics.instruments import Instruments
from bot.store.outputs import Kept, Outputs
from bot.store.outputs import Wanted as Lines
from workers.contract.messages import now

_SOON, _LATE = 1.0, 60.0  # seconds before a drain that failed is tried again: the first time, and at most
_MOST = 4096  # lines of a batch
_BEFORE = 300 * 1_000_000_000  # nanoseconds: a new drain begins with what was printed in that time before

log = structlog.get_logger()


@dataclass
class Progress:
    """How far a drain is with an environment, and how it does."""

    key: Key
    wanted: Wanted
    place: int = 0
    since: int = field(default_factory=lambda: time.time_ns() - _BEFORE)  # 0 once it has begun
    most: int = _MOST
    lines: int = 0  # that are missing, and not told yet
    size: int = 0  # bytes of these
    oldest: int = 0  # when what it waits for was printed, in nanoseconds; 0 if it has all
    pause: float = 0.0
    due: float = 0.0  # by the monotonic clock
    problem: str = ""
    failing_since: datetime | None = None
    sent_at: datetime | None = None
    dropped: int = 0  # lines, ever
    changed: bool = False  # since it was written down
    gone: float = 0.0  # since when nobody wants it, by the monotonic clock; 0 while somebody does

    def sent(self) -> None:
        if self.problem:
            log.info("a log drain takes lines again", **self.named)
        if self.size:
            log.warning(
                "lines were left out for a log drain", lines=self.lines, bytes=self.size, **self.named
            )
        self.problem, self.failing_since, self.pause, self.most = "", None, 0.0, _MOST
        self.lines = self.size = 0
        self.sent_at, self.changed = now(), True

    def failed(self, why: str, after: float = 0.0) -> None:
        if why != self.problem:
            log.warning("a log drain takes nothing", why=why, **self.named)
        self.problem, self.failing_since = why, self.failing_since or now()
        self.pause = min(max(_SOON, self.pause * 2), _LATE)
        self.due, self.changed = time.monotonic() + max(self.pause, after), True

    def reached(self, place: int) -> None:
        self.place, self.since, self.changed = place, 0, True

    @property
    def named(self) -> dict[str, str]:
        source = self.wanted.source
        return {
            "repository": source.repository,
            "environment": source.environment,
            "drain": self.wanted.shown,
        }


@dataclass(frozen=True)
class Pump:
    """What all environments share."""

    outputs: Outputs
    sinks: Sinks
    budget: int  # bytes that a drain may be behind
    instruments: Instruments

    async def drain(self, progress: Progress) -> None:
        """Until the drain has all that there is, or fails: then it is `due` again later."""
        while await self._batch(progress):
            pass

    async def _batch(self, progress: Progress) -> bool:
        """Send the next lines; whether there may be more to send now."""
        target, environment = progress.wanted.target, progress.key[0]
        if target is None:
            progress.failed(progress.wanted.problem)
            await self._shorten(progress)
            return False
        turns = self.sinks.of(target)
        async with turns.turn:
            await self._shorten(progress)
            lines, reached = await self.outputs.read(environment, progress.place, Lines(since=progress.since))
            if len(lines) > progress.most:
                lines, reached = lines[: progress.most], lines[progress.most - 1].place
            progress.oldest = lines[0].said.at if lines else 0
            if not lines:
                moved = reached != progress.place
                progress.reached(reached)
                return moved
            try:
                await turns.sink.send(progress.wanted.source, self._told(progress, lines))
            except DrainRefused as error:
                self._refused(progress, lines, reached, error)
                return False
            except DrainDown as error:
                progress.failed(str(error), error.after)
                return False
        progress.sent()
        progress.reached(reached)
        self.instruments.drained(progress.key[1], len(lines))
        return True

    async def _shorten(self, progress: Progress) -> None:
        """Leave out what lies beyond the budget, and what is forgotten already."""
        skipped = await self.outputs.skip(progress.key[0], progress.place, self.budget)
        if skipped.place == progress.place:
            return
        if not progress.since:  # what a new drain has no need of, it misses nothing of
            self._lost(progress, skipped.lines, skipped.size)
        progress.place, progress.changed = skipped.place, True

    def _refused(self, progress: Progress, lines: Sequence[Kept], reached: int, error: DrainRefused) -> None:
        """Half of them the next time; of one line that it does not take, the next one."""
        progress.failed(str(error), error.after)
        if len(lines) > 1:
            progress.most = len(lines) // 2
        else:
            self._lost(progress, 1, len(lines[0].said.text))
            progress.reached(reached)

    def _lost(self, progress: Progress, lines: int, size: int) -> None:
        progress.lines, progress.size = progress.lines + lines, progress.size + size
        progress.dropped += lines
        self.instruments.drain_dropped(progress.key[1], lines)

    def _told(self, progress: Progress, lines: Sequence[Kept]) -> Sequence[Kept]:
        """The lines, after a word of ours where some before them are missing."""
        if not progress.size:
            return lines
        return [forms.missing(progress.lines, progress.size, lines[0].said.at), *lines]
