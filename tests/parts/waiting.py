"""Conditions instead of sleeps, and ports that nobody has."""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Callable

from workers.contract.ports import PUBLISHED

_PAUSE = 0.05  # seconds between two looks at a condition
# None of Linux' range for outgoing connections (32768 and up), of rabbitmqctl's (broker.py), or where workers
# publish containers: each could take it while its part is down.
_PORTS = range(12_100, 21_000)
_NEIGHBOURS = range(_PORTS.stop, PUBLISHED.start)  # for whoever has to have ports in a row
_PROCESSES = 10  # that have ports of their own
_given: set[int] = set()


def wait_for(condition: Callable[[], bool], what: str, limit: float = 90.0) -> None:
    """Look until the condition holds; after `limit` seconds a TimeoutError says `what` did not happen."""
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {limit:g} s")
        time.sleep(_PAUSE)


def free_port() -> int:
    """A TCP port of 127.0.0.1 on which nothing listens now, and that no other process of tests is given."""
    ports = _ports_of_this_process()
    if len(_given) > len(ports) // 2:
        _given.clear()
    for port in random.sample(ports, len(ports)):
        if port in _given:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            _given.add(port)
            return port
    raise OSError("no free TCP port was found on 127.0.0.1")


def neighbours(count: int) -> range:
    """So many ports in a row, of which no other process of tests is given one; some may be in use."""
    number, share = _number(), _NEIGHBOURS
    if number is not None:
        size = len(_NEIGHBOURS) // _PROCESSES
        share = _NEIGHBOURS[number * size : (number + 1) * size]
    start = random.randrange(len(share) - count + 1)
    return share[start : start + count]


def _ports_of_this_process() -> range:
    """Who was given a port may take seconds until it listens there."""
    number = _number()
    return _PORTS if number is None else _PORTS[number::_PROCESSES]


def _number() -> int | None:
    """Of this process among those that share the tests out."""
    number = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    return int(number) % _PROCESSES if number.isdigit() else None
