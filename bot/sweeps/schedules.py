"""Schedules of `.blacktree.yml`, and tags that it follows: when one is due there is a delivery of ours."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from bot.decisions.cron import due
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
    followed: Mapping[str, str]  # images whose tag is followed, and when
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
                known = await self._of(repository)
            except GitHubError as error:
                log.warning("schedules not seen", repository=repository.full_name, error=str(error))
                continue
            for schedule in known.schedules:
                name = f"{schedule.cron}:{schedule.environment}:{schedule.branch or ''}"
                told = schedule.model_dump(include={"cron", "environment", "branch"})
                await self._look(repository, "schedule", name, schedule.cron, told)
            for image, said in known.followed.items():
                await self._look(repository, "follow", f"{said}:{image}", said, {"image": image})

    async def _of(self, repository: Repository) -> _Known:
        """What the repository's file says; its last readable one while it is broken. Raises GitHubError."""
        known = self._known.get(repository.id)
        if known is not None and time.monotonic() - known.at < _FRESH:
            return known
        head = await self._github.branch_head(repository, repository.default_branch)
        schedules, followed = (known.schedules, known.followed) if known else ((), {})
        if known is None or head != known.head:
            try:
                text = await self._github.file(repository, FILE, head) if head else None
                said = await asyncio.to_thread(parse, text)
                schedules = tuple(said.schedules)
                followed = {name: one.follow for name, one in said.images.items() if one.follow}
            except ConfigError as error:
                log.warning("schedules unreadable", repository=repository.full_name, error=str(error))
        self._known[repository.id] = _Known(head, schedules, followed, time.monotonic())
        return self._known[repository.id]

    async def _look(
        self, repository: Repository, event: str, which: str, cron: str, told: Mapping[str, Any]
    ) -> None:
        name = f"{event}:{repository.id}:{which}"
        said, at = await marks.read(self._store, name), now()
        fires = said is not None and due(cron, datetime.fromisoformat(said), at)
        if said is not None and not fires:
            return
        async with self._store.transaction() as session:
            if fires:
                session.add(_delivery(repository, event, {**told, "at": at.isoformat()}))
            await marks.move(session, name, at.isoformat())
        if fires:
            self._store.instruments.found("schedules")
            log.info("schedule due", repository=repository.full_name, event_kind=event, cron=cron)


def _delivery(repository: Repository, event: str, told: Mapping[str, Any]) -> Delivery:
    payload = marks.surroundings(repository, marks.about(repository)) | {event: told}
    return Delivery(guid=marks.guid(), event=event, repository_id=repository.id, payload=json.dumps(payload))
