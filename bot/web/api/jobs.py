"""Jobs: found, shown, ended; and their logs as text and as lines of JSON."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy.orm import defer
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from bot.jobs import lifecycle
from bot.jobs.lifecycle import attempt_of
from bot.store.colours import plainly
from bot.store.database import Store
from bot.store.logs import LogStore
from bot.store.tables import AttemptRow, Image, Job, JobState, Repository, Run, StepRow
from bot.web.api.fields import FullName, Listed, Number, Query, Signed, Word
from bot.web.api.lines import lined
from bot.web.api.models import (
    AttemptShown,
    ImageShown,
    JobListed,
    JobShown,
    Ordered,
    StepShown,
    listed,
    log_of,
    of,
)
from bot.web.api.operation import Call, Operation, Part, whose
from bot.web.api.rows import alike, job_of, most, only, part
from bot.web.guard import changed, within
from bot.web.problems import Refusal
from bot.web.rules import SOME, Of, deploys, reads
from workers.contract.messages import Kind

_MOST_LINES = 10_000
LINES = "application/jsonl"
_SPEC: Any = Job.spec


class JobsQuery(Listed):
    """Which jobs."""

    repository: FullName | None = None
    state: JobState | None = None
    kind: Kind | None = None
    environment: Word | None = None
    worker: Word | None = None


class Form(StrEnum):
    """How a log is written."""

    TEXT = "text"
    JSONL = "jsonl"


class LogQuery(Query):
    """Which part of which log."""

    attempt: Annotated[Number | None, Field(description="the last one, if it is not named")] = None
    start: Annotated[Number, Field(alias="from", description="leaves out so many bytes")] = 0
    tail: Annotated[Number, Field(description="only so many last lines; all if 0")] = 0
    format: Annotated[Form | None, Field(description="else what `Accept` prefers, else text")] = None
    coloured: Annotated[bool, Field(description="with its colours, as SGR, in lines of JSON; else plain")] = (
        False
    )


class CancelJob(Signed):
    """Who wants it."""


@dataclass(frozen=True)
class Jobs:
    """The operations."""

    store: Store
    logs: LogStore

    def operations(self) -> list[Operation]:
        look = reads(Of.JOB)
        return [
            Operation("GET", "/jobs", SOME, "The newest jobs", self.jobs, list[JobListed], JobsQuery),
            Operation("GET", "/jobs/{id}", look, "A job, its steps and attempts", self.job, JobShown),
            Operation(
                "GET",
                "/jobs/{id}/log",
                look,
                "An attempt's log",
                self.log,
                str,
                LogQuery,
                media=("text/plain", LINES),
            ),
            Operation(
                "POST",
                "/jobs/{id}/cancel",
                deploys(Of.JOB),
                "End a job",
                self.cancel,
                Ordered,
                body=CancelJob,
                status=202,
                makes=True,
            ),
        ]

    async def jobs(self, call: Call) -> Part:
        query: JobsQuery = call.query
        newest = select(Job, Repository).join(Repository, col(Repository.id) == col(Job.repository_id))
        newest = newest.where(within(call.request, Job.repository_id))
        newest = newest.where(
            *alike(
                (Job.state, query.state),
                (Job.kind, query.kind),
                (Job.environment, query.environment),
                (Job.worker, query.worker),
            )
        )
        run, job = col(Job.run_id), col(Job.id)  # by its run, of which there is an index
        if query.cursor is not None:
            last = job_of(query.cursor)
            newest = newest.where((run < last) | ((run == last) & (job < query.cursor)))
        limit = most(query.limit)
        async with self.store.reading() as session:
            if (one := await only(session, query.repository)) is not None:
                newest = newest.where(Job.repository_id == one)
            ordered = newest.options(defer(_SPEC)).order_by(run.desc(), job.desc()).limit(limit + 1)
            rows = (await session.exec(ordered)).all()
        found = part(rows, limit, lambda row: row[0].id)
        return Part([listed(one, owner.full_name) for one, owner in found.items], found.after)

    async def job(self, call: Call) -> JobShown:
        async with self.store.reading() as session:
            job = await found_job(session, call)
            owner = await session.get_one(Repository, job.repository_id)
            return await whole(session, job, owner.full_name)

    async def log(self, call: Call) -> Response:
        query: LogQuery = call.query
        async with self.store.reading() as session:
            job = await found_job(session, call)
        attempt = job.attempt if query.attempt is None else query.attempt
        accepts = call.request.headers.get("accept", "")
        lines = query.format is Form.JSONL or (query.format is None and LINES in accepts)
        if lines:
            start = query.start
            if query.tail:
                start = (await self.logs.place(job.id, attempt, -min(query.tail, _MOST_LINES))).byte
            times = self.logs.times(job.id, attempt)
            return StreamingResponse(
                lined(self.logs.read(job.id, attempt, start), times, start, query.coloured), media_type=LINES
            )
        if query.tail:
            return PlainTextResponse(await self.logs.tail(job.id, attempt, min(query.tail, _MOST_LINES)))
        text = plainly(self.logs.read(job.id, attempt), query.start)
        return StreamingResponse(text, media_type="text/plain")

    async def cancel(self, call: Call) -> Ordered:
        body: CancelJob = call.body
        async with self.store.transaction() as session:
            job = await found_job(session, call)
            if job.state.final:
                raise Refusal("ended", f"job {job.id} has {job.state.value} already")
            sentence = f"Cancelled by {body.actor}" + (f": {body.why}" if body.why else "")
            await lifecycle.cancel(session, job, "cancelled", sentence)
            changed(call.request, f"cancelled {job.name}, job {job.id}{whose(call.request, body)}", body.why)
        return Ordered(message=f"job {job.id} is being ended", run=job.run_id)


async def found_job(session: AsyncSession, call: Call) -> Job:
    """The one that the path names. Raises HTTPException."""
    job = await session.get(Job, call.path["id"])
    if job is None:
        raise HTTPException(404, "there is no such job")
    return job


async def run_of(session: AsyncSession, job: Job) -> tuple[Run, Repository]:
    run = await session.get_one(Run, job.run_id)
    return run, await session.get_one(Repository, job.repository_id)


async def whole(session: AsyncSession, job: Job, repository: str) -> JobShown:
    """A job with all that is known of it."""
    theirs = select(StepRow).where(StepRow.job_id == job.id)
    steps = (await session.exec(theirs.order_by(col(StepRow.attempt), col(StepRow.started_at)))).all()
    image = (await session.exec(select(Image).where(Image.job_id == job.id))).first()
    ended = select(AttemptRow).where(AttemptRow.job_id == job.id).order_by(col(AttemptRow.attempt))
    history = list((await session.exec(ended)).all())
    if job.state is JobState.RUNNING:
        history.append(attempt_of(job))
    return of(
        JobShown,
        job,
        repository=repository,
        log=log_of(job.id),
        steps=[StepShown.model_validate(step) for step in steps],
        image=ImageShown.model_validate(image) if image else None,
        history=[of(AttemptShown, one, log=f"{log_of(job.id)}?attempt={one.attempt}") for one in history],
    )
