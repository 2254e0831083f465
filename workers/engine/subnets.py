"""Pure: which addresses an environment's network gets, so that a thousand of them fit on one engine.

Docker's own address pools end after about thirty networks.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Network, ip_network
from typing import Any

RANGE = IPv4Network("10.207.0.0/16")
SHARED = 120  # containers that a network of several environments must hold
_SMALLEST = 27  # bits: for 29 containers; 2,048 networks in a /16
_LARGEST = 22
_NO_CONTAINERS = 3  # addresses: the network's, its gateway's and that of its broadcasts


def bits(containers: int) -> int:
    """The length of the prefix of a network for so many containers."""
    return max(_LARGEST, min(_SMALLEST, 32 - (containers + _NO_CONTAINERS - 1).bit_length()))


def is_small(containers: int) -> bool:
    """Whether the usual size does for so many."""
    return bits(containers) == _SMALLEST


def free(of: IPv4Network, length: int, taken: Iterable[IPv4Network]) -> Iterator[IPv4Network]:
    """The networks within `of`, with a prefix of `length` bits, that overlap none of `taken`."""
    size, first = 2 ** (32 - length), int(of.network_address)
    busy: set[int] = set()
    for other in taken:
        if other.overlaps(of):
            last = (int(other.broadcast_address) - first) // size
            start = (int(other.network_address) - first) // size
            busy.update(range(max(0, start), min(last, of.num_addresses // size) + 1))
    for place in range(of.num_addresses // size):
        if place not in busy:
            yield IPv4Network((first + place * size, length))


def of_rows(rows: Iterable[Mapping[str, Any]]) -> list[IPv4Network]:
    """The IPv4 networks that an engine has, as it lists them."""
    pools = (pool for row in rows for pool in (row.get("IPAM") or {}).get("Config") or ())
    found = (ip_network(pool["Subnet"], strict=False) for pool in pools if pool.get("Subnet"))
    return [network for network in found if isinstance(network, IPv4Network)]


def of_routes(table: str, within: IPv4Network) -> list[IPv4Network]:
    """Those that Linux has routes to (/proc/net/route), as far as they lie within ours.

    They may be another engine's, or a VPN's. A route to more than our range is no matter: ours go before it.
    """
    rows = (line.split() for line in table.splitlines()[1:])
    found = (IPv4Network((_address(row[1]), _address(row[7]).bit_count()), strict=False) for row in rows)
    return [network for network in found if network.subnet_of(within)]


def _address(column: str) -> int:
    return int.from_bytes(bytes.fromhex(column), sys.byteorder)
