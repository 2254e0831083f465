"""Places to routes: where each one's traffic goes, and at which URL people find it."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

import structlog

from bot.routing.places import Place, owner_of, page
from bot.routing.proxy import Route
from bot.routing.users import Users
from config.errors import ConfigError
from config.settings import Settings

_HTTP, _HTTPS = 80, 443

log = structlog.get_logger()


class Routes:
    """Makes routes. `bot` is HOST:PORT at which the proxy reaches the bot, which shows the pages."""

    def __init__(self, settings: Settings, users: Users, bot: str, *, switches: bool) -> None:
        self._settings = settings
        self._users = users
        self._bot = bot
        self._switches = switches
        self._told: set[str] = set()

    async def those_of(self, found: Sequence[Place]) -> list[Route]:
        """Their routes. One that can't have any is left out and told once; nobody else suffers from it."""
        routes: list[Route] = []
        taken: set[str | int | None] = {None}
        for place in found:
            try:
                route = await self.of(place)
            except ConfigError as error:
                self._tell(place, str(error))
                continue
            where = route.host or route.port
            if where in taken:
                self._tell(place, f"it has no address of its own: {where}")
            elif route.upstreams:
                taken.add(where)
                routes.append(route)
        return routes

    def _tell(self, place: Place, error: str) -> None:
        if (known := f"{place.route}: {error}") not in self._told:
            self._told.add(known)
            log.error("an environment has no route", environment=place.name, error=error)

    async def of(self, place: Place) -> Route:
        """A place's route, to its release or to the bot's page. Raises ConfigError."""
        host = place.host(self._settings.domain)
        addresses = place.release.addresses
        resting = page(place.environment) is not None
        return Route(
            id=place.route,
            # As many as before: their number is part of the proxy's configuration, which better stays.
            upstreams=(self._bot,) * (len(addresses) or 1) if resting else tuple(addresses),
            host=host,
            port=None if host else place.environment.port,
            headers=tuple(sorted((place.setting("headers") or {}).items())),
            users=await self._users.of(place),
            watched=bool(place.setting("sleep")),
        )

    def url(self, place: Place, route: Route) -> str:
        """Where people find a place."""
        if not self._switches:
            return f"http://{place.release.addresses[0]}"
        if route.host is None:
            return f"http://{self._settings.environment_host}:{route.port}"
        plain = self._settings.proxy_tls == "off"
        port = self._settings.proxy_http_port if plain else self._settings.proxy_https_port
        usual = _HTTP if plain else _HTTPS
        return f"{'http' if plain else 'https'}://{route.host}{'' if port == usual else f':{port}'}"

    def refuse_taken(self, place: Place, others: Sequence[Place]) -> None:
        """Raises ConfigError where a place's host name is somebody else's."""
        host = place.host(self._settings.domain)
        if host is None or not self._switches:
            return
        if owner := owner_of(host, self._settings.domain, others):
            raise ConfigError(
                f"The host name {host} is that of {owner.name} already:"
                " choose another `domain` in .blacktree.yml"
            )
        if host == urlsplit(self._settings.base_url).hostname:
            raise ConfigError(f"The host name {host} is Blacktree's own: choose another `domain`")
