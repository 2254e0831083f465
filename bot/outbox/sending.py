"""Sends what is owed: each receiver's one after the other, several receivers at once."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError

from bot.outbox.calling import Calls
from bot.outbox.owed import Owed, backoff
from bot.outbox.posting import Post
from bot.outbox.sorting import Sorter
from bot.outbox.to_channels import ToChannels
from bot.outbox.to_webhooks import ToWebhooks
from bot.reports.lanes import Lane
from bot.secrets.repositories import Secrets
from bot.store.database import Store, heard
from bot.store.outages import told
from bot.store.tables import Happening, Outgoing
from config.networks import parse_reachable
from config.settings import Settings
from workers.contract.messages import now

_POLL = 30.0  # seconds, for what was not heard
_BUSY = 1.0  # seconds between two looks while something waits for its lane
_LANES = 8  # webhooks, channels of repositories, and the instance's, at once: none wait for the others

log = structlog.get_logger()


@dataclass
class _Patience:
    """How often in a row a receiver took nothing, and until when it is left alone."""

    failures: int = 0
    until: datetime = field(default_factory=now)

    def failed(self) -> None:
        self.until = now() + timedelta(seconds=backoff(self.failures))
        self.failures += 1


class Outbox:
    """Sorts and sends. One bot does at a time."""

    def __init__(self, store: Store, secrets: Secrets, settings: Settings) -> None:
        self._store = store
        self._secrets = secrets
        self._settings = settings
        self._sorter = Sorter(store, settings)
        self._owed = Owed(store)
        self._patience: dict[str, _Patience] = {}
        self._busy: set[str] = set()
        self._webhooks, self._channels, self._ours = (asyncio.Semaphore(_LANES) for _ in range(3))
        # A repository's channels go one after the other: many that answer nothing hold up no other's.
        self._repositories: dict[int, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(1))

    async def run(self) -> None:
        """Until cancelled. Raises SQLAlchemyError when the store is away."""
        reach = parse_reachable(self._settings.notify_reachable)
        with self._store.changes(Happening, Outgoing) as changed:
            async with Post.opened(reach) as post, asyncio.TaskGroup() as group:
                webhooks = ToWebhooks(self._owed, self._secrets.webhooks, post)
                calls = Calls(self._settings.notify_reachable)
                channels = ToChannels(self._owed, self._secrets, self._settings, calls)

                async def bring(lane: Lane) -> bool:
                    return await (webhooks.bring(lane) if lane.webhook else channels.bring(lane))

                while True:
                    changed.clear()
                    await self._sorter.sort()
                    await heard(changed, await self._start(group, bring))

    async def _start(self, group: asyncio.TaskGroup, bring: Callable[[Lane], Awaitable[bool]]) -> float:
        """Set every lane going that has something due and isn't being worked in.

        Returns the seconds until there is something to do by time alone.
        """
        waiting, at = await self._owed.lanes(), now()
        for key in self._patience.keys() - waiting.keys() - self._busy:
            del self._patience[key]
        for key in waiting.keys() - self._busy:
            if waiting[key] <= at:
                self._busy.add(key)
                group.create_task(self._work(key, bring))
        return min([_POLL, *(max(_BUSY, (due - at).total_seconds()) for due in waiting.values())])

    async def _work(self, key: str, bring: Callable[[Lane], Awaitable[bool]]) -> None:
        """Bring what may be brought. Whoever took nothing is left alone for longer each time."""
        try:
            async with AsyncExitStack() as turns:
                for turn in self._turns(Lane.read(key)):
                    await turns.enter_async_context(turn)
                patience = self._patience.get(key)
                if patience is not None and patience.until > now():
                    await self._owed.hold(key, patience.until)
                well = await self._brought(key, bring)
                if well and (patience is None or patience.until <= now()):
                    self._patience.pop(key, None)
                elif not well:
                    patience = self._patience.setdefault(key, _Patience())
                    patience.failed()
                    await self._owed.hold(key, patience.until)
        except SQLAlchemyError as error:
            told(log, "what is owed waits", error, lane=key)
        finally:
            self._busy.discard(key)

    def _turns(self, lane: Lane) -> list[asyncio.Semaphore]:
        """What it waits for."""
        if lane.webhook:
            return [self._webhooks]
        return (
            [self._repositories[lane.repository_id], self._channels] if lane.repository_id else [self._ours]
        )

    async def _brought(self, key: str, bring: Callable[[Lane], Awaitable[bool]]) -> bool:
        try:
            return await bring(Lane.read(key))
        except SQLAlchemyError:
            raise  # the store is away: it is no receiver's fault
        except Exception as error:
            told(log, "what is owed broke us", error, lane=key)
            await self._owed.postpone(await self._owed.of(key, due=True), str(error) or type(error).__name__)
            return False
