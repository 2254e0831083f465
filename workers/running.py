"""One attempt from the outside: its lease, and what may end it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from enum import Enum
from math import inf
from typing import Any, TypeVar

from workers.attempt import Attempt
from workers.contract.messages import DeploySpec

T = TypeVar("T")


class Cause(Enum):
    """Why an attempt is ended from outside."""

    CANCELLED = "cancelled"
    STOPPING = "stopping"  # this worker
    LOST = "lost"  # the lease: the job may be another's by now


class Running:
    """An attempt in a slot."""

    def __init__(self, attempt: Attempt, deadline: float) -> None:
        self.attempt = attempt
        self.ref = attempt.ref
        self.cause: Cause | None = None
        self.telling = False
        self._deadline = deadline  # of the lease, on the loop's clock
        self._task: asyncio.Task[Any] | None = None
        self._ended = False

    @property
    def release(self) -> str | None:
        return self.attempt.spec.release if isinstance(self.attempt.spec, DeploySpec) else None

    def renew(self, deadline: float) -> None:
        """The lease lasts until `deadline`, unless it is lost already."""
        if self.cause is not Cause.LOST:
            self._deadline = max(self._deadline, deadline)

    def stop(self, cause: Cause) -> None:
        """End it, with all that it runs. Past the point of no return only a lost lease does."""
        if self.cause is Cause.LOST or (self.telling and cause is not Cause.LOST):
            return
        if self.cause is None or cause is Cause.LOST:
            self.cause = cause
        self._end()

    async def held(self, work: Coroutine[Any, Any, T]) -> T | None:
        """The result of `work`; None if it was stopped. Watches the lease meanwhile."""
        loop = asyncio.get_running_loop()
        task = self._task = asyncio.create_task(work)
        self._ended = False
        try:
            if self.cause is not None and not self.telling:
                self._end()
            while not task.done():
                left = self._deadline - loop.time()
                await asyncio.wait({task}, timeout=None if left == inf else max(0.0, left))
                if not task.done() and loop.time() >= self._deadline:
                    self._deadline = inf
                    self.stop(Cause.LOST)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        return None if task.cancelled() else task.result()

    def _end(self) -> None:
        """Once only: a second cancellation would interrupt the cleaning up of the first."""
        if self._task is None or self._ended:
            return
        if self.cause is Cause.LOST or not self.attempt.committing:
            self._ended = True
            self._task.cancel()
