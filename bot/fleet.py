"""Which workers are there, and which of them a job has to go to."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot import releases
from bot.store.tables import Environment, Image, Job, WorkerRow
from workers.contract.messages import Kind, now
from workers.contract.queue import BotQueue

_SOON = 0.3  # seconds until it is offered again where its worker is there
_LATER = 5.0  # seconds where that is away


@dataclass(frozen=True)
class Elsewhere:
    """A job is another worker's: why, when it is offered again, and whether people are to know."""

    reason: str
    wait: float  # seconds
    told: bool


def gone(worker: WorkerRow | None, at: datetime, lease: float) -> bool:
    """Pure: whether a worker has been silent for longer than its lease, said goodbye or not."""
    return worker is None or worker.seen_at < at - timedelta(seconds=lease)


async def workers(session: AsyncSession) -> dict[str, WorkerRow]:
    """All workers that were ever heard, by name."""
    return {row.name: row for row in (await session.exec(select(WorkerRow))).all()}


def takers(known: Iterable[WorkerRow], at: datetime, lease: float) -> dict[str, str]:
    """Pure: the pools of the workers that would take a job now, by their names."""
    return {
        row.name: row.pool
        for row in known
        if not row.stopped and not row.draining and not gone(row, at, lease)
    }


async def silent(session: AsyncSession, queue: BotQueue, at: datetime, lease: float) -> dict[str, WorkerRow]:
    """The workers that are gone, by name; none while we could not have heard them for a whole lease."""
    if time.monotonic() - queue.connected_at < lease:
        return {}
    return {name: row for name, row in (await workers(session)).items() if gone(row, at, lease)}


async def elsewhere(
    session: AsyncSession, job: Job, worker: str, *, lease: float, local: bool
) -> Elsewhere | None:
    """Why a job is not for this worker; None if it is. `local`: images stay in their engines."""
    there, because = await _bound(session, job, local)
    if not there or worker in there:
        return None
    known = await workers(session)
    at = now()
    if any(name in known and not gone(known[name], at, lease) for name in there):
        return Elsewhere(f"{because} at {', '.join(sorted(there))}", _SOON, told=False)
    if job.kind is Kind.STOP:
        return None
    return Elsewhere(f"Waits for worker {', '.join(sorted(there))}: {because} there", _LATER, told=True)


async def _bound(session: AsyncSession, job: Job, local: bool) -> tuple[set[str], str]:
    """The workers that a job has to go to, none if any will do; and what is there."""
    if job.kind is Kind.BUILD or job.environment is None or job.spec.get("target") == "swarm":
        return set(), ""
    last = await releases.newest(session, job.repository_id, job.environment)
    if job.kind is Kind.STOP:
        return ({last.worker} if last and last.worker else set()), "what it stops is"
    if job.spec.get("volumes") and last and last.worker and await _has_volumes(session, last.environment_id):
        return {last.worker}, "its volumes are"
    if not local:
        return set(), ""
    built = select(Image.worker).where(Image.repository_id == job.repository_id)
    if reference := job.spec.get("image_reference"):
        built = built.where(Image.reference == reference)
    else:
        built = built.where(col(Image.job_id).in_(job.needs))
    found = set((await session.exec(built)).all())
    return (set() if None in found else {name for name in found if name}), "its image is"


async def _has_volumes(session: AsyncSession, environment_id: int) -> bool:
    """A preview's volumes went when it was stopped."""
    environment = await session.get_one(Environment, environment_id)
    return not (environment.stopped and environment.pull_number is not None)
