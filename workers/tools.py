"""What every story works with."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from config.fields import size_bytes
from config.settings import Settings
from workers.checkout import Checkout
from workers.contract.messages import Credentials, Limits, Source
from workers.contract.queue import WorkerQueue
from workers.engine.engine import Builder, Engine
from workers.registry.registries import Registries

_BUILD_PIDS = 4096


class Sources(Protocol):
    """Where commits come from: a worker's mirrors, or a folder."""

    async def checkout(
        self, source: Source, credentials: Credentials, folder: Path, output: Callable[[str], None]
    ) -> Checkout:
        """The files of a commit below `folder`, which is the attempt's. Raises Failure."""


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
    build_limits: Limits  # of a build's test, where its image does not say


def build_limits(settings: Settings) -> Limits:
    """What one build may use where its image does not say: of this machine, if the settings do not."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Limits(
        memory=size_bytes(settings.build_memory) if settings.build_memory else machine * 3 // 4,
        cpus=settings.build_cpus or float(os.cpu_count() or 1),
        pids=_BUILD_PIDS,
    )
