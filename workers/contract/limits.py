"""What one container may use."""

from __future__ import annotations

from workers.contract.words import Value


class Limits(Value):
    """What one container may use."""

    memory: int  # bytes
    cpus: float
    pids: int
