"""Conditions instead of sleeps, and ports that nobody has."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable

_PAUSE = 0.05  # seconds between two looks at a condition
# Below Linux' range for outgoing connections (32768 and up), which could take it while its part is down.
_PORTS = range(12_000, 32_000)


def wait_for(condition: Callable[[], bool], what: str, limit: float = 30.0) -> None:
    """Look until the condition holds; after `limit` seconds a TimeoutError says `what` did not happen."""
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {limit:g} s")
        time.sleep(_PAUSE)


def free_port() -> int:
    """A TCP port of 127.0.0.1 on which nothing listens now."""
    for port in random.sample(_PORTS, 200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no free TCP port was found on 127.0.0.1")
