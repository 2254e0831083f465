"""Pure: where the proxy may send visitors: to IP:PORT of the very worker that has the containers.

A worker tells its containers' addresses, and the proxy dials them from a machine where much listens that no
visitor should reach. So nothing else than what that worker's engine publishes is believed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from bot.routing.places import Place
from bot.store.tables import WorkerRow
from config.settings import Settings
from workers.contract.ports import PUBLISHED

Address = IPv4Address | IPv6Address

_UPSTREAM = re.compile(r"(\[[0-9a-fA-F:.]+\]|[0-9.]+):([1-9][0-9]{0,4})")
_DIALED = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+):[1-9][0-9]{0,4}")
# Of the routing mesh and of tasks' own: https://docs.docker.com/engine/swarm/ingress/, and what Linux gives
# (net.ipv4.ip_local_port_range) from 32768 on.
_SWARM = range(30_000, 65_536)
_ANY = range(1, 65_536)


@dataclass(frozen=True)
class Reach:
    """What is believed of one release's addresses."""

    worker: str  # IP address
    swarm: bool = False  # other nodes of the worker's Swarm may have its tasks
    own_network: bool = True  # False: the host's, where its port is any
    fixed: int | None = None  # without a proxy: the environment's port

    @classmethod
    def of(cls, worker: WorkerRow, place: Place, settings: Settings) -> Reach:
        """Of the release of a place, on its worker."""
        host_network = place.setting("host_network") and settings.trusts(place.repository.full_name)
        return cls(
            worker=worker.address,
            swarm=place.setting("target") == "swarm",
            own_network=not host_network,
            fixed=place.environment.port if settings.proxy == "none" else None,
        )

    def refusal(self, addresses: Iterable[str]) -> str:
        """Why they are not all believed, for people; empty if they are."""
        return next(filter(None, map(self._refused, addresses)), "")

    def _refused(self, told: str) -> str:
        found = ip_and_port(told)
        if found is None:
            return f"{told!r} is not IP:PORT"
        ip, port = found
        if port != self.fixed and port not in self._ports():
            return f"port {port} of {told} is none that a worker publishes containers at"
        if str(ip) == self.worker or (self.swarm and _is_a_machines(ip)):
            return ""
        return f"{told} is not at the worker's own address, {self.worker or 'which it has not told'}"

    def _ports(self) -> range:
        if self.swarm:
            return _SWARM
        return PUBLISHED if self.own_network else _ANY


def ip_and_port(text: str) -> tuple[Address, int] | None:
    """The parts of IP:PORT or [IPv6]:PORT; None if it is anything else, such as unix//PATH or a name."""
    found = _UPSTREAM.fullmatch(text)
    if found is None or int(found[2]) not in _ANY:
        return None
    try:
        return ip_address(found[1].strip("[]")), int(found[2])
    except ValueError:
        return None


def is_dialed(text: str) -> bool:
    """Whether it is an address that the proxy may be told at all: IP:PORT, or the bot's own HOST:PORT."""
    return _DIALED.fullmatch(text) is not None


def _is_a_machines(ip: Address) -> bool:
    local = ip.is_loopback or ip.is_link_local or ip.is_unspecified or ip.is_multicast
    return not (local or ip.is_reserved)
