"""Pure: what containers and builds may reach, as rules of iptables.

They reach the internet, but no private address: not the cloud's metadata, not what listens on this machine or
beside it, not each other's networks. What the instance allows, and the machine's name servers, they do reach.
Rules end in RETURN, never in ACCEPT: what else this machine forbids, it forbids.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from config.networks import METADATA, Reachable

Network = IPv4Network | IPv6Network

# https://www.iana.org/assignments/iana-ipv4-special-registry: private, shared and link-local addresses, with
# the metadata of most clouds; then those that count as public.
_PRIVATE4 = (
    "10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16",
    *map(str, METADATA),
)  # fmt: skip
_PRIVATE6 = ("fc00::/7", "fe80::/10")  # EC2's metadata is at fd00:ec2::254
_DNS = 53


@dataclass(frozen=True)
class Chains:
    """The names of one worker's chains: for what is passed on, and for what is this machine's own."""

    forward: str
    local: str


@dataclass(frozen=True)
class Confined:
    """Whom the rules are for, and what these may reach all the same."""

    sources: Sequence[Network]
    name_servers: Sequence[IPv4Address | IPv6Address] = ()
    reachable: Sequence[Reachable] = ()
    bridge: str = ""  # the interface that builds share, and whatever has no network of its own


def restored(chains: Chains, confined: Confined, version: int) -> str:
    """What iptables-restore --noflush takes, for IP `version`: both chains anew, in one step."""
    rules = [
        *_known(chains, confined, version),
        *_neighbours(chains, confined),
        *_refused(chains, confined, version),
    ]
    heads = [f":{chain} - [0:0]" for chain in (chains.forward, chains.local)]
    return "\n".join(["*filter", *heads, *(f"-A {rule}" for rule in rules), "COMMIT", ""])


def _known(chains: Chains, confined: Confined, version: int) -> Iterable[str]:
    """Answers, name servers, and what is allowed."""
    allowed = [f"-d {server} -p {how} --dport {_DNS}"
               for server in confined.name_servers if server.version == version
               for how in ("udp", "tcp")]  # fmt: skip
    for one in confined.reachable:
        if one.network.version == version:
            ports = [f" -p {how} --dport {one.port}" for how in ("tcp", "udp")] if one.port else [""]
            allowed += [f"-d {one.network}{port}" for port in ports]
    for chain in (chains.forward, chains.local):
        yield f"{chain} -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN"
        for what in allowed:
            yield f"{chain} {what} -j RETURN"


def _neighbours(chains: Chains, confined: Confined) -> Iterable[str]:
    """Within an environment's network all reach each other; builds do not, though they share one."""
    if confined.bridge:
        yield f"{chains.forward} -i {confined.bridge} -o {confined.bridge} -j REJECT"
    yield f"{chains.forward} -m physdev --physdev-is-bridged -j RETURN"


def _refused(chains: Chains, confined: Confined, version: int) -> Iterable[str]:
    for source in (one for one in confined.sources if one.version == version):
        for private in _PRIVATE4 if version == 4 else _PRIVATE6:
            yield f"{chains.forward} -s {source} -d {private} -j REJECT"
        yield f"{chains.local} -s {source} -j REJECT"


def name_servers(*files: str) -> list[IPv4Address | IPv6Address]:
    """Those that resolv.conf files name. What is on loopback, the engine asks for its containers."""
    found = []
    for line in "\n".join(files).splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            try:
                server = ip_address(words[1].partition("%")[0])
            except ValueError:
                continue
            if not server.is_loopback:
                found.append(server)
    return list(dict.fromkeys(found))
