"""Schedules of `.blacktree.yml`: when one is due there is a delivery of our own making about it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import datetime

import structlog

from bot.cron import due
from bot.github.client import GitHubError
from bot.github.forge import GitHub
from bot.store.database import Store
from bot.store.tables import Delivery, Repository
from bot.sweeps import marks
from config.errors import ConfigError
from config.repository import FILE, Schedule, parse
from workers.contract.messages import now

EVERY = 60.0  # seconds
_FRESH = 300.0  # seconds that a default branch's head is believed

log = structlog.get_logger()


@dataclass(frozen=True)
class _Known:
    """A repository's schedules at a head of its default branch; `at` is by the monotonic clock."""

    head: str | None
    schedules: tuple[Schedule, ...]
    at: float


class Schedules:
    """Remembers the files between two looks."""

    def __init__(self, store: Store, github: GitHub) -> None:
        self._store = store
        self._github = github
        self._known: dict[int, _Known] = {}

    async def sweep(self) -> None:
        """Store a delivery for each schedule that became due since the last look: one, however many were
        missed."""
        for repository in await marks.watched(self._store):
            try:
                schedules = await self._of(repository)
            except GitHubError as error:
                log.warning("schedules not seen", repository=repository.full_name, error=str(error))
                continue
            for schedule in schedules:
                await self._look(repository, schedule)

    async def _of(self, repository: Repository) -> tuple[Schedule, ...]:
        """The repository's schedules; its last readable ones while its file is broken. Raises GitHubError."""
        known = self._known.get(repository.id)
        if known is not None and time.monotonic() - known.at < _FRESH:
            return known.schedules
        head = await self._github.branch_head(repository, repository.default_branch)
        schedules = known.schedules if known else ()
        if known is None or head != known.head:
            try:
                text = await self._github.file(repository, FILE, head) if head else None
                schedules = tuple(parse(text).schedules)
            except ConfigError as error:
                log.warning("schedules unreadable", repository=repository.full_name, error=str(error))
        self._known[repository.id] = _Known(head, schedules, time.monotonic())
        return schedules

    async def _look(self, repository: Repository, schedule: Schedule) -> None:
        name = f"schedule:{repository.id}:{schedule.cron}:{schedule.environment}:{schedule.branch or ''}"
        said, at = await marks.read(self._store, name), now()
        fires = said is not None and due(schedule.cron, datetime.fromisoformat(said), at)
        if said is not None and not fires:
            return
        async with self._store.transaction() as session:
            if fires:
                session.add(_delivery(repository, schedule, at))
            await marks.move(session, name, at.isoformat())
        if fires:
            log.info("schedule due", repository=repository.full_name, cron=schedule.cron)


def _delivery(repository: Repository, schedule: Schedule, at: datetime) -> Delivery:
    payload = marks.surroundings(repository, marks.about(repository)) | {
        "schedule": {**schedule.model_dump(include={"cron", "environment", "branch"}), "at": at.isoformat()}
    }
    return Delivery(
        guid=marks.guid(), event="schedule", repository_id=repository.id, payload=json.dumps(payload)
    )
