"""From deliveries to runs: each is decided once, and written in the transaction that ends it."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

import structlog
from gidgethub import sansio
from sqlalchemy import ColumnElement, Update, func, update
from sqlalchemy.exc import DataError
from sqlmodel import col, select
from structlog.contextvars import bound_contextvars

from bot.decisions import admission, previews, record
from bot.decisions.decision import Decision, RepositoryFacts
from bot.decisions.desk import Desk, Permissions
from bot.decisions.events.installation import about_account
from bot.decisions.events.table import decide
from bot.decisions.patience import Patience
from bot.github.client import GitHubError, GitHubRefused, GitHubUnavailable
from bot.github.forge import GitHub
from bot.intake.payload import installation, read
from bot.store.database import Store, heard
from bot.store.outages import away, told
from bot.store.tables import Delivery, DeliveryState, Repository
from config.settings import Settings
from workers.contract.messages import now

_BATCH = 50
_ATTEMPTS = 20
_POLL = timedelta(seconds=30)  # for what was not heard
# Repositories of one installation that are decided about at once. GitHub takes 100 requests at a time:
# https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api; reports go out meanwhile.
_AT_ONCE = 10
_YIELD = 0.2  # seconds that a decision waits, at most, for deliveries that wait for their answer
_MOST_WAIT = 600.0
_LARGE = 256 * 1024  # characters
# Right after an event GitHub may answer 404 for what it told: tried again this often before it counts.
_LAG_ATTEMPTS = 3
_FULL_NAME = re.compile(r"^[A-Za-z0-9-]+/(?!\.{1,2}$)[A-Za-z0-9._-]+$")

_Seen = TypeVar("_Seen")

log = structlog.get_logger()


class Processor:
    """Works off the deliveries that the receiver kept."""

    def __init__(self, store: Store, github: GitHub, settings: Settings) -> None:
        self._store = store
        self._github = github
        self._settings = settings
        self._permissions, self._patience = Permissions(), Patience()
        self._due_at, self._changed = now(), asyncio.Event()
        self._busy: set[int | None] = set()  # repositories
        self._again: set[int | None] = set()  # of those, what more came for
        self._slots: defaultdict[int | None, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(_AT_ONCE)
        )
        self._door = asyncio.Lock()

    async def run(self) -> None:
        """Until cancelled: repositories side by side, the deliveries of one in their order."""
        self._due_at = now()
        with self._store.changes(Delivery) as self._changed:
            async with asyncio.TaskGroup() as group:
                while True:
                    self._changed.clear()
                    came, elsewhere = self._store.came()
                    if elsewhere or self._due_at <= now():
                        self._due_at = now() + _POLL
                        came.update(await self._waiting())
                    for repository in came:
                        self._start(group, repository)
                    await heard(self._changed, max(0.0, (self._due_at - now()).total_seconds()))

    def _start(self, group: asyncio.TaskGroup, repository: int | None) -> None:
        """Decide what is due of a repository: now, or once more when that is done which is under way."""
        if repository in self._busy:
            self._again.add(repository)
        else:
            self._busy.add(repository)
            group.create_task(self._repository(repository))

    def _put_off(self, at: datetime) -> None:
        """Look again when that is."""
        self._due_at = min(self._due_at, at)
        self._changed.set()

    async def _waiting(self) -> Sequence[int | None]:
        """The repositories of what is due, by the store; it also says when the next is that was put off."""
        due = select(Delivery.repository_id).where(*_is_due()).distinct()
        received, later = Delivery.state == DeliveryState.RECEIVED, col(Delivery.due_at) > now()
        async with self._store.reading() as session:
            if at := (await session.exec(select(func.min(Delivery.due_at)).where(received, later))).one():
                self._put_off(at)
            return (await session.exec(due)).all()

    async def _repository(self, repository: int | None) -> None:
        """All that is due of one."""
        of = col(Delivery.repository_id)
        mine = of.is_(None) if repository is None else of == repository
        try:
            more = True
            while more:
                self._again.discard(repository)
                while due := await self._due(mine, most=1):
                    await self._lane(due)
                more = repository in self._again
        finally:
            self._busy.discard(repository)

    async def _due(self, *where: ColumnElement[bool], most: int = _BATCH) -> Sequence[Delivery]:
        """What is due, in the order in which it came."""
        due = select(Delivery).where(*_is_due(), *where).order_by(col(Delivery.received_at)).limit(most)
        async with self._store.reading() as session:
            return (await session.exec(due)).all()

    async def _lane(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            async with self._slots[await _aside(installation, delivery.payload)]:
                async with self._door:  # one by one, where many come at once
                    await self._store.calm(_YIELD)
                told = bound_contextvars(delivery=delivery.guid, github_event=delivery.event)
                with told, self._store.instruments.deciding():
                    await self._process(delivery)

    async def _process(self, delivery: Delivery) -> None:
        try:
            payload = await _aside(read, delivery.payload)
            event = sansio.Event(payload, event=delivery.event, delivery_id=delivery.guid)
            if said := await about_account(event, self._store):
                return await self._end(delivery, DeliveryState.PROCESSED, said)
            facts = repository_facts(payload)
            if facts is None:
                return await self._end(
                    delivery, DeliveryState.PROCESSED, "ignored: it is about no repository"
                )
            repository = await self._known(facts)
            if repository.inactive:
                reason = f"ignored: {repository.full_name} is {repository.inactive}"
                return await self._end(delivery, DeliveryState.PROCESSED, reason)
            desk = Desk(
                self._github, self._store, repository, self._settings, self._permissions, self._patience
            )
            decision = await admission.admitted(desk, await decide(event, desk))
            decision = await previews.capped(desk, decision)
            return await self._record(delivery, repository, decision)
        except GitHubError as error:
            return await self._postpone(delivery, error)
        except (KeyError, TypeError, ValueError, AttributeError, DataError) as error:
            log.warning("delivery not understood", exc_info=True)
            reason = f"failed: its form is not understood ({type(error).__name__}: {error})"
            return await self._end(delivery, DeliveryState.FAILED, reason)
        except Exception as error:
            if away(error):
                raise  # it is no delivery's fault
            told(log, "delivery broke us", error)
            return await self._postpone(delivery, error)

    async def _known(self, facts: RepositoryFacts) -> Repository:
        """The repository's row, as the newest payload describes it."""
        async with self._store.reading() as session:
            row = await session.get(Repository, facts.id)
        if row is not None and _told(row) == _told(facts):
            return row
        async with self._store.transaction() as session:
            return await record.repository(session, facts)

    async def _record(self, delivery: Delivery, repository: Repository, decision: Decision) -> None:
        settings = self._settings
        async with self._store.transaction() as session:
            reason, run = await record.decision(
                session, repository, decision, delivery.guid, settings.worker_pool, settings.attempts
            )
            ended: dict[str, Any] = {"state": DeliveryState.PROCESSED}
            if decision.later is not None:
                ended = {"due_at": now() + timedelta(seconds=decision.later)}
            await session.exec(_row(delivery).values(reason=reason, run_id=run, **ended))
        self._decided(delivery, "later" if decision.later is not None else "run" if run else "nothing")
        if "due_at" in ended:
            self._put_off(ended["due_at"])
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
            reason = f"tried again in {wait:.0f} s: {error}"
            due_at = now() + timedelta(seconds=wait)
            later = _row(delivery).values(attempts=Delivery.attempts + 1, due_at=due_at, reason=reason)
            await session.exec(later)
        self._decided(delivery, "postponed")
        self._put_off(due_at)
        log.warning("delivery postponed", seconds=wait, error=str(error))
        return None

    async def _end(self, delivery: Delivery, state: DeliveryState, reason: str) -> None:
        async with self._store.transaction() as session:
            await session.exec(_row(delivery).values(state=state, reason=reason))
        self._decided(delivery, "failed" if state is DeliveryState.FAILED else "nothing")
        log.info("delivery processed", reason=reason)

    def _decided(self, delivery: Delivery, outcome: str) -> None:
        over = outcome not in ("later", "postponed")
        since = (now() - delivery.received_at).total_seconds() if over else None
        self._store.instruments.decided(delivery.event, outcome, since)


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
    installed = (payload.get("installation") or {}).get("id")
    return RepositoryFacts(
        id=_number(repository["id"]),
        full_name=repository["full_name"],
        default_branch=branch,
        private=bool(repository.get("private", True)),
        installation_id=None if installed is None else _number(installed),
    )


def _number(value: object) -> int:
    """An id of GitHub's as the store can keep it. Raises TypeError."""
    if type(value) is not int or not 0 < value < 2**63:
        raise TypeError(f"{value!r} is no id")
    return value


def _told(repository: Repository | RepositoryFacts) -> tuple[str, str, bool, int | None]:
    """What changes of a repository."""
    return (
        repository.full_name,
        repository.default_branch,
        repository.private,
        repository.installation_id,
    )


async def _aside(look: Callable[[str], _Seen], payload: str) -> _Seen:
    """What `look` sees in a payload; in a large one beside the loop."""
    return look(payload) if len(payload) < _LARGE else await asyncio.to_thread(look, payload)


def _is_due() -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return col(Delivery.state) == DeliveryState.RECEIVED, col(Delivery.due_at) <= now()


def _row(delivery: Delivery) -> Update:
    """To change what is known of a delivery without reading its payload once more."""
    return update(Delivery).where(col(Delivery.guid) == delivery.guid)
