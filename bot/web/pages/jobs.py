"""Jobs as pages show them: with their runs, what they do now, and what they wait for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy.orm import defer
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.exceptions import HTTPException
from starlette.requests import Request

from bot.jobs.lifecycle import LIVE, attempt_of
from bot.reports import texts
from bot.store.database import Store
from bot.store.tables import (
    AttemptRow,
    Environment,
    Image,
    Job,
    JobState,
    Release,
    Repository,
    Run,
    StepRow,
)
from workers.contract.lines import Line
from workers.contract.messages import Kind, now

SPEC: Any = Job.spec  # large, and shown nowhere
_RECENT = 2000  # runs among which the last failures are looked for

DOES = {kind: "back up" if kind is Kind.BACKUP else kind.value for kind in Kind}
_IN_PLACES = (
    Kind.TASK,
    Kind.BACKUP,
    Kind.RESTORE,
    Kind.UPDATE,
)  # whose name is of something in an environment


@dataclass(frozen=True)
class JobView:
    """A job, and whose it is. `step` is where it is now, `places` the environments that it may lead to."""

    job: Job
    run: Run
    repository: Repository
    step: str = ""

    @property
    def name(self) -> str:
        where = f" of {self.job.environment}" if self.job.kind in _IN_PLACES else ""
        return f"{DOES[self.job.kind]} {self.job.name}{where}"

    @property
    def cause(self) -> str:
        return caused(self.run)

    @property
    def says(self) -> str:
        return says(self.job)

    @property
    def pool(self) -> str:
        return Line.read(self.job.pool).pool


def says(job: Job) -> str:
    """Pure: where a job stands, as GitHub is told it; for one that waits, for what."""
    if job.cancelling and job.state is JobState.RUNNING:
        return f"Being stopped: {job.cancelling}"
    if job.state is JobState.WAITING and job.needs and job.unmet and not job.sentence:
        return "Waits until what it needs has succeeded"
    if waits(job):
        return job.sentence
    if job.state is JobState.QUEUED and job.not_before > now():
        return f"Tries again soon: {job.sentence}" if job.sentence else "Tries again soon"
    if job.state in (JobState.WAITING, JobState.QUEUED) and not job.sentence:
        return f"Waits for a free slot in pool {Line.read(job.pool).pool}"
    return texts.status(job)["description"]


def waits(job: Job) -> bool:
    """Pure: whether a job waits for what nobody here makes, and not for a worker."""
    return not job.state.final and job.reason == texts.AWAITED


async def asked(session: AsyncSession, request: Request) -> Job:
    """The one that the path names. Raises HTTPException."""
    job = await session.get(Job, request.path_params["id"])
    if job is None:
        raise HTTPException(404, f"there is no job {request.path_params['id']}")
    return job


async def found(store: Store, request: Request) -> JobView:
    """Likewise, with its run. Raises HTTPException."""
    async with store.reading() as session:
        job = await asked(session, request)
        run = await session.get_one(Run, job.run_id)
        return JobView(job, run, await session.get_one(Repository, job.repository_id))


async def history(session: AsyncSession, job: Job) -> list[AttemptRow]:
    """Every attempt, the one that runs included."""
    ended = select(AttemptRow).where(AttemptRow.job_id == job.id).order_by(col(AttemptRow.attempt))
    rows = list((await session.exec(ended)).all())
    return [*rows, attempt_of(job)] if job.state is JobState.RUNNING else rows


def joined() -> Any:
    """Jobs with their runs and repositories, without what no page shows."""
    return (
        select(Job, Run, Repository)
        .join(Run, col(Run.id) == col(Job.run_id))
        .join(Repository, col(Repository.id) == col(Job.repository_id))
        .options(defer(SPEC))
    )


async def in_state(
    session: AsyncSession, which: ColumnElement[bool], *states: JobState, limit: int
) -> list[JobView]:
    """The jobs in these states: those that run, the newest first; others, the oldest first."""
    order = col(Job.started_at).desc() if states == (JobState.RUNNING,) else col(Job.created_at)
    found = await session.exec(joined().where(which, col(Job.state).in_(states)).order_by(order).limit(limit))
    rows = found.all()
    steps = await steps_now(session, [job for job, _, _ in rows if job.state is JobState.RUNNING])
    return [JobView(job, run, repository, steps.get(job.id, "")) for job, run, repository in rows]


async def live(session: AsyncSession, which: ColumnElement[bool]) -> dict[JobState, int]:
    """How many of the jobs there are in each state that is not final."""
    counted = select(Job.state, func.count()).where(which, col(Job.state).in_(LIVE)).group_by(col(Job.state))
    return {JobState(state): many for state, many in (await session.exec(counted)).all()}


async def failed(session: AsyncSession, which: ColumnElement[bool], limit: int) -> list[JobView]:
    """Those of the jobs that failed last."""
    newest = (await session.exec(select(func.max(Run.id)))).one() or 0
    recent = joined().where(which, col(Job.run_id) > newest - _RECENT, col(Job.state) == JobState.FAILED)
    found = await session.exec(recent.order_by(col(Job.ended_at).desc()).limit(limit))
    return [JobView(job, run, repository) for job, run, repository in found.all()]


async def of_run(session: AsyncSession, run: int) -> list[Job]:
    """In the order in which they were planned."""
    mine = select(Job).where(Job.run_id == run).options(defer(SPEC))
    jobs = (await session.exec(mine)).all()
    return sorted(jobs, key=lambda job: int(job.id.rpartition("-")[2]))


async def steps_now(session: AsyncSession, jobs: Sequence[Job]) -> dict[str, str]:
    """The step that each of these is in."""
    open_ = select(StepRow).where(
        col(StepRow.job_id).in_([job.id for job in jobs]), col(StepRow.ended_at).is_(None)
    )
    tries = {job.id: job.attempt for job in jobs}
    rows = (await session.exec(open_.order_by(col(StepRow.started_at)))).all()
    return {step.job_id: step.name for step in rows if step.attempt == tries[step.job_id]}


async def steps_of(session: AsyncSession, jobs: Sequence[str]) -> list[StepRow]:
    """All steps of all attempts, in their order."""
    mine = select(StepRow).where(col(StepRow.job_id).in_(jobs))
    rows = await session.exec(mine.order_by(col(StepRow.attempt), col(StepRow.started_at)))
    return list(rows.all())


async def image_of(session: AsyncSession, job: str) -> Image | None:
    return (await session.exec(select(Image).where(Image.job_id == job))).first()


async def images_of(session: AsyncSession, jobs: Sequence[str]) -> Sequence[Image]:
    """What these built, by name."""
    return (
        await session.exec(select(Image).where(col(Image.job_id).in_(jobs)).order_by(col(Image.name)))
    ).all()


async def release_of(session: AsyncSession, job: str) -> tuple[Release, Environment] | None:
    """What a deploy brought out, and where."""
    mine = select(Release, Environment).join(Environment, col(Environment.id) == col(Release.environment_id))
    return (await session.exec(mine.where(Release.job_id == job))).first()


def caused(run: Run) -> str:
    """Pure: what set a run off, for people."""
    by = f" by {run.actor}" if run.actor else ""
    where = f"#{run.pull_number}" if run.pull_number else run.ref.removeprefix("refs/heads/")
    where = where.removeprefix("refs/tags/")
    known = {
        "push": f"push to {where}",
        "tag": f"tag {where}",
        "release": f"release {where}",
        "schedule": f"schedule of {where}",
        "merge_group": f"merge queue of {where}",
    }
    what = known.get(run.cause, f"{run.cause.replace('_', ' ')}, {where}")
    return f"{what}{by}"


def span(
    starts: Sequence[datetime | None], ends: Sequence[datetime | None]
) -> tuple[datetime, datetime] | None:
    """Pure: from the first start to the last end, which is now where something has not ended."""
    begun = [start for start in starts if start is not None]
    if not begun:
        return None
    over = [end or now() for start, end in zip(starts, ends, strict=True) if start is not None]
    return min(begun), max(over)
