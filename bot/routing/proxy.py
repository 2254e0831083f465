"""The proxy in front of all environments: told the whole truth each time, so that it can't drift."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class ProxyDown(Exception):
    """The proxy does not do what it is told; the text says why."""


@dataclass(frozen=True)
class Route:
    """Where an environment's traffic goes. It is known by its host name, or else by its port."""

    id: str
    upstream: str  # IP:PORT
    host: str | None = None
    port: int | None = None


class Proxy(Protocol):
    """Sends traffic where the routes say."""

    needs_port: bool

    async def apply(self, routes: list[Route]) -> None:
        """Make these all the routes there are; does nothing if they are already. Raises ProxyDown."""

    async def check(self) -> str:
        """What it is, for people. Raises ProxyDown."""


class Direct:
    """No proxy: people reach the containers' own ports, which change with each release."""

    needs_port = False

    async def apply(self, routes: list[Route]) -> None:
        """There is nobody to tell."""

    async def check(self) -> str:
        return "none (each release has a port of its own)"
