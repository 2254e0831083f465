"""Do I still have my attempts: leases are renewed, and a worker learns what has to go.

Hundreds of workers say so every ten seconds, and nearly always nothing is new. Then little is asked of the
store, by statements that are made once, and nobody is woken.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, TypeVar

from sqlalchemy import bindparam, case, select, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col

from bot.fleet import containers, services
from bot.fleet.keeping import Keeping
from bot.jobs import ending, lifecycle, line
from bot.jobs.specs import release_label
from bot.store.database import Store
from bot.store.tables import Job, JobState, Moment, Release, ReleaseState, WorkerRow
from config.settings import Settings
from workers.contract.lines import BETWEEN, further
from workers.contract.messages import Heartbeat, HeartbeatAnswer, now

T = TypeVar("T")

_AT_ONCE = 4  # heartbeats, on a connection each
_MOST = 10_000  # workers that are remembered
_LINES = 1.0  # seconds for which it is known which lines there are
_CLAIMS = 30.0  # seconds after which nobody answers a claim any more: a worker asks for ten
_AGAIN = 300.0  # seconds after which containers that did not change are noted all the same

# What a worker says of itself, and of that what others wait for.
_TOLD = ("instance", "pool", "slots", "address", "software", "draining", "stopped", "disk_free", "problem")
_NEWS = ("instance", "pool", "slots", "labels", "draining", "stopped", "problem")

_SEEN = (
    update(WorkerRow)
    .where(col(WorkerRow.name) == bindparam("worker_"))
    .values(
        started_at=case(
            (col(WorkerRow.instance) == bindparam("instance_"), col(WorkerRow.started_at)),
            else_=bindparam("at_", type_=Moment()),
        ),
        running=bindparam("running_"),
        seen_at=bindparam("at_"),
        labels=bindparam("labels_"),
        **{field: bindparam(f"{field}_") for field in _TOLD},
    )
    .returning(col(WorkerRow.told))
)
_HELD = (col(Job.worker) == bindparam("worker_"), col(Job.state) == JobState.RUNNING)
_RENEW = (
    update(Job)
    .where(*_HELD, col(Job.instance) == bindparam("instance_"))
    .where(tuple_(col(Job.id), col(Job.attempt)).in_(bindparam("attempts_", expanding=True)))
    .values(lease_until=bindparam("until_"))
    .returning(col(Job.id), col(Job.attempt), col(Job.cancelling))
)
_ORPHANS = select(col(Job.id)).where(*_HELD, col(Job.instance) != bindparam("instance_"))
_RELEASES = select(
    col(Release.id),
    col(Release.attempt),
    col(Release.state),
    col(Release.remove_after),
    col(Release.steady_at),
).where(col(Release.id).in_(bindparam("ids_", expanding=True)))


class Heartbeats:
    """What a worker tells of itself, noted; and what it is to do about it."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._keeping = Keeping(store)
        self._few = asyncio.Semaphore(_AT_ONCE)
        # Of each worker: what it said that is news when it changes, and when that was kept, containers too;
        # which life of it we know, and since when. By the monotonic clock.
        self._said: dict[str, tuple[tuple[Any, ...], float]] = {}
        self._instances: dict[str, tuple[str, float]] = {}
        self._lines: tuple[float, Sequence[str]] = (-_LINES, ())

    async def answer(self, beat: Heartbeat) -> HeartbeatAnswer:
        # At most a few at once: who wants a job waits for no connection that they have.
        async with self._few, self._store.statements() as connection:
            known: str | None = await connection.scalar(_SEEN, _values(beat))
            renewed = await self._renewed(connection, beat)
            retired, proving = await _fates(connection, beat, self._store.instance)
            orphans = await self._orphans(connection, beat)
            over = await services.over(connection, beat, self._store.instance)
        await self._note(beat, known)
        for id_ in orphans:
            await self._lost(id_, beat)
        return HeartbeatAnswer(
            lease=self._settings.lease,
            lost=[ref for ref in beat.attempts if (ref.job, ref.attempt) not in renewed],
            cancelled=[ref for ref in beat.attempts if renewed.get((ref.job, ref.attempt))],
            retired=retired,
            proving=proving,
            over=over,
            kept=await self._keeping.news(beat.kept),
            lines=further(await self._known_lines(), beat.pool, beat.labels),
            instance=self._store.instance,
        )

    async def _known_lines(self) -> Sequence[str]:
        if time.monotonic() - self._lines[0] >= _LINES:
            async with self._store.reading() as session:
                self._lines = (time.monotonic(), await line.known(session))
        return self._lines[1]

    async def _renewed(
        self, connection: AsyncConnection, beat: Heartbeat
    ) -> dict[tuple[str, int], str | None]:
        """The attempts that are still its own, each with why it is to stop, if it is."""
        if not beat.attempts:
            return {}
        values = {
            "worker_": beat.worker,
            "instance_": beat.instance,
            "attempts_": [(ref.job, ref.attempt) for ref in beat.attempts],
            "until_": lifecycle.lease_end(self._settings.lease),
        }
        return {(job, attempt): why for job, attempt, why in await connection.execute(_RENEW, values)}

    async def _orphans(self, connection: AsyncConnection, beat: Heartbeat) -> Sequence[str]:
        """The jobs that an earlier life of the worker left running.

        Looked for as long as a claim of that life may still be on its way; after that leases tell.
        """
        instance, since = self._instances.get(beat.worker, ("", 0.0))
        if instance != beat.instance:
            since = time.monotonic()
            _remember(self._instances, beat.worker, (beat.instance, since))
        if time.monotonic() - since > _CLAIMS:
            return ()
        values = {"worker_": beat.worker, "instance_": beat.instance}
        return (await connection.scalars(_ORPHANS, values)).all()

    async def _lost(self, job: str, beat: Heartbeat) -> None:
        async with self._store.reading() as session:
            row = await session.get_one(Job, job)
        if row.instance != beat.instance:  # or it has it again by now
            await ending.lost(self._store, row, f"worker {beat.worker} has started anew")

    async def _note(self, beat: Heartbeat, known: str | None) -> None:
        """Where it says something new, keep that and wake who waits for it. `known`: the hash of the last."""
        said, told, at = tuple(getattr(beat, field) for field in _NEWS), _hash(beat), time.monotonic()
        before, noted = self._said.get(beat.worker, ((), 0.0))
        if said != before or told != known or at > noted + _AGAIN:
            await self._keep(beat, told)
            _remember(self._said, beat.worker, (said, at))

    async def _keep(self, beat: Heartbeat, told: str) -> None:
        """One of a worker after the other: it sends the next while the last is answered slowly."""
        try:
            await self._kept(beat, told)
        except IntegrityError:  # another bot was first to hear of this worker at all
            await self._kept(beat, told)

    async def _kept(self, beat: Heartbeat, told: str) -> None:
        async with self._store.transaction() as session:
            row = await session.get(WorkerRow, beat.worker, with_for_update=True) or _first(beat)
            session.add(row)
            whole = await containers.note(session, beat, row, self._store.instance, self._settings)
            whole &= await services.note(session, beat, row, self._store.instance)
            await session.flush()
            mine = update(WorkerRow).where(col(WorkerRow.name) == beat.worker)
            await session.exec(mine.values(told=told if whole else ""))


def _remember(known: dict[str, T], worker: str, value: T) -> None:
    if len(known) > _MOST:
        known.clear()
    known[worker] = value


def _values(beat: Heartbeat) -> dict[str, Any]:
    told = {f"{field}_": getattr(beat, field) for field in _TOLD}
    known = {"worker_": beat.worker, "running_": len(beat.attempts), "at_": now()}
    return {**told, **known, "labels_": _labels(beat)}


def _first(beat: Heartbeat) -> WorkerRow:
    """The row of a worker that was never heard before."""
    told = {field: getattr(beat, field) for field in _TOLD}
    return WorkerRow(name=beat.worker, running=len(beat.attempts), labels=_labels(beat), **told)


def _labels(beat: Heartbeat) -> str:
    return BETWEEN.join(sorted(beat.labels))


def _hash(beat: Heartbeat) -> str:
    """What it tells of its containers, in short."""
    told = (one.model_dump_json() for one in (*beat.containers, *beat.services))
    return sha256("".join(told).encode()).hexdigest()[:32]


async def _fates(connection: AsyncConnection, beat: Heartbeat, instance: str) -> tuple[list[str], list[str]]:
    """The worker's releases whose containers are to go, and those that are to be probed on.

    All go but the live, the starting and the draining. Those of another instance, whose worker has the same
    name on the same engine, are none of ours.
    """
    ours = {one.release for one in beat.containers if one.release.startswith(f"{instance}.")}
    ids = [int(name.split(".")[1]) for name in ours if name.split(".")[1].isdigit()]
    kept, proving, at = set(), [], now()
    for id_, attempt, state, remove_after, steady_at in (
        await connection.execute(_RELEASES, {"ids_": ids}) if ids else ()
    ):
        name = release_label(instance, id_, attempt)
        draining = state is ReleaseState.RETIRED and (remove_after or at) > at
        if draining or state in (ReleaseState.LIVE, ReleaseState.STARTING):
            kept.add(name)
        if state is ReleaseState.LIVE and (steady_at or at) > at:
            proving.append(name)
    return sorted(ours - kept), proving
