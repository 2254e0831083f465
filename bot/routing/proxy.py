"""The proxy in front of all environments: told the whole truth each time, so that it can't drift."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


class ProxyDown(Exception):
    """The proxy does not do what it is told; the text says why."""


@dataclass(frozen=True)
class Route:
    """Where an environment's traffic goes. It is known by its host name, or else by its port."""

    id: str
    upstreams: tuple[str, ...]  # IP:PORT or HOST:PORT of each replica, between which it is balanced
    host: str | None = None
    port: int | None = None
    headers: tuple[tuple[str, str], ...] = ()  # added to every answer
    users: tuple[tuple[str, str], ...] = ()  # of basic auth: name and bcrypt hash; everybody if empty
    watched: bool = False  # whether somebody asks for its last request


class Proxy(Protocol):
    """Sends traffic where the routes say."""

    switches: bool  # whether an old and a new release may run side by side while it switches

    async def apply(self, routes: list[Route]) -> None:
        """Make these all the routes there are; does nothing if they are already. Raises ProxyDown."""

    async def check(self) -> str:
        """What it is, for people. Raises ProxyDown."""

    async def last_requests(self) -> dict[str, datetime]:
        """When watched routes were last seen being used, by route. What it can't tell is left out.

        Raises ProxyDown.
        """


class Direct:
    """No proxy: people reach the containers' own ports, one for each environment."""

    switches = False

    async def apply(self, routes: list[Route]) -> None:
        """There is nobody to tell."""

    async def check(self) -> str:
        return "none (each environment has a port of its own; deploys have a downtime)"

    async def last_requests(self) -> dict[str, datetime]:
        return {}
