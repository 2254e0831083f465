"""Pure: the ways of an environment's visitors: which process they reach, at which host name and path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bot.store.tables import Release
from config.hosts import host_name
from config.processes import WEB

if TYPE_CHECKING:
    from bot.routing.places import Place

_PREFIX = "environment-"


@dataclass(frozen=True)
class Way:
    """One process that visitors reach; `path` is what all that reaches it begins with, empty for anything."""

    process: str = WEB
    domain: str | None = None  # a template
    path: str = ""

    def host(self, place: Place, domain: str) -> str | None:
        """Its host name, by the instance's template `domain` where it has none. Raises ConfigError."""
        template = self.domain or domain
        return host_name(template, place.named.parts) if template else None


def ways(settings: Mapping[str, Any]) -> list[Way]:
    """Those of a release, the one that people are told of first. No two of them are the same to visitors."""
    processes = settings.get("processes")
    if not processes:
        return [Way(domain=settings.get("domain"))]
    served = [Way(name, said["domain"], said["path"]) for name, said in processes.items() if said["served"]]
    by_address = {(way.domain, way.path.lower()): way for way in sorted(served, key=_last_first)}
    return sorted(by_address.values(), key=_last_first, reverse=True)


def _last_first(way: Way) -> tuple[bool, bool, str]:
    return way.process == WEB, not way.path, way.process


def addresses(release: Release, process: str) -> list[str]:
    """Where the proxy reaches a process of a release."""
    return release.addresses if process == WEB else (release.further or {}).get(process, [])


def all_addresses(release: Release) -> list[str]:
    """Those of all its processes."""
    return [*release.addresses, *(one for theirs in (release.further or {}).values() for one in theirs)]


def route_id(environment: int | None, process: str) -> str:
    """By which the proxy and the bot know the route of a process."""
    return f"{_PREFIX}{environment}" + ("" if process == WEB else f"-{process}")


def environment_id(route: str) -> int | None:
    """Whose route it is; None if it is nobody's."""
    number = route.removeprefix(_PREFIX).partition("-")[0]
    return int(number) if route.startswith(_PREFIX) and number.isdecimal() and len(number) < 10 else None
