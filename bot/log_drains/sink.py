"""The port of log drains: where lines are sent, and how that may go wrong."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bot.log_drains.forms import Source
from bot.store.outputs import Kept
from config.log_drains import Address
from config.networks import Reachable
from config.reaching import may_reach


class DrainDown(Exception):
    """It did not take them: they are sent again. Its text says why, without addresses' paths and headers."""

    def __init__(self, why: str, after: float = 0.0) -> None:
        super().__init__(why)
        self.after = after  # seconds in which it wants to hear nothing


class DrainRefused(DrainDown):
    """It does not take these very lines, or not so many."""


@dataclass(frozen=True)
class Target:
    """A drain as it is reached."""

    address: Address
    headers: tuple[tuple[str, str], ...] = ()
    gzip: bool = True
    # What of private addresses it may be at; None where the instance's administrator named it.
    reachable: tuple[Reachable, ...] | None = None

    @classmethod
    def of(
        cls,
        address: Address,
        headers: Mapping[str, str],
        *,
        gzip: bool,
        reachable: Sequence[Reachable] | None = None,
    ) -> Target:
        allowed = None if reachable is None else tuple(reachable)
        return cls(address, tuple(sorted(headers.items())), gzip, allowed)


class Sink(Protocol):
    """A drain that takes lines."""

    at_once: int  # batches

    async def send(self, source: Source, lines: Sequence[Kept]) -> None:
        """Returns once the drain has them. Raises DrainDown."""

    async def close(self) -> None:
        """Nothing is sent after that."""


async def resolved(target: Target) -> list[str]:
    """The drain's IP addresses, each of which may be reached. Raises DrainDown.

    Whoever connects takes one of these and asks for none again: a name may lead elsewhere a moment later.
    """
    host, port = target.address.host, target.address.port
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise DrainDown(f"{host} is not found: {getattr(error, 'strerror', None) or error}") from None
    addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
    if target.reachable is not None and not all(may_reach(one, port, target.reachable) for one in addresses):
        raise DrainDown(
            f"{host} is at a private address, where a repository's drain may not be unless the instance"
            " allows it: its administrator has REACHABLE for that"
        )
    return addresses
