"""What a worker's containers use, told to the bot now and then. What cannot be told is not told later."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from config.outages import told
from workers.contract.messages import Measured
from workers.contract.outputs import Sample
from workers.contract.queue import Outcast, QueueDown
from workers.deploy.whose import whose
from workers.engine.engine import Container
from workers.engine.used import Used
from workers.tools import Tools

log = structlog.get_logger()

EVERY = 20.0  # seconds
_PATIENCE = 10.0  # seconds for an answer


@dataclass
class Samples:
    """Tells until cancelled. `containers`: those that there are now."""

    tools: Tools
    containers: Callable[[], Sequence[Container]]
    _before: dict[str, tuple[float, Used]] = field(default_factory=dict)  # when, by the loop's clock

    async def run(self) -> None:
        while True:
            try:
                if samples := await self._look():
                    await self.tools.queue.request(
                        Measured(worker=self.tools.worker, samples=samples), _PATIENCE
                    )
            except (QueueDown, Outcast, TimeoutError) as error:
                log.debug("what containers use is not told", error=str(error) or "time-out")
            except Exception as error:
                told(log, "what containers use is not known now", error)
            await asyncio.sleep(EVERY)

    async def _look(self) -> list[Sample]:
        """What each used since it was looked at last; nothing of one that was not, or started again since."""
        before, self._before = self._before, {}
        samples = []
        for one in self.containers():
            if not one.running or (used := await self._used(one)) is None:
                continue
            at = asyncio.get_running_loop().time()
            self._before[one.id] = at, used
            if one.id in before and (sample := between(one, *before[one.id], at, used)):
                samples.append(sample)
        return samples

    async def _used(self, container: Container) -> Used | None:
        try:
            return await self.tools.engine.used(container.id)
        except Exception as error:  # its neighbours are looked at all the same
            told(log, "what a container uses is not known now", error, container=container.name)
            return None


def between(container: Container, at: float, used: Used, later: float, now: Used) -> Sample | None:
    """Pure: what was used between two looks. Counts that went back belong to two lives: None."""
    cpu, received, sent = now.cpu - used.cpu, now.received - used.received, now.sent - used.sent
    if min(cpu, received, sent) < 0 or later <= at:
        return None
    return Sample(
        whose=whose(container),
        seconds=later - at,
        cpu=cpu,
        memory=now.memory,
        limit=now.limit,
        received=received,
        sent=sent,
        restarts=container.restarts,
    )
