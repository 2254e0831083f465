"""What every story works with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from workers.contract.queue import WorkerQueue
from workers.engine.engine import Builder, Engine
from workers.mirrors import Mirrors


@dataclass(frozen=True)
class Tools:
    """One worker's outside."""

    worker: str
    address: str  # where the proxy reaches its containers
    engine: Engine
    builder: Builder
    queue: WorkerQueue
    environ: Mapping[str, str]
    mirrors: Mirrors
