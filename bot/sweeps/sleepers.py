"""Previews that nobody has asked for in a while sleep, where `sleep` of the environment says so."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

import structlog
from sqlalchemy import update
from sqlmodel import col, select

from bot import quiet
from bot.store.database import Store
from bot.store.tables import Environment, Release, ReleaseState
from config.durations import seconds
from workers.contract.messages import now

EVERY = 15.0  # seconds

log = structlog.get_logger()


@runtime_checkable
class Requests(Protocol):
    """A proxy that sees who is asked for."""

    async def last_requests(self) -> Mapping[int, datetime]:
        """When each environment was last asked for, by its id, as far as it is known. Raises ProxyDown."""


class Sleepers:
    """Remembers since when it has been looking: nobody saw who came before."""

    def __init__(self, store: Store, requests: Requests) -> None:
        self._store = store
        self._requests = requests
        self._since = now()

    async def sweep(self) -> None:
        """Keep when environments were asked for, and stop the previews that were not. Raises ProxyDown."""
        asked = await self._requests.last_requests()
        async with self._store.reading() as session:
            live = (
                select(Environment, Release)
                .join(Release, col(Release.environment_id) == col(Environment.id))
                .where(col(Environment.pull_number).is_not(None), Release.state == ReleaseState.LIVE)
            )
            rows = (await session.exec(live)).all()
        await self._keep(asked, [environment for environment, _ in rows])
        for environment, release in rows:
            last = max(filter(None, (asked.get(environment.id or 0), environment.requested_at, self._since)))
            if sleepy(release, last, now()):
                await self._sleep(environment, release)

    async def _keep(self, asked: Mapping[int, datetime], rows: list[Environment]) -> None:
        newer = {
            row.id: at
            for row in rows
            if (at := asked.get(row.id or 0)) and (row.requested_at is None or at > row.requested_at)
        }
        if not newer:
            return
        async with self._store.transaction() as session:
            for number, at in newer.items():
                here = update(Environment).where(col(Environment.id) == number)
                await session.exec(here.values(requested_at=at))

    async def _sleep(self, environment: Environment, release: Release) -> None:
        async with self._store.transaction() as session:
            run = await quiet.sleep(session, environment, release)
        if run is not None:
            log.info("preview sleeps", environment=environment.name, run=run)


def sleepy(release: Release, asked_at: datetime, at: datetime) -> bool:
    """Pure: whether a preview that was last asked for at `asked_at` has been idle for its time."""
    idle: str | None = release.settings.get("sleep")
    if idle is None or release.live_at is None:
        return False
    return at - max(asked_at, release.live_at) > timedelta(seconds=seconds(idle))
