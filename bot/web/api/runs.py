"""Runs: the newest, and one with its jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy.orm import defer
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.exceptions import HTTPException

from bot.jobs import lifecycle
from bot.store.database import Store
from bot.store.tables import Job, JobState, Repository, Run
from bot.web.access import TOO_LARGE
from bot.web.api.fields import FullName, Listed, Number, Signed, Word
from bot.web.api.jobs import whole
from bot.web.api.models import JobBrief, Ordered, RunShown, RunWhole, of
from bot.web.api.operation import Call, Operation, Part, whose
from bot.web.api.rows import alike, most, number_of, only, part
from bot.web.guard import changed, within
from bot.web.problems import Refusal
from bot.web.rules import SOME, Of, deploys, reads

_SPEC: Any = Job.spec


class RunsQuery(Listed):
    """Which runs."""

    before: Annotated[Number, Field(description="as `cursor`, of before there was one")] = 0
    repository: FullName | None = None
    sha: Annotated[str | None, Field(pattern=r"^[0-9a-fA-F]{4,64}$", description="or its beginning")] = None
    ref: Annotated[Word | None, Field(description="such as refs/heads/main")] = None
    branch: Word | None = None
    pull: Number | None = None
    cause: Annotated[Word | None, Field(description="such as push, or `api deploy`")] = None
    actor: Word | None = None
    state: Annotated[JobState | None, Field(description="that one of its jobs is in")] = None


class CancelBody(Signed):
    """Who wants it."""


@dataclass(frozen=True)
class Runs:
    """The operations."""

    store: Store

    def operations(self) -> list[Operation]:
        return [
            Operation("GET", "/runs", SOME, "The newest runs", self.runs, list[RunShown], RunsQuery),
            Operation(
                "GET", "/runs/{id:int}", reads(Of.RUN), "A run, its jobs and steps", self.run, RunWhole
            ),
            Operation(
                "POST",
                "/runs/{id:int}/cancel",
                deploys(Of.RUN),
                "End all that a run still does",
                self.cancel,
                Ordered,
                body=CancelBody,
                status=202,
                makes=True,
            ),
        ]

    async def runs(self, call: Call) -> Part:
        query: RunsQuery = call.query
        newest = select(Run, Repository).join(Repository, col(Repository.id) == col(Run.repository_id))
        newest = newest.where(within(call.request, Run.repository_id))
        if before := number_of(query.cursor) or query.before:
            newest = newest.where(col(Run.id) < before)
        refs = [query.ref, f"refs/heads/{query.branch}" if query.branch else None]
        newest = newest.where(
            *alike(
                (Run.ref, refs[0]),
                (Run.ref, refs[1]),
                (Run.pull_number, query.pull),
                (Run.cause, query.cause),
                (Run.actor, query.actor),
            )
        )
        if query.sha is not None:
            newest = newest.where(col(Run.sha).startswith(query.sha.lower(), autoescape=True))
        if query.state is not None:
            there = select(Job.id).where(Job.run_id == Run.id, Job.state == query.state)
            newest = newest.where(there.exists())
        limit = most(query.limit)
        async with self.store.reading() as session:
            if (one := await only(session, query.repository)) is not None:
                newest = newest.where(Run.repository_id == one)
            rows = (await session.exec(newest.order_by(col(Run.id).desc()).limit(limit + 1))).all()
            jobs = await _jobs(session, [run.id or 0 for run, _ in rows])
        found = part(rows, limit, lambda row: str(row[0].id))
        return Part([_run(run, owner, jobs) for run, owner in found.items], found.after)

    async def run(self, call: Call) -> RunWhole:
        async with self.store.reading() as session:
            run = await self._found(session, call)
            owner = await session.get_one(Repository, run.repository_id)
            jobs = await _jobs(session, [run.id or 0])
            shown = [await whole(session, job, owner.full_name) for job in jobs]
        return of(RunWhole, run, repository=owner.full_name, jobs=shown)

    async def cancel(self, call: Call) -> Ordered:
        body: CancelBody = call.body
        async with self.store.transaction() as session:
            run = await self._found(session, call)
            unended = select(Job).where(Job.run_id == run.id, col(Job.state).in_(lifecycle.LIVE))
            live = (await session.exec(unended)).all()
            if not live:
                raise Refusal("ended", f"all jobs of run {run.id} have ended")
            for job in live:
                sentence = f"Cancelled by {body.actor}" + (f": {body.why}" if body.why else "")
                await lifecycle.cancel(session, job, "cancelled", sentence)
            changed(call.request, f"cancelled run {run.id}{whose(call.request, body)}", body.why)
        return Ordered(message=f"jobs that are being ended: {len(live)}", run=run.id)

    async def _found(self, session: AsyncSession, call: Call) -> Run:
        asked: int = call.path["id"]
        run = await session.get(Run, asked) if asked < TOO_LARGE else None
        if run is None:
            raise HTTPException(404, "there is no such run")
        return run


async def _jobs(session: AsyncSession, runs: list[int]) -> Sequence[Job]:
    theirs = select(Job).where(col(Job.run_id).in_(runs)).options(defer(_SPEC))
    return (await session.exec(theirs.order_by(col(Job.created_at), col(Job.id)))).all()


def _run(run: Run, owner: Repository, jobs: Sequence[Job]) -> RunShown:
    mine = [JobBrief.model_validate(job) for job in jobs if job.run_id == run.id]
    return of(RunShown, run, repository=owner.full_name, jobs=mine)
