"""From deliveries to runs: each is decided once, and written in the transaction that ends it."""

from __future__ import annotations

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import structlog
from gidgethub import sansio
from sqlalchemy.exc import DataError, OperationalError
from sqlmodel import col, select
from structlog.contextvars import bound_contextvars

from bot import admission, previews, record
from bot.decision import Decision, RepositoryFacts
from bot.events.desk import Desk, Permissions
from bot.events.installation import about_account
from bot.events.table import decide
from bot.github.client import GitHubError, GitHubRefused, GitHubUnavailable
from bot.github.forge import GitHub
from bot.store.database import Store, heard
from bot.store.tables import Delivery, DeliveryState, Repository
from config.settings import Settings
from workers.contract.messages import now

_BATCH = 50
_ATTEMPTS = 20
_POLL = 0.5  # seconds: another bot's commits are not heard here, and a rollback is awaited
_MOST_WAIT = 600.0
# Right after an event GitHub may answer 404 for what it told: tried again this often before it counts.
_LAG_ATTEMPTS = 3
_FULL_NAME = re.compile(r"^[A-Za-z0-9-]+/(?!\.{1,2}$)[A-Za-z0-9._-]+$")

log = structlog.get_logger()


class Processor:
    """Works off the deliveries that the receiver kept."""

    def __init__(self, store: Store, github: GitHub, settings: Settings) -> None:
        self._store = store
        self._github = github
        self._settings = settings
        self._permissions = Permissions()

    async def run(self) -> None:
        """Until cancelled: repositories side by side, the deliveries of one in their order."""
        with self._store.changes() as changed:
            while True:
                changed.clear()
                lanes = _lanes(await self._due())
                async with asyncio.TaskGroup() as group:
                    for lane in lanes:
                        group.create_task(self._lane(lane))
                if not lanes:
                    await heard(changed, _POLL)

    async def _due(self) -> Sequence[Delivery]:
        due = (
            select(Delivery)
            .where(Delivery.state == DeliveryState.RECEIVED, col(Delivery.due_at) <= now())
            .order_by(col(Delivery.received_at))
            .limit(_BATCH)
        )
        async with self._store.reading() as session:
            return (await session.exec(due)).all()

    async def _lane(self, deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            with bound_contextvars(delivery=delivery.guid, github_event=delivery.event):
                await self._process(delivery)

    async def _process(self, delivery: Delivery) -> None:
        try:
            payload = json.loads(delivery.payload)
            event = sansio.Event(payload, event=delivery.event, delivery_id=delivery.guid)
            if said := await about_account(event, self._store):
                return await self._end(delivery, DeliveryState.PROCESSED, said)
            facts = repository_facts(payload)
            if facts is None:
                return await self._end(
                    delivery, DeliveryState.PROCESSED, "ignored: it is about no repository"
                )
            async with self._store.transaction() as session:
                repository = await record.repository(session, facts)
            if repository.inactive:
                reason = f"ignored: {repository.full_name} is {repository.inactive}"
                return await self._end(delivery, DeliveryState.PROCESSED, reason)
            desk = Desk(self._github, self._store, repository, self._settings, self._permissions)
            decision = await admission.admitted(desk, await decide(event, desk))
            decision = await previews.capped(desk, decision)
            return await self._record(delivery, repository, decision)
        except GitHubError as error:
            return await self._postpone(delivery, error)
        except (KeyError, TypeError, ValueError, AttributeError, DataError) as error:
            log.warning("delivery not understood", exc_info=True)
            reason = f"failed: its form is not understood ({type(error).__name__}: {error})"
            return await self._end(delivery, DeliveryState.FAILED, reason)
        except OperationalError:
            raise  # the store is away: it is no delivery's fault
        except Exception as error:
            log.exception("delivery broke us")
            return await self._postpone(delivery, error)

    async def _record(self, delivery: Delivery, repository: Repository, decision: Decision) -> None:
        settings = self._settings
        async with self._store.transaction() as session:
            reason, run = await record.decision(
                session, repository, decision, delivery.guid, settings.worker_pool, settings.attempts
            )
            row = await session.get_one(Delivery, delivery.guid)
            row.reason, row.run_id = reason, run
            if decision.later is None:
                row.state = DeliveryState.PROCESSED
            else:
                row.due_at = now() + timedelta(seconds=decision.later)
        log.info("delivery processed", reason=reason, run=run)

    async def _postpone(self, delivery: Delivery, error: Exception) -> None:
        """Try again later, unless GitHub's answer will stay the same. No delivery blocks another."""
        lag = isinstance(error, GitHubRefused) and error.status == 404 and delivery.attempts < _LAG_ATTEMPTS
        again = lag or not isinstance(error, GitHubRefused)
        if not again or delivery.attempts + 1 >= _ATTEMPTS:
            return await self._end(delivery, DeliveryState.FAILED, f"failed: {error}")
        wait = min(2.0**delivery.attempts, _MOST_WAIT)
        if isinstance(error, GitHubUnavailable):
            wait = max(wait, error.wait)
        async with self._store.transaction() as session:
            row = await session.get_one(Delivery, delivery.guid)
            row.attempts += 1
            row.due_at = now() + timedelta(seconds=wait)
            row.reason = f"tried again in {wait:.0f} s: {error}"
        log.warning("delivery postponed", seconds=wait, error=str(error))
        return None

    async def _end(self, delivery: Delivery, state: DeliveryState, reason: str) -> None:
        async with self._store.transaction() as session:
            row = await session.get_one(Delivery, delivery.guid)
            row.state, row.reason = state, reason
        log.info("delivery processed", reason=reason)


def repository_facts(payload: dict[str, Any]) -> RepositoryFacts | None:
    """What a payload says of its repository, None if it has none."""
    repository = payload.get("repository")
    if not isinstance(repository, dict):
        return None
    if not _FULL_NAME.match(repository["full_name"]):
        raise ValueError(f"{repository['full_name']!r} is no repository's name")
    branch = repository.get("default_branch") or "main"
    if not isinstance(branch, str):
        raise TypeError("repository.default_branch is not a name")
    installation = (payload.get("installation") or {}).get("id")
    return RepositoryFacts(
        id=_number(repository["id"]),
        full_name=repository["full_name"],
        default_branch=branch,
        private=bool(repository.get("private", True)),
        installation_id=None if installation is None else _number(installation),
    )


def _number(value: object) -> int:
    """An id of GitHub's as the store can keep it. Raises TypeError."""
    if type(value) is not int or not 0 < value < 2**63:
        raise TypeError(f"{value!r} is no id")
    return value


def _lanes(deliveries: Sequence[Delivery]) -> list[list[Delivery]]:
    lanes: defaultdict[int | None, list[Delivery]] = defaultdict(list)
    for delivery in deliveries:
        lanes[delivery.repository_id].append(delivery)
    return list(lanes.values())
