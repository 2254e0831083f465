"""Bodies on their way in. Until one has proven itself it is hashed as it comes, and may be let go of.

They are in memory, not in files: a disk that is busy with strangers' bodies lets the store wait.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_TOGETHER = 32 * 1024 * 1024  # bytes of all bodies
_SHORT = 32 * 1024  # bytes of a body that need not wait: GitHub's have a few thousand
_MEGABYTE = 1024 * 1024
# Seconds that each part of a body waits for each other body, and for each megabyte that it has already: the
# longer ones let the shorter ones by.
_PACE = 0.0005


class TooLarge(Exception):
    """There is more of it than a body may have."""


class Crowded(Exception):
    """It was let go of: it was the largest, and all together were too large."""


@dataclass(eq=False)
class Body:
    """One body, as far as it has come."""

    macs: list[hmac.HMAC]
    data: bytearray = field(default_factory=bytearray)
    dropped: bool = False

    def add(self, part: bytes) -> None:
        self.data += part
        for mac in self.macs:
            mac.update(part)

    def signed(self, signature: str) -> bool:
        """Whether `signature` is the HMAC-SHA256, in hex, of exactly these bytes under one of the secrets."""
        given = signature.encode()
        fits = [hmac.compare_digest(mac.hexdigest().encode(), given) for mac in self.macs]
        return any(fits)  # each is compared


@dataclass
class Bodies:
    """All that are on their way in."""

    most: int  # bytes of one
    together: int = _TOGETHER
    _coming: set[Body] = field(default_factory=set)
    _size: int = 0

    @contextmanager
    def coming(self, secrets: tuple[bytes, ...]) -> Iterator[Body]:
        """A body that is there until the end of the block, however that comes."""
        body = Body([hmac.new(secret, digestmod=hashlib.sha256) for secret in secrets])
        self._coming.add(body)
        try:
            yield body
        finally:
            self._leave(body)

    async def take(self, body: Body, parts: AsyncIterator[bytes]) -> None:
        """All of it. Raises TooLarge and Crowded."""
        async for part in parts:
            if body.dropped:
                raise Crowded
            body.add(part)
            self._size += len(part)
            if len(body.data) > self.most:
                raise TooLarge
            if self._size > self.together:
                self._drop(max(self._coming, key=lambda one: len(one.data)))
            if len(body.data) > _SHORT:
                await asyncio.sleep(_PACE * len(self._coming) * len(body.data) / _MEGABYTE)
        if body.dropped:
            raise Crowded
        self._leave(body)  # it is whole: nobody's turn to be let go of

    def _drop(self, body: Body) -> None:
        """Give back what it holds, at once: whoever sends it may never send another byte."""
        self._leave(body)
        body.dropped, body.data = True, bytearray()

    def _leave(self, body: Body) -> None:
        if body in self._coming:
            self._coming.remove(body)
            self._size -= len(body.data)
