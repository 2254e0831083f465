"""What environments use, as Prometheus reads it: series of the first hundred, previews together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from prometheus_client.core import GaugeMetricFamily
from sqlalchemy import func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.fleet.usage import MINUTE
from bot.metrics.labels import OTHER
from bot.store.tables import Environment, Repository, UsageRow
from workers.contract.messages import now

_MOST = 100  # environments that have series of their own
_PREVIEW = "preview"
_LABELS = ("repository", "environment")


@dataclass(frozen=True)
class Use:
    """Of all containers of an environment, on the average of a minute that is over."""

    cpu: float = 0.0  # processors
    memory: float = 0.0  # bytes
    restarts: float = 0.0

    def __add__(self, other: Use) -> Use:
        return Use(self.cpu + other.cpu, self.memory + other.memory, self.restarts + other.restarts)


@dataclass(frozen=True)
class Uses:
    """By repository and environment."""

    found: dict[tuple[str, str], Use]

    def families(self) -> Iterator[GaugeMetricFamily]:
        """As Prometheus reads them."""
        for name, says, field in (
            ("cpu", "Processors that the containers of an environment use", "cpu"),
            ("memory_bytes", "Memory that they have", "memory"),
            ("restarts", "Times that they were started again, of those that run", "restarts"),
        ):
            family = GaugeMetricFamily(f"blacktree_environment_{name}", says, labels=_LABELS)
            for labels, use in self.found.items():
                family.add_metric(labels, getattr(use, field))
            yield family


async def uses(session: AsyncSession) -> Uses:
    """Look at it."""
    at = now()
    cpu = func.sum(col(UsageRow.cpu) / col(UsageRow.seconds))
    sums = (
        select(UsageRow.environment_id, cpu, func.sum(UsageRow.memory), func.sum(UsageRow.restarts))
        .where(UsageRow.span == MINUTE, col(UsageRow.seconds) > 0)
        .where(col(UsageRow.at) > at - timedelta(seconds=2 * MINUTE))
        .where(col(UsageRow.at) <= at - timedelta(seconds=MINUTE))
        .group_by(col(UsageRow.environment_id))
    )
    used = {place: Use(*map(float, rest)) for place, *rest in (await session.exec(sums)).all()}
    named = (
        select(Environment.id, Environment.name, Environment.pull_number, Repository.full_name)
        .join(Repository, col(Repository.id) == col(Environment.repository_id))
        .where(col(Environment.id).in_(used))
        .order_by(col(Environment.id))
    )
    found: defaultdict[tuple[str, str], Use] = defaultdict(Use)
    for id_, name, pull, repository in (await session.exec(named)).all():
        labels = (repository, name if pull is None else _PREVIEW)
        if labels not in found and len(found) >= _MOST:
            labels = (OTHER, OTHER)
        found[labels] += used[id_ or 0]
    return Uses(dict(found))
