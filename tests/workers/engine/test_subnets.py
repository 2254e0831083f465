"""Networks of a size that fits: a thousand environments on one engine."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Network
from itertools import pairwise
from typing import Any

import pytest
from docker.api import APIClient
from docker.types import IPAMConfig, IPAMPool

from config.networks import address_range
from tests.parts.engine import Engine
from workers.contract.failure import Failure
from workers.contract.messages import Limits
from workers.engine.docker import DockerEngine
from workers.engine.engine import Command, prefixed
from workers.engine.subnets import RANGE, SHARED, bits, free, of_routes, of_rows

SMALL = IPv4Network("10.208.0.0/24")
MANY = 40  # more than Docker's own pools give


def test_a_thousand_environments_fit_into_the_range_and_a_hundred_shared_networks_beside_them() -> None:
    taken: list[IPv4Network] = []
    for length in [bits(3)] * 1000 + [bits(SHARED)] * 100:
        taken.append(next(free(RANGE, length, taken)))
    assert len(set(taken)) == 1100
    assert all(network.subnet_of(RANGE) for network in taken)
    ends = sorted((int(network.network_address), int(network.broadcast_address)) for network in taken)
    assert all(end < start for (_, end), (start, _) in pairwise(ends)), "none overlaps"


@pytest.mark.parametrize(
    ("containers", "length"), [(1, 27), (29, 27), (30, 26), (61, 26), (62, 25), (SHARED, 25), (201, 24)]
)
def test_a_network_holds_its_containers(containers: int, length: int) -> None:
    assert bits(containers) == length
    assert IPv4Network((0, length)).num_addresses >= containers + 3


def test_what_anybody_else_has_is_left_alone() -> None:
    rows: list[dict[str, Any]] = [
        {"IPAM": {"Config": [{"Subnet": "10.208.0.0/26"}, {"Subnet": "fd00::/64"}]}},
        {"IPAM": {"Config": None}},
        {"IPAM": {"Config": [{"Subnet": "10.208.0.130/31"}, {"Subnet": "172.17.0.0/16"}]}},
    ]
    assert [str(one) for one in free(SMALL, 26, of_rows(rows))] == ["10.208.0.64/26", "10.208.0.192/26"]
    assert list(free(SMALL, 26, [IPv4Network("10.0.0.0/8")])) == []


@pytest.mark.parametrize(
    "wrong", ["8.8.8.0/24", "10.0.0.1/16", "10.0.0.0/30", "127.0.0.0/8", "fd00::/64", "x"]
)
def test_a_range_is_private_and_large_enough(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"10\.207\.0\.0/16"):
        address_range(wrong)


ROUTES = """\
Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT
eth0\t00000000\t0106FB0A\t0003\t0\t0\t0\t00000000\t0\t0\t0
tun0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0
br-1\t4000D00A\t00000000\t0001\t0\t0\t0\tC0FFFFFF\t0\t0\t0
br-2\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
"""


def test_what_linux_has_routes_to_within_the_range_is_taken() -> None:
    assert of_routes(ROUTES, SMALL) == [IPv4Network("10.208.0.64/26")], "a route to all of 10/8 is no matter"
    assert of_routes("", SMALL) == []


async def test_a_bridge_that_the_engine_knows_nothing_of_keeps_its_addresses(
    engine: Engine, docker_engine: DockerEngine, base: str, name: str
) -> None:
    """Such as another engine's."""
    docker_engine._addresses = SMALL
    ip("link", "add", "bt-other", "type", "bridge")
    try:
        ip("address", "add", "10.208.0.1/27", "dev", "bt-other")
        ip("link", "set", "bt-other", "up")
        assert await docker_engine.run(command(base, name, f"{name}-new"), lambda _: None) == 0
        [made] = of_rows(network.attrs for network in engine.networks(f"io.blacktree.worker={name}"))
        assert made == IPv4Network("10.208.0.32/27")
    finally:
        ip("link", "delete", "bt-other")


async def test_addresses_that_another_engine_takes_at_the_same_moment_are_given_up(
    engine: Engine, docker_engine: DockerEngine, base: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have seen them free. A container of the one would be reached in place of the other's."""
    docker_engine._addresses = SMALL
    create = APIClient.create_network
    chosen: list[str] = []

    def meanwhile(client: APIClient, *arguments: Any, **options: Any) -> Any:
        chosen.append(options["ipam"]["Config"][0]["Subnet"])
        if len(chosen) == 1:
            ip("address", "add", chosen[0].replace(".0/", ".1/"), "dev", "bt-other")
            ip("link", "set", "bt-other", "up")
        return create(client, *arguments, **options)

    monkeypatch.setattr(APIClient, "create_network", meanwhile)
    ip("link", "add", "bt-other", "type", "bridge")
    try:
        assert await docker_engine.run(command(base, name, f"{name}-new"), lambda _: None) == 0
    finally:
        ip("link", "delete", "bt-other")
    [made] = of_rows(network.attrs for network in engine.networks(f"io.blacktree.worker={name}"))
    assert str(made) == chosen[-1]
    assert chosen[0] == "10.208.0.0/27"
    assert chosen[-1] != chosen[0]


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, timeout=30)


@pytest.fixture
def engines(name: str) -> Iterator[list[DockerEngine]]:
    """Two workers that make their networks on one engine at once."""
    engines = [DockerEngine(os.environ, name, addresses) for addresses in (IPv4Network("10.208.0.0/20"),) * 2]
    yield engines
    for one in engines:
        one.close()


def command(base: str, name: str, network: str) -> Command:
    limits = Limits(memory=16 << 20, cpus=1, pids=9)
    labels = prefixed({"worker": name})
    return Command(f"blacktree-{network}", base, ["true"], limits, labels, network=network)


async def test_many_networks_are_made_at_once_and_none_overlaps(
    engines: list[DockerEngine], engine: Engine, base: str, name: str
) -> None:
    """The engine's own pools end after thirty; the workers meet each other's choices."""
    runs = [
        engines[number % 2].run(command(base, name, f"{name}-{number}"), lambda _: None)
        for number in range(MANY)
    ]
    assert await asyncio.gather(*runs) == [0] * MANY
    made = of_rows(network.attrs for network in engine.networks(f"io.blacktree.worker={name}"))
    assert len(set(made)) == MANY
    assert {network.prefixlen for network in made} == {27}
    assert all(network.subnet_of(IPv4Network("10.208.0.0/20")) for network in made)


async def test_a_range_that_is_used_up_is_told_with_what_to_do(
    engine: Engine, docker_engine: DockerEngine, base: str, name: str
) -> None:
    docker_engine._addresses = SMALL
    pools = IPAMConfig(pool_configs=[IPAMPool(subnet=str(SMALL))])
    engine.client.networks.create(f"{name}-all", ipam=pools, labels=prefixed({"worker": name}))
    with pytest.raises(Failure, match=r"No addresses of 10\.208\.0\.0/24 are free .* set NETWORK_RANGE"):
        await docker_engine.run(command(base, name, f"{name}-new"), lambda _: None)
