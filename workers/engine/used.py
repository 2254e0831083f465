"""What a container uses, in one look of the engine's at its cgroup and its networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import docker

from workers.engine.plain import asked

_PATIENCE = 10.0  # seconds


@dataclass(frozen=True)
class Used:
    """Counted since the container started, but for the memory."""

    cpu: float  # seconds of a processor
    memory: int  # bytes that it has now, without what the kernel gives back at once
    limit: int  # bytes that it may have
    received: int  # bytes
    sent: int


def ask(client: docker.DockerClient, container: str) -> Used | None:
    """None of one that does not run. It blocks. Raises APIError.

    https://docs.docker.com/reference/api/engine/version/v1.41/
    """
    once = {"stream": "false", "one-shot": "true"}
    with asked(client, f"/containers/{container}/stats", once, _PATIENCE) as answer:
        return read(answer.json())


def read(told: Mapping[str, Any]) -> Used | None:
    """Pure: from the engine's answer. Memory is counted as `docker stats` does: less the inactive files."""
    memory = told.get("memory_stats") or {}
    if "usage" not in memory:
        return None
    kinds = memory.get("stats") or {}
    inactive = kinds.get("total_inactive_file", kinds.get("inactive_file", 0))  # cgroup v1, v2
    networks = (told.get("networks") or {}).values()
    return Used(
        cpu=told["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9,
        memory=max(0, memory["usage"] - inactive),
        limit=memory.get("limit", 0),
        received=sum(one.get("rx_bytes", 0) for one in networks),
        sent=sum(one.get("tx_bytes", 0) for one in networks),
    )
