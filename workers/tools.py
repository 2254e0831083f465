"""What every story works with."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from workers.contract.messages import Credentials, Source
from workers.contract.queue import WorkerQueue
from workers.engine.builder import Builder
from workers.engine.cgroups import Limit
from workers.engine.engine import Engine
from workers.registry.registries import Registries
from workers.source.checkout import Checkout, Commit


class Sources(Protocol):
    """Where commits come from: a worker's mirrors, or a folder."""

    async def checkout(
        self,
        source: Source,
        credentials: Credentials,
        folder: Path,
        output: Callable[[str], None],
        needless: Callable[[Commit], Awaitable[bool]] | None = None,
    ) -> Checkout:
        """The files of a commit below `folder`, which is the attempt's; none if `needless` says so of it.

        Raises Failure.
        """


class Lines:
    """What a worker takes from beside its pool's own line, as the bot told it last: for all of its slots."""

    def __init__(self) -> None:
        self.further: tuple[str, ...] = ()
        self._changed = asyncio.Event()

    def told(self, lines: Sequence[str]) -> None:
        if tuple(lines) != self.further:
            self.further = tuple(lines)
            self._changed.set()
            self._changed = asyncio.Event()

    async def changed(self) -> None:
        """Wait until they are others than now."""
        await self._changed.wait()


@dataclass(frozen=True)
class Tools:
    """One worker's outside."""

    worker: str
    address: str  # where the proxy reaches its containers
    engine: Engine
    builder: Builder
    queue: WorkerQueue
    environ: Mapping[str, str]
    mirrors: Sources
    registries: Registries
    build_limit: Limit
    lines: Lines = field(default_factory=Lines)
    build_proxies: Mapping[str, str] = field(default_factory=dict, repr=False)  # by predefined argument
