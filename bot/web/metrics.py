"""`/metrics`, as Prometheus reads it: what this bot counted, and how things stand in the store."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator

import structlog
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import Response

from bot.metrics.labels import Few
from bot.store.database import Store
from bot.web.standing import Standing, standing
from bot.web.uses import Uses, uses
from workers.contract.queue import BotQueue

_FRESH = 5.0  # seconds that a look at the store is told again, whoever asks
_PATIENCE = 5.0  # seconds that the store gets to answer
_MOST_POOLS = 50

log = structlog.get_logger()


class Metrics:
    """Shows what `store`'s instruments counted. `lease`: seconds of silence after which a worker is gone."""

    def __init__(self, store: Store, queue: BotQueue, lease: float, fresh: float = _FRESH) -> None:
        self._store = store
        self._queue = queue
        self._lease = lease
        self._fresh = fresh
        self._pool = Few(_MOST_POOLS)
        self._looking = asyncio.Lock()
        self._looked: tuple[float, tuple[Standing, Uses] | None] = (-math.inf, None)

    async def show(self, request: Request) -> Response:
        """All of them, in the form that is asked for."""
        shown = _Shown(self._store.instruments.registry, await self._look(), self._queue)
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(shown), media_type=content_type)

    async def _look(self) -> tuple[Standing, Uses] | None:
        """How things stand, some seconds ago at most; None while the store does not answer."""
        async with self._looking:
            at, known = self._looked
            if time.monotonic() - at < self._fresh:
                return known
            try:
                async with asyncio.timeout(_PATIENCE), self._store.reading() as session:
                    known = await standing(session, self._lease, self._pool), await uses(session)
            except (SQLAlchemyError, OSError, TimeoutError) as error:
                log.warning("the store does not answer", part="metrics", error=str(error).partition("\n")[0])
                known = None
            self._looked = (time.monotonic(), known)
            return known


class _Shown(Collector):
    """Everything, in one go."""

    def __init__(self, counted: Collector, stands: tuple[Standing, Uses] | None, queue: BotQueue) -> None:
        self._counted = counted
        self._stands = stands
        self._queue = queue

    def collect(self) -> Iterator[Metric]:
        for metric in self._counted.collect():
            # When a series began is one more series for each, which nobody asks for.
            metric.samples = [one for one in metric.samples if not one.name.endswith("_created")]
            yield metric
        up = self._stands is not None
        yield GaugeMetricFamily("blacktree_store_up", "Whether the store answers", up)
        passing = math.isfinite(self._queue.connected_at)
        yield GaugeMetricFamily("blacktree_queue_up", "Whether the queue is there and takes things", passing)
        alarm = self._queue.alarm
        yield GaugeMetricFamily("blacktree_queue_alarm", "Whether the queue is low on memory or disk", alarm)
        for part in self._stands or ():
            yield from part.families()
