"""What every story works with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from workers.checkout import Checkout, Commit
from workers.contract.messages import Credentials, Source
from workers.contract.queue import WorkerQueue
from workers.engine.cgroups import Limit
from workers.engine.engine import Builder, Engine
from workers.registry.registries import Registries


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
