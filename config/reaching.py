"""Pure: which addresses the bot itself connects to where somebody else than its administrator names them."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from config.networks import METADATA, Reachable

# All that IANA has given out of IPv6's: what is left over has no owner, or leads to IPv4 by old forms of it
# (::a.b.c.d, ::ffff:0:a.b.c.d) or to one's own site (fec0::/10), and Python calls it global.
# https://www.iana.org/assignments/ipv6-address-space
_GIVEN_OUT = IPv6Network("2000::/3")
# RFC 6052, 8215: addresses of IPv4 inside of IPv6's.
_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))


def may_reach(address: str, port: int, reachable: Iterable[Reachable]) -> bool:
    """Whether it is public, in whatever form it is written, or the instance allows it."""
    try:
        meant = _meant(ip_address(address.partition("%")[0]))
    except ValueError:
        return False
    if any(_fits(meant, port, one) for one in reachable):
        return True
    return meant.is_global and not meant.is_multicast and _is_given_out(meant)


def _is_given_out(meant: IPv4Address | IPv6Address) -> bool:
    if isinstance(meant, IPv4Address):
        return not any(meant in network for network in METADATA)
    return meant in _GIVEN_OUT


def _fits(meant: IPv4Address | IPv6Address, port: int, one: Reachable) -> bool:
    return meant.version == one.network.version and meant in one.network and one.port in (None, port)


def _meant(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 one leads to."""
    if isinstance(address, IPv4Address):
        return address
    if inner := address.ipv4_mapped or address.sixtofour or (address.teredo and address.teredo[1]):
        return inner
    if any(address in network for network in _NAT64):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address
