"""Releases that prove themselves are probed on: what was healthy once may not stay so."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

import httpx2
from pydantic import ValidationError

from workers.contract.messages import Probe
from workers.deploy import names
from workers.deploy.probe import asker, look
from workers.engine.engine import Container

_PAUSE = 1.0  # seconds between two looks
_LASTS = 2.0  # seconds that all looks must fail for: one lost packet is no reason to go back


class Proving:
    """Probes the containers of `releases`, which the bot names, until cancelled."""

    def __init__(self, news: Callable[[], None]) -> None:
        self.releases: frozenset[str] = frozenset()
        self.containers: Sequence[Container] = ()
        self._news = news
        self._since: dict[str, float] = {}  # containers ▸ when the first look began of those that fail
        self._failing: dict[str, str] = {}
        self._other_protocols: set[str] = set()  # containers that speak no HTTP

    def failing(self, container: Container) -> str:
        """What its probe finds wrong, for people; empty if nothing, or if it is not probed any more."""
        return self._failing.get(container.id, "") if self._is_proving(container) else ""

    async def run(self) -> None:
        async with asker() as client:
            while True:
                await asyncio.sleep(_PAUSE)
                proving = {one.id: one for one in self.containers if self._is_proving(one)}
                self._since = {key: since for key, since in self._since.items() if key in proving}
                self._other_protocols &= proving.keys()
                self._failing = {key: what for key, what in self._failing.items() if key in proving}
                await asyncio.gather(*(self._look(client, one) for one in proving.values()))

    def _is_proving(self, container: Container) -> bool:
        running = container.running and not names.is_aside(container.name)
        return running and container.labels.get(names.RELEASE) in self.releases

    async def _look(self, client: httpx2.AsyncClient, container: Container) -> None:
        probe = _probe(container)
        if probe is None or not container.address:
            return
        begun = asyncio.get_running_loop().time()
        if container.id in self._other_protocols:  # whose log another GET would only fill
            probe = probe.model_copy(update={"kind": "tcp"})
        seen = await look(client, container.address, probe)
        if not seen.http:
            self._other_protocols.add(container.id)
        before = self._failing.pop(container.id, "")
        if seen.healthy:
            self._since.pop(container.id, None)
        elif asyncio.get_running_loop().time() - self._since.setdefault(container.id, begun) >= _LASTS:
            self._failing[container.id] = seen.what
        if before != self._failing.get(container.id, ""):
            self._news()


def _probe(container: Container) -> Probe | None:
    """How it is asked from outside; the engine asks by itself what is asked inside, and what only stays up is
    not asked."""
    with contextlib.suppress(ValidationError):
        probe = Probe.model_validate_json(container.labels.get(names.PROBE, ""))
        return probe if probe.kind in ("http", "tcp") else None
    return None
