"""Where a repository's channels, webhooks and log drains may lead: nowhere near."""

from __future__ import annotations

import pytest

from config.networks import parse_reachable
from config.reaching import may_reach

PUBLIC = ("8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808")
PRIVATE = (
    "127.0.0.1", "10.0.0.9", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",  # noqa: S104
    "224.0.0.1", "::1", "::", "fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1", "64:ff9b::a00:9", "2002:a00:9::",
    "localhost", "", "::127.0.0.1", "::ffff:0:10.0.0.9", "fec0::1", "64:ff9b:1::a00:9", "168.63.129.16",
    "1::1", "192.0.0.192", "::ffff:192.0.0.192",
)  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_the_internet_is_reached(address: str) -> None:
    assert may_reach(address, 443, ())


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_private_is_not_however_it_is_written(address: str) -> None:
    assert not may_reach(address, 443, ())


def test_but_what_the_instance_allows_is_by_its_port() -> None:
    reach = parse_reachable("10.0.0.9:443, 192.168.0.0/16")

    assert may_reach("10.0.0.9", 443, reach)
    assert not may_reach("10.0.0.9", 80, reach)
    assert may_reach("192.168.1.1", 25, reach)
    assert not may_reach("::ffff:192.168.1.1", 25, ())
