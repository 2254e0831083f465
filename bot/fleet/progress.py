"""What workers tell: steps, log lines and ends. An event of a fenced attempt is refused."""

from __future__ import annotations

import structlog
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.jobs import ending, lifecycle
from bot.metrics.instruments import Instruments
from bot.metrics.noting import note
from bot.store.database import Store
from bot.store.logs import LogStore
from bot.store.tables import Job, JobState, StepRow
from workers.contract.messages import Failed, Fault, Finished, LogChunk, Offer, StepChanged, StepReport

log = structlog.get_logger()


class Progress:
    """Takes in events. Each may come twice, and late."""

    def __init__(self, store: Store, logs: LogStore) -> None:
        self._store = store
        self._logs = logs

    async def hear(self, event: StepChanged | Finished | LogChunk) -> None:
        """Keep one event. Raises what the stores raise: then it comes again."""
        if isinstance(event, LogChunk):
            return await self._logs.append(event.job, event.attempt, event.offset, event.text)
        async with self._store.transaction() as session:
            if isinstance(event, Finished) and (job := await session.get(Job, event.job)) is not None:
                await lifecycle.in_turn(session, job)
            # One event of a job at a time, whichever bots hear them: a step's start and end are one row.
            job = await session.get(Job, event.job, with_for_update=True, populate_existing=True)
            if job is None or job.attempt != event.attempt or job.state is not JobState.RUNNING:
                log.info("event refused", job=event.job, attempt=event.attempt, event_kind=event.kind)
                return None
            if isinstance(event, StepChanged):
                await _keep(session, job, event.step)
            else:
                for step in event.steps:
                    await _keep(session, job, step)
                await ending.finished(session, job, event)
        log.info("event", job=event.job, attempt=event.attempt, event_kind=event.kind)
        return None

    async def bury(self, offer: Offer) -> None:
        """An offer that the queue could not deliver ends its job."""
        sentence = f"its message was given to workers too often: see the logs of pool {offer.pool}"
        async with self._store.transaction() as session:
            job = await session.get(Job, offer.job)
            if job is not None and job.state is JobState.QUEUED:
                failure = Failed(fault=Fault.FINAL, reason="undeliverable", sentence=sentence)
                await ending.failed(session, job, failure)
        log.error("offer ended as undeliverable", job=offer.job)


async def _keep(session: AsyncSession, job: Job, step: StepReport) -> None:
    row = await session.get(StepRow, (job.id, job.attempt, step.name))
    if row is None:
        row = StepRow(job_id=job.id, attempt=job.attempt, name=step.name, started_at=step.started_at)
        session.add(row)
    if step.ended_at is not None:
        if row.ended_at is None:
            seconds = (step.ended_at - step.started_at).total_seconds()
            note(session, Instruments.step_ended, step.name, bool(step.ok), seconds)
        row.ended_at, row.ok = step.ended_at, step.ok
