"""Previews that nobody has asked for in a while sleep, where `sleep` of the environment says so."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog
from sqlmodel import col, select

from bot.decisions import quiet
from bot.routing.proxy import Proxy
from bot.store.database import Store
from bot.store.tables import Environment, Release, ReleaseState
from bot.sweeps import requests
from config.durations import seconds
from workers.contract.messages import now

EVERY = requests.EVERY

log = structlog.get_logger()


class Sleepers:
    """Remembers since when requests are seen: nobody knows who came before."""

    def __init__(self, store: Store, proxy: Proxy) -> None:
        self._store = store
        self._proxy = proxy
        self._since = now()

    async def sweep(self) -> None:
        """Note who was asked for, and stop the previews that were not for long enough."""
        if not await requests.sweep(self._store, self._proxy):
            self._since = now()
            return
        live = (
            select(Environment, Release)
            .join(Release, col(Release.environment_id) == col(Environment.id))
            .where(col(Environment.pull_number).is_not(None), Release.state == ReleaseState.LIVE)
        )
        async with self._store.reading() as session:
            rows = (await session.exec(live)).all()
        for environment, release in rows:
            last = max(environment.requested_at or self._since, self._since)
            if sleepy(release, last, now()):
                await self._sleep(environment, release)

    async def _sleep(self, environment: Environment, release: Release) -> None:
        async with self._store.transaction() as session:
            run = await quiet.sleep(session, environment, release)
        if run is not None:
            self._store.instruments.found("sleepers")
            log.info("preview sleeps", environment=environment.name, run=run)


def sleepy(release: Release, asked_at: datetime, at: datetime) -> bool:
    """Pure: whether a preview that was last asked for at `asked_at` has been idle for its time."""
    idle: str | None = release.settings.get("sleep")
    if idle is None or release.live_at is None:
        return False
    return at - max(asked_at, release.live_at) > timedelta(seconds=seconds(idle))
