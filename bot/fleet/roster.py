"""Which workers are there, and which of them a job has to go to."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.fleet import services
from bot.jobs import releases
from bot.jobs.images import is_local
from bot.store.tables import Environment, Image, Job, ReleaseState, WorkerRow
from workers.contract.lines import BETWEEN, Line
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
    free: tuple[str, ...] = ()  # those of its workers that have a free slot, as far as we know


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
    line, taker = Line.read(job.pool), await session.get(WorkerRow, worker)
    there, because = await _bound(session, job, local)
    if not there and (ends := await _ends_first(session, job, line, lease)):
        there, because = {ends}, "what has to end before its successor is"
    known = await workers(session) if there else {}
    if there and line.labels and not any(_has(known.get(name), line) for name in there):
        sentence = f"Waits for a worker with {line.wanted}: {because} at {', '.join(sorted(there))}, without"
        return Elsewhere(sentence, _LATER, told=True)
    if line.labels and not _has(taker, line):
        return Elsewhere(f"it asks for a worker with {line.wanted}", _SOON, told=False)
    if not there or worker in there:
        return None
    at = now()
    if here := [known[name] for name in sorted(there) if name in known and not gone(known[name], at, lease)]:
        free = tuple(row.name for row in here if row.running < row.slots and _takes(row))
        return Elsewhere(f"{because} at {', '.join(sorted(there))}", _SOON, told=False, free=free)
    if job.kind is Kind.STOP:
        return None
    return Elsewhere(f"Waits for worker {', '.join(sorted(there))}: {because} there", _LATER, told=True)


def _has(worker: WorkerRow | None, line: Line) -> bool:
    """Of a worker of another pool, too: a stop goes where its environment is."""
    return worker is not None and line.fits(line.pool, worker.labels.split(BETWEEN))


def _takes(worker: WorkerRow) -> bool:
    return not (worker.draining or worker.stopped or worker.problem)


async def _bound(session: AsyncSession, job: Job, local: bool) -> tuple[set[str], str]:
    """The workers that a job has to go to, none if any will do; and what is there."""
    if job.kind is Kind.BUILD or job.environment is None:
        return set(), ""
    shipped = await releases.images(session, job) if job.kind is Kind.DEPLOY else None
    kept_there = shipped is not None and any(map(is_local, shipped.all))
    if job.spec.get("target") == "swarm" and not kept_there:
        return set(), ""
    last = await releases.newest(session, job.repository_id, job.environment)
    if job.kind is Kind.TASK:
        anywhere = last is None or (last.settings.get("target") == "swarm" and not is_local(last.image))
        return ({last.worker} if last and last.worker and not anywhere else set()), "its release is"
    if there := await services.workers(session, job.repository_id, job.environment):
        return there, "its services are"
    if job.kind is Kind.STOP:
        return ({last.worker} if last and last.worker else set()), "what it stops is"
    if job.spec.get("volumes") and last and last.worker and await _has_volumes(session, last.environment_id):
        return {last.worker}, "its volumes are"
    if not local and not kept_there:
        return set(), ""
    built = select(Image.reference, Image.worker).where(Image.repository_id == job.repository_id)
    if shipped is not None and job.spec.get("image_reference"):
        built = built.where(col(Image.reference).in_(shipped.all))
    else:
        built = built.where(col(Image.job_id).in_(job.needs))
    places: dict[str, set[str | None]] = {}
    for reference, name in (await session.exec(built)).all():
        places.setdefault(reference, set()).add(name)
    return having_all(places.values()), "its image is" if len(places) < 2 else "not all of its images are"


def having_all(places: Iterable[set[str | None]]) -> set[str]:
    """Pure: who has each of some images, by who has each; none where anybody may have them all."""
    known = [{name for name in names if name} for names in places if None not in names]
    everywhere = set.intersection(*known) if known else set()
    return everywhere or set().union(*known)


async def _ends_first(session: AsyncSession, job: Job, line: Line, lease: float) -> str:
    """The worker with a process that never runs beside its successor: only it can end that first.

    Empty while it could not take the job: then nobody knows whether the process still runs there.
    """
    processes = job.spec.get("processes") or {}
    if job.environment is None or all(said["overlap"] for said in processes.values()):
        return ""
    last = await releases.newest(session, job.repository_id, job.environment)
    worker = await session.get(WorkerRow, last.worker) if last is not None and last.worker else None
    if last is None or worker is None or last.state is not ReleaseState.LIVE or gone(worker, now(), lease):
        return ""
    fits = line.fits(worker.pool, worker.labels.split(BETWEEN))
    return worker.name if fits and not worker.stopped else ""


async def _has_volumes(session: AsyncSession, environment_id: int) -> bool:
    """A preview's volumes went when it was stopped."""
    environment = await session.get_one(Environment, environment_id)
    return not (environment.stopped and environment.pull_number is not None)
