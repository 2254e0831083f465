"""How things stand in the store, in numbers: a handful of indexed queries, whoever asks and however often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from sqlalchemy import case, func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.jobs import backups
from bot.jobs.lifecycle import LIVE
from bot.metrics.labels import Few
from bot.store.tables import (
    Delivery,
    DeliveryState,
    Job,
    JobState,
    Report,
    ReportKind,
    ReportState,
    WorkerRow,
)
from workers.contract.lines import Line
from workers.contract.messages import Kind, now

READY, FULL, DRAINING, SILENT = "ready", "no_room", "draining", "silent"

Counted = Mapping[tuple[str, ...], float]


@dataclass
class Standing:
    """What there is; a time is in seconds, 0 where nothing waits."""

    workers: Counter[tuple[str, ...]] = field(default_factory=Counter)  # pool, state
    slots: Counter[tuple[str, ...]] = field(default_factory=Counter)  # pool
    jobs: Counter[tuple[str, ...]] = field(default_factory=Counter)  # pool, kind, state
    leases: int = 0
    overdue: int = 0
    reports: dict[tuple[str, ...], int] = field(default_factory=dict)  # kind
    report_age: dict[tuple[str, ...], float] = field(default_factory=dict)  # kind
    deliveries: int = 0
    delivery_age: float = 0.0
    backups: dict[tuple[str, ...], float] = field(default_factory=dict)  # repository, environment, service
    unwell: int = 0  # services whose backups failed, or are overdue

    def families(self) -> Iterator[GaugeMetricFamily]:
        """As Prometheus reads them."""
        yield _family("workers", "Workers that did not say goodbye", self.workers, "pool", "state")
        yield _family("slots", "Slots of the workers that take jobs", self.slots, "pool")
        yield _family("jobs", "Jobs that have not ended", self.jobs, "pool", "kind", "state")
        yield _family("leases", "Attempts that a worker holds", {(): self.leases})
        yield _family("leases_overdue", "Attempts whose lease has ended", {(): self.overdue})
        yield _family("reports_pending", "Reports that are owed to GitHub", self.reports, "kind")
        yield _family(
            "reports_pending_age_seconds", "Age of the oldest report that is owed", self.report_age, "kind"
        )
        yield _family("deliveries_pending", "Deliveries that nothing is decided about", {(): self.deliveries})
        yield _family("deliveries_pending_age_seconds", "Age of the oldest such", {(): self.delivery_age})
        yield _family(
            "service_backup_last_timestamp_seconds",
            "When the last backup of a service with a schedule was whole, since 1970; 0 without one",
            self.backups, "repository", "environment", "service",
        )  # fmt: skip
        yield _family(
            "service_backups_unwell", "Services whose backup failed or is overdue", {(): self.unwell}
        )


def _family(name: str, says: str, values: Counted, *labels: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"blacktree_{name}", says, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


async def standing(session: AsyncSession, lease: float, pool: Few) -> Standing:
    """Look at it. `lease`: seconds of silence after which a worker is gone; `pool` keeps that label small."""
    found, at = Standing(), now()
    await _workers(session, found, at - timedelta(seconds=lease), pool)
    await _jobs(session, found, at, pool)
    await _reports(session, found, at)
    found.backups, found.unwell = await backups.standing(session)
    pending = select(func.count(), func.min(col(Delivery.received_at))).where(
        Delivery.state == DeliveryState.RECEIVED
    )
    found.deliveries, oldest = (await session.exec(pending)).one()
    found.delivery_age = _age(oldest, at)
    return found


async def _workers(session: AsyncSession, found: Standing, silent: datetime, pool: Few) -> None:
    state = case(
        (col(WorkerRow.seen_at) < silent, SILENT),
        (col(WorkerRow.draining), DRAINING),
        (col(WorkerRow.problem) != "", FULL),
        else_=READY,
    )
    there: Any = (
        select(WorkerRow.pool, state, func.count(), func.sum(col(WorkerRow.slots)))
        .where(col(WorkerRow.stopped).is_(False))
        .group_by(col(WorkerRow.pool), state)
    )
    for name, how, many, slots in (await session.exec(there)).all():
        found.workers[pool(name), how] += many
        found.slots[(pool(name),)] += slots if how == READY else 0


async def _jobs(session: AsyncSession, found: Standing, at: datetime, pool: Few) -> None:
    counted = (
        select(Job.pool, Job.kind, Job.state, func.count())
        .where(col(Job.state).in_(LIVE))
        .group_by(col(Job.state), col(Job.pool), col(Job.kind))
    )
    for name, kind, state, many in (await session.exec(counted)).all():
        found.jobs[pool(Line.read(name).pool), Kind(kind).value, JobState(state).value] += many
        found.leases += many if state == JobState.RUNNING else 0
    late = select(func.count()).where(Job.state == JobState.RUNNING, col(Job.lease_until) < at)
    found.overdue = (await session.exec(late)).one()


async def _reports(session: AsyncSession, found: Standing, at: datetime) -> None:
    owed = (
        select(Report.kind, func.count(), func.min(col(Report.created_at)))
        .where(Report.state == ReportState.PENDING)
        .group_by(col(Report.kind))
    )
    found.reports = {(kind.value,): 0 for kind in ReportKind}
    found.report_age = {(kind.value,): 0.0 for kind in ReportKind}
    for kind, many, oldest in (await session.exec(owed)).all():
        key = (ReportKind(kind).value,)
        found.reports[key], found.report_age[key] = many, _age(oldest, at)


def _age(oldest: datetime | None, at: datetime) -> float:
    return max(0.0, (at - oldest).total_seconds()) if oldest else 0.0
