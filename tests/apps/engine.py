"""The engine that projects are proven at: this machine's, or one with a mirror of Docker Hub."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import pytest

from tests.parts.dockerd import Dockerd
from tests.parts.engine import Engine

_SIZE = "14g"  # of its own disk: three projects with their databases, and what a worker wants to be free


@contextmanager
def engine(mirror: str) -> Iterator[Mapping[str, str]]:
    """The settings that Blacktree needs for it. `mirror`: the URL of a registry instead of Docker Hub."""
    if not mirror:
        with Engine():
            yield {}
        return
    within = f"10.206.{random.randrange(0, 256, 16)}.0/20"
    with ExitStack() as stack:
        own = stack.enter_context(Dockerd(_SIZE, "--registry-mirror", mirror, "--dns-opt", "ndots:0"))
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("DOCKER_HOST", own.url)
        # It makes no rules of its own, and the machine's engine drops what that does not know.
        for network in (f"{own.gateway.rpartition('.')[0]}.0/24", within):
            stack.enter_context(_reached(network))
        yield {"network_range": within}


@contextmanager
def _reached(network: str) -> Iterator[None]:
    rules = [
        ["FORWARD", "-s", network, "-j", "ACCEPT"],
        ["FORWARD", "-d", network, "-j", "ACCEPT"],
        ["POSTROUTING", "-t", "nat", "-s", network, "!", "-d", network, "-j", "MASQUERADE"],
    ]
    for rule in rules:
        subprocess.run(["iptables", "-w", "-I", *rule], check=True)
    try:
        yield
    finally:
        for rule in rules:
            subprocess.run(["iptables", "-w", "-D", *rule], check=False)
