"""Pure: addresses and ranges of them, as they are set."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

# What a cloud tells of a machine, secrets too, at addresses that count as public: Azure's and Oracle's.
# https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
METADATA = (IPv4Network("168.63.129.16/32"), IPv4Network("192.0.0.192/32"))
_FEWEST = 24  # bits: a range with fewer addresses than a /24 holds hardly an environment


@dataclass(frozen=True)
class Reachable:
    """What may be reached: all ports of a network, or one over TCP."""

    network: IPv4Network | IPv6Network
    port: int | None = None


def address_range(text: str) -> IPv4Network:
    """A private range of IPv4 addresses, such as 10.207.0.0/16. Raises ValueError."""
    try:
        found = IPv4Network(text)
    except ValueError:
        raise ValueError("must be a range of IPv4 addresses, such as 10.207.0.0/16") from None
    if not found.is_private or found.is_link_local or found.is_loopback or found.prefixlen > _FEWEST:
        raise ValueError("must be a private range of at least 256 addresses, such as 10.207.0.0/16")
    return found


def netloc(host: str, port: int | None) -> str:
    """HOST:PORT as URLs have it: an IPv6 address is in brackets there."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def loops_back(host: str) -> bool:
    """Whether this machine alone reaches it."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def parse_reachable(text: str) -> list[Reachable]:
    """IP, IP:PORT, IP/BITS or [IPv6]:PORT, by commas. Raises ValueError."""
    return [_reachable(part) for part in map(str.strip, text.split(",")) if part]


def _reachable(part: str) -> Reachable:
    place, port = part, ""
    if part.startswith("["):
        place, _, port = part.removeprefix("[").partition("]:")
    elif part.count(":") == 1:
        place, _, port = part.partition(":")
    try:
        if port and not (port.isdecimal() and 0 < int(port) < 65536):
            raise ValueError
        return Reachable(ip_network(place.removesuffix("]")), int(port) if port else None)
    except ValueError:
        raise ValueError(f"{part}: must be IP, IP:PORT or IP/BITS, such as 10.0.0.9:5432") from None
