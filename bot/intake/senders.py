"""Whence deliveries may come: GitHub's own addresses, as it tells them itself; anybody while it has not."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

import structlog

from bot.github.client import GitHubError
from bot.github.forge import GitHub
from config.networks import loops_back
from config.settings import Settings

_EVERY = 3600.0  # seconds between two looks; GitHub changes its addresses "from time to time"
_AGAIN = 60.0  # seconds, after one that failed

# What to do about it, for the log and for doctor.
UNHIDE = (
    "leave BLACKTREE_GITHUB_ADDRESSES out and let the proxy take GitHub's addresses alone "
    "(docs/security.md#strangers)"
)

log = structlog.get_logger()


def proxied(settings: Settings) -> str:
    """Why GITHUB_ADDRESSES is likely to refuse every delivery, for people; empty where it is not.

    The bot speaks plain HTTP: one that is reached by https, or that listens to its own machine alone, has a
    proxy before it, and sees the proxy's address in place of GitHub's.
    """
    if not settings.github_addresses:
        return ""
    if settings.public_url.lower().startswith("https:"):
        return "PUBLIC_URL is https, so deliveries come from the proxy that has its certificate"
    if loops_back(settings.host) and not loops_back(urlsplit(settings.github_url).hostname or ""):
        return f"HOST is {settings.host}, so deliveries come from this machine's own proxy"
    return ""


class Senders:
    """The addresses of `GET /meta` (https://docs.github.com/rest/meta/meta), kept up to date by `run`."""

    def __init__(self, github: GitHub) -> None:
        self._github = github
        self._known: tuple[IPv4Network | IPv6Network, ...] = ()

    async def run(self) -> None:
        """Until cancelled. What GitHub said last counts until it says something else."""
        while True:
            known = await self.look()
            await asyncio.sleep(_EVERY if known else _AGAIN)

    async def look(self) -> bool:
        """Ask once; whether GitHub said something."""
        try:
            told = await self._github.hook_addresses()
            self._known = tuple(ip_network(one) for one in told)
        except (GitHubError, ValueError) as error:
            log.warning("which addresses are GitHub's is not known", error=str(error))
            return False
        if not self._known:
            log.warning("this GitHub tells no addresses of its webhooks: deliveries are taken from anywhere")
        return True

    def has(self, address: str) -> bool:
        """Whether a delivery from there is listened to; never from what is no address, as of a socket's."""
        if not self._known:
            return True
        try:
            found = ip_address(address)
        except ValueError:
            return False
        if isinstance(found, IPv6Address) and found.ipv4_mapped:
            found = found.ipv4_mapped
        return any(found in network for network in self._known)
