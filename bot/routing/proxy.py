"""The proxy in front of all environments: told the whole truth each time, so that it can't drift."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from bot.routing.upstreams import is_dialed
from config.outages import Outside


class ProxyDown(Outside):
    """The proxy does not do what it is told; the text says why."""


@dataclass(frozen=True)
class Route:
    """Where the traffic of an environment's process goes.

    It is known by its host name, or else by its port, and by what the paths begin with, if that is said.
    """

    id: str
    upstreams: tuple[str, ...]  # IP:PORT or HOST:PORT of each replica, between which it is balanced
    host: str | None = None
    port: int | None = None
    path: str = ""  # it, and what is below it; the longest of a host's decides
    headers: tuple[tuple[str, str], ...] = ()  # added to every answer
    users: tuple[tuple[str, str], ...] = ()  # of basic auth: name and bcrypt hash; everybody if empty

    def takes(self, other: Route) -> bool:
        """Whether both are known by one name."""
        return self.host is not None and self.host == other.host


def dialed(address: str) -> str:
    """An upstream as the proxy is told it. Raises ProxyDown for a socket's path and the like."""
    if not is_dialed(address):
        raise ProxyDown(f"{address!r} is no HOST:PORT")
    return address


class Proxy(Protocol):
    """Sends traffic where the routes say."""

    switches: bool  # whether an old and a new release may run side by side while it switches

    async def apply(self, routes: list[Route]) -> None:
        """Make these all the routes there are; does nothing if they are already. Raises ProxyDown."""

    async def check(self) -> str:
        """What it is, for people. Raises ProxyDown."""

    async def requests(self) -> dict[str, int]:
        """How many came since the last look, by route; 0 where one is still being answered.

        Of routes of one name the first one has all. What it can't tell is left out. Raises ProxyDown.
        """


class Direct:
    """No proxy: people reach the containers' own ports, one for each environment."""

    switches = False

    async def apply(self, routes: list[Route]) -> None:
        """There is nobody to tell."""

    async def check(self) -> str:
        return "none (each environment has a port of its own; deploys have a downtime)"

    async def requests(self) -> dict[str, int]:
        return {}
