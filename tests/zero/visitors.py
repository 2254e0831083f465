"""Visitors of both routes in turn, each asking again as soon as it was answered, and what they met with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import cycle

import httpx2

_ROUTES = {"web": "/", "api": "/api/"}
_PAUSE = 0.02  # seconds of each visitor after an answer: steady load, which leaves the machine to the deploys


class Visitor:
    """One that never asks before the last answer is there: so what it sees never goes back in time."""

    def __init__(self, url: str, *, keep_alive: bool) -> None:
        self._url = url
        self._limits = httpx2.Limits(max_keepalive_connections=1 if keep_alive else 0)
        self.asked = 0
        self.failed: list[str] = []
        self.seen: list[str] = []  # each version once for each time that it came after another one

    async def visit(self) -> None:
        """Until cancelled."""
        async with httpx2.AsyncClient(base_url=self._url, limits=self._limits, timeout=30) as http:
            for name, path in cycle(_ROUTES.items()):
                await self._ask(http, name, path)
                await asyncio.sleep(_PAUSE)

    async def _ask(self, http: httpx2.AsyncClient, name: str, path: str) -> None:
        self.asked += 1
        try:
            answer = await http.get(path)
        except httpx2.HTTPError as error:
            self._fails(f"{path}: {error!r}")
            return
        who, _, version = answer.text.strip().partition(" ")
        if answer.status_code != httpx2.codes.OK or who != name:
            self._fails(f"{path}: {answer.status_code} {answer.text[:80]!r}")
        elif [version] != self.seen[-1:]:
            self.seen.append(version)

    def _fails(self, how: str) -> None:
        self.failed.append(f"{datetime.now(UTC):%H:%M:%S.%f} {how}")  # to be found again in the logs


@asynccontextmanager
async def visitors(url: str, number: int) -> AsyncIterator[list[Visitor]]:
    """`number` of them, every other one on a new connection for each request, until the end of the block."""
    them = [Visitor(url, keep_alive=one % 2 == 0) for one in range(number)]
    async with asyncio.TaskGroup() as group:
        visits = [group.create_task(visitor.visit()) for visitor in them]
        try:
            yield them
        finally:
            for visit in visits:
                visit.cancel()
