"""Places to routes: where each one's traffic goes, and at which URL people find it."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

import structlog

from bot.routing.places import Place, owner_of, page
from bot.routing.proxy import Route
from bot.routing.upstreams import ip_and_port
from bot.routing.users import Users
from bot.routing.ways import Way, addresses, all_addresses, route_id
from config import hosts
from config.errors import ConfigError
from config.networks import netloc
from config.settings import Settings

_HTTP, _HTTPS = 80, 443

log = structlog.get_logger()


class Routes:
    """Makes routes. `bot` is HOST:PORT at which the proxy reaches the bot, which shows the pages."""

    def __init__(self, settings: Settings, users: Users, bot: str, *, switches: bool) -> None:
        self._settings = settings
        self._rules = settings.host_rules
        self._users = users
        self._bot = bot
        self._switches = switches
        self._told: set[str] = set()

    async def those_of(self, found: Sequence[Place], known: Sequence[hosts.Claimant]) -> list[Route]:
        """Their routes. One that can't have any is left out and told once; nobody else suffers from it.

        A name that two have is whose it is, by all environments that are `known`.
        """
        routes: list[Route] = []
        taken: dict[str | int, str] = {}
        for place in sorted(found, key=lambda place: self._refusal(place, known) is not None):
            try:
                theirs = await self.of(place)
            except ConfigError as error:
                self._tell(place, str(error))
                continue
            for route in theirs:
                where = route.host or route.port
                if where is None or taken.get(where, place.route) != place.route:
                    self._tell(place, f"it has no address of its own: {where}")
                elif route.upstreams:
                    taken[where] = place.route
                    routes.append(route)
        return routes

    def _tell(self, place: Place, error: str) -> None:
        if (known := f"{place.route}: {error}") not in self._told:
            self._told.add(known)
            log.error("an environment has no route", environment=place.name, error=error)

    async def of(self, place: Place) -> list[Route]:
        """A place's routes, to its release or to the bot's page. Raises ConfigError."""
        told = all_addresses(place.release)
        if wrong := [address for address in told if ip_and_port(address) is None]:
            raise ConfigError(f"{wrong[0]!r} is no IP:PORT that visitors may be sent to")
        users = await self._users.of(place)
        return [self._route(place, way, users) for way in place.ways]

    def _route(self, place: Place, way: Way, users: tuple[tuple[str, str], ...]) -> Route:
        host, there = way.host(place, self._settings.domain), addresses(place.release, way.process)
        resting = page(place.environment) is not None
        return Route(
            id=route_id(place.environment.id, way.process),
            # As many as before: their number is part of the proxy's configuration, which better stays.
            upstreams=(self._bot,) * (len(there) or 1) if resting else tuple(there),
            host=host,
            port=None if host else place.environment.port,
            path=way.path,
            headers=tuple(sorted((place.setting("headers") or {}).items())),
            users=users,
        )

    def url(self, place: Place, routes: Sequence[Route]) -> str:
        """Where people find a place; empty where no process of it is reached."""
        if not routes:
            return ""
        first = routes[0]
        if not self._switches:
            return f"http://{all_addresses(place.release)[0]}"
        if first.host is None:
            return f"http://{netloc(self._settings.environment_host, first.port)}{first.path}"
        plain = self._settings.proxy_tls == "off"
        port = self._settings.proxy_http_port if plain else self._settings.proxy_https_port
        ported = "" if port == (_HTTP if plain else _HTTPS) else f":{port}"
        return f"{'http' if plain else 'https'}://{first.host}{ported}{first.path}"

    def refuse_taken(self, place: Place, others: Sequence[Place], known: Sequence[hosts.Claimant]) -> None:
        """Raises ConfigError where a place's host name is somebody else's.

        Who has it now without a right to it gives way to whoever has one.
        """
        if not self._switches:
            return
        if why := self._refusal(place, known):
            raise ConfigError(f"{why}: choose another `domain` in .blacktree.yml")
        rightful = [other for other in others if self._refusal(other, known) is None]
        for host in sorted(place.hosts(self._settings.domain)):
            if owner := owner_of(host, self._settings.domain, rightful):
                raise ConfigError(
                    f"The host name {host} is that of {owner.name} already:"
                    " choose another `domain` in .blacktree.yml"
                )
            if host in (urlsplit(self._settings.base_url).hostname, self._settings.environment_host):
                raise ConfigError(f"The host name {host} is Blacktree's own: choose another `domain`")

    def _refusal(self, place: Place, known: Sequence[hosts.Claimant]) -> str | None:
        """Why a place must not have one of its host names; None if it may, or has none."""
        try:
            theirs = sorted(place.hosts(self._settings.domain))
        except ConfigError:
            return None
        refusals = (self._rules.refusal(host, place.named, known) for host in theirs)
        return next(filter(None, refusals), None)
