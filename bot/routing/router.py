"""Releases to routes. The bot owns the routes; the store says what they are."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import structlog
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.jobs import lifecycle
from bot.jobs.specs import release_name
from bot.reports import happenings, rows, texts
from bot.routing.places import Place, named, place_of, places
from bot.routing.proxy import Proxy, ProxyDown, Route
from bot.routing.routes import Routes
from bot.routing.upstreams import Reach
from bot.routing.users import Users
from bot.routing.ways import addresses, all_addresses, ways
from bot.secrets.repositories import Secrets
from bot.store.database import Store, heard
from bot.store.tables import ContainerRow, Environment, Job, JobState, Release, ReleaseState, WorkerRow
from bot.store.tcp_ports import processes
from config.errors import ConfigError
from config.settings import Settings
from workers.contract.messages import Ready, Refusal, Switched, now

_POLL = 5.0  # seconds: how soon a proxy that lost its routes has them again
_PAUSE = 0.5
# An old release is there a little longer than the new one has to prove itself in, so that its last
# moment counts too; and it is not gone back to in its own last moment.
_STAYS = timedelta(seconds=5)
_LAST_MOMENT = timedelta(seconds=1)

log = structlog.get_logger()


class Router:
    """Switches environments to releases, one at a time.

    `bot` is HOST:PORT at which the proxy reaches the bot, which shows the pages of environments that rest.
    """

    def __init__(self, store: Store, proxy: Proxy, settings: Settings, secrets: Secrets, bot: str) -> None:
        self._store = store
        self._proxy = proxy
        self._settings = settings
        self._users = Users(secrets)
        self._routes = Routes(settings, self._users, bot, switches=proxy.switches)
        self._lock = asyncio.Lock()

    async def ready(self, ready: Ready) -> Switched | Refusal:
        """Switch the routes to a release that is healthy; asked again, the answer is the same."""
        answer = await self._ready(ready)
        if isinstance(answer, Refusal):
            self._store.instruments.switched("refused")
        return answer

    async def _ready(self, ready: Ready) -> Switched | Refusal:
        """First the proxy, then the store: if we die in between, the store's old truth is applied again."""
        async with self._lock:
            async with self._store.reading() as session:
                job = await session.get(Job, ready.job)
                if job is None or job.attempt != ready.attempt or job.state is not JobState.RUNNING:
                    return Refusal(reason="this attempt is not the job's any more")
                release = await lifecycle.release_of(session, job)
                if release is None or release_name(self._store.instance, release) != ready.release:
                    return Refusal(reason="this release is not the job's")
                place = await place_of(session, release)
                worker = await session.get(WorkerRow, job.worker or "")
            if release.state is ReleaseState.LIVE:
                return Switched(url=place.environment.url or "")
            if job.cancelling:
                return Refusal(reason=f"it is being cancelled: {job.cancelling}")
            if worker is None:
                return Refusal(reason="its worker has sent no heartbeat yet", retry=True)
            release.addresses, release.further = ready.addresses, ready.further or None
            if nowhere := [way.process for way in place.ways if not addresses(release, way.process)]:
                return Refusal(reason=f"no address of {' and '.join(nowhere)} was told")
            if nowhere := [name for name in processes(release.settings) if not addresses(release, name)]:
                return Refusal(reason=f"no address of {' and '.join(nowhere)} was told")
            if reason := Reach.of(worker, place, self._settings).refusal(all_addresses(release)):
                return Refusal(reason=f"visitors are not sent there: {reason}")
            try:
                place = await self._with_port(place)
                url = await self._switch(place)
            except (ProxyDown, ConfigError) as error:
                # It may have switched all the same, and the release is about to go.
                with suppress(ProxyDown):
                    await self._proxy.apply(await self._wanted())
                return Refusal(reason=str(error), users=isinstance(error, ConfigError))
            async with self._store.transaction() as session:
                if not await self._commit(session, job, ready, url):
                    return Refusal(reason="this attempt is not the job's any more")
        self._store.instruments.switched("switched")
        log.info("route switched", environment=place.name, release=ready.release, url=url)
        return Switched(url=url)

    async def run(self) -> None:
        """Until cancelled: keep the proxy at what the store says."""
        with self._store.changes() as changed:
            while True:
                changed.clear()
                try:
                    await self.restore()
                except ProxyDown as error:
                    log.error("routes not applied", error=str(error))
                await asyncio.sleep(_PAUSE)
                await heard(changed, _POLL)

    async def restore(self) -> None:
        """Give the proxy all routes of the store, in case it lost or never had them. Raises ProxyDown."""
        async with self._lock:
            await self._proxy.apply(await self._wanted())

    async def _switch(self, place: Place) -> str:
        """Send traffic to a place's release; gives its URL. Raises ProxyDown and ConfigError."""
        awake = place.environment.model_copy(update={"stopped": False, "asleep": False})
        place = replace(place, environment=awake)
        async with self._store.reading() as session:
            others = [other for other in await places(session) if other.route != place.route]
            known = await named(session)
        self._routes.refuse_taken(place, others, known)
        if missing := await self._users.missing(place):
            names = ", ".join(missing)
            raise ConfigError(f"auth: no secret is set for {names}: `blacktree secret set` sets it")
        routes = await self._routes.of(place)
        kept = [
            other
            for other in await self._routes.those_of(others, known)
            if not any(route.takes(other) for route in routes)
        ]
        await self._proxy.apply([*kept, *routes])
        return self._routes.url(place, routes)

    async def _commit(self, session: AsyncSession, seen: Job, ready: Ready, url: str) -> bool:
        job = await session.get_one(Job, seen.id)
        if job.attempt != ready.attempt or job.state is not JobState.RUNNING:
            return False
        release = await lifecycle.release_of(session, job)
        if release is None:
            return False
        drain, stability = self._times(release)
        for old in await _live(session, release.environment_id):
            old.state = ReleaseState.RETIRED
            old.remove_after = now() + max(drain, stability + _STAYS)
            if old.deployment_id is None or old.deployment_id != release.deployment_id:
                await rows.owe_deployment(session, job.repository_id, old, "inactive")
        release.addresses, release.further = ready.addresses, ready.further or None
        release.state, release.live_at = ReleaseState.LIVE, now()
        release.steady_at = release.live_at + stability
        environment = await session.get_one(Environment, release.environment_id)
        environment.url, environment.stopped, environment.asleep = url or None, False, False
        await happenings.went_live(session, release, environment)
        return True

    def _times(self, release: Release) -> tuple[timedelta, timedelta]:
        """How long the release before this one serves on, and how long this one has to prove itself."""
        drain = release.settings.get("drain")
        stability = release.settings.get("stability") or 0
        return (
            timedelta(seconds=self._settings.drain if drain is None else drain),
            timedelta(seconds=stability),
        )

    async def back(self, given_up: int, what: str, last_lines: str = "") -> Release | None:
        """Switch from a release that went wrong after its switch to the one before it, which still runs.

        Gives that, or None where there is none. `what` went wrong, and the `last_lines` that it printed, are
        for people. Raises ProxyDown and ConfigError.
        """
        async with self._lock:
            async with self._store.reading() as session:
                release = await session.get_one(Release, given_up)
                old = await _before(session, release)
                if release.state is not ReleaseState.LIVE or old is None:
                    return None
                place = await place_of(session, old)
            url = await self._switch(place)
            async with self._store.transaction() as session:
                release = await session.get_one(Release, given_up)
                again = await _before(session, release)
                if release.state is not ReleaseState.LIVE or again is None or again.id != old.id:
                    return None  # `run` applies what is true
                release.state = ReleaseState.FAILED
                release.problem, release.last_lines = texts.rolled_back(what, again.sha), last_lines
                again.state, again.remove_after = ReleaseState.LIVE, None
                environment = await session.get_one(Environment, release.environment_id)
                environment.url = url
                await rows.gave_up(session, environment, release)
                happenings.fell_back(session, release, environment)
                await happenings.went_live(session, again, environment)
                await rows.owe_deployment(session, environment.repository_id, again, "success")
        self._store.instruments.switched("rolled_back")
        log.warning("rolled back", environment=place.name, release=given_up, to=again.id, why=what)
        return again

    async def closed(self) -> None:
        """The proxy sends nobody any more to what is about to be stopped, as far as it can be told now."""
        with suppress(ProxyDown):
            await self.restore()

    async def _wanted(self) -> list[Route]:
        async with self._store.reading() as session:
            found, known = await places(session), await named(session)
        return await self._routes.those_of(found, known)

    async def _with_port(self, place: Place) -> Place:
        """The place with a port of the proxy's, where it needs one and has none yet. Raises ConfigError."""
        named = [way.host(place, self._settings.domain) for way in place.ways]
        if place.environment.port is not None or all(named) or not self._proxy.switches:
            return place
        async with self._store.transaction() as session:
            environment = await session.get_one(Environment, place.environment.id)
            environment.port = await free_port(session, self._settings)
        return replace(place, environment=environment)


async def free_port(session: AsyncSession, settings: Settings) -> int:
    """A port of PROXY_PORTS that no environment has. Raises ConfigError if all are taken."""
    first, last = map(int, settings.proxy_ports.split("-"))
    taken = set((await session.exec(select(Environment.port))).all())
    for port in range(first, last + 1):
        if port not in taken and is_free(port):
            return port
    raise ConfigError(f"PROXY_PORTS: all of {settings.proxy_ports} are taken")


async def _before(session: AsyncSession, release: Release) -> Release | None:
    """The release that served before this one, if it still runs as far as its worker said.

    One of which something had to end for this one does not; a Swarm keeps what it goes back to by itself.
    """
    if not all(said["overlap"] for said in (release.settings.get("processes") or {}).values()):
        return None
    draining = (
        select(Release)
        .where(Release.environment_id == release.environment_id, Release.state == ReleaseState.RETIRED)
        .where(
            Release.problem == "",
            col(Release.id) < release.id,
            col(Release.remove_after) > now() + _LAST_MOMENT,
        )
        .order_by(col(Release.live_at).desc())
    )
    for old in (await session.exec(draining)).all():
        theirs = select(ContainerRow.running).where(ContainerRow.release_id == old.id)
        running = (await session.exec(theirs)).all()
        there = bool(running) or old.settings.get("target") == "swarm"
        if (all_addresses(old) or not ways(old.settings)) and there and all(running):
            return old
    return None


async def retire(session: AsyncSession, repository_id: int, name: str, *, asleep: bool = False) -> None:
    """Take what is live in an environment out of service; its route goes with the next `restore`.

    One that is only `asleep` is the same deployment to GitHub when it is awake again.
    """
    here = select(Environment).where(Environment.repository_id == repository_id, Environment.name == name)
    environment = (await session.exec(here)).first()
    if environment is None:
        return
    environment.stopped, environment.asleep = not asleep, asleep
    for release in await _live(session, environment.id):
        release.state, release.remove_after = ReleaseState.RETIRED, now()
        if not asleep:
            await rows.owe_deployment(session, repository_id, release, "inactive")


async def _live(session: AsyncSession, environment_id: int | None) -> list[Release]:
    live = select(Release).where(Release.environment_id == environment_id, Release.state == ReleaseState.LIVE)
    return list((await session.exec(live)).all())


def is_free(port: int, host: str = "") -> bool:
    """Whether nothing on this machine listens there."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
