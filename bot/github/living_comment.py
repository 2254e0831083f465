"""What the living comment shows, read from the store at the moment of sending."""

from __future__ import annotations

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.store.tables import Environment, Image, Job, JobState, Pull, Release, ReleaseState, Run
from bot.texts import CommentView, ImageView, PlaceView, state_of
from workers.contract.messages import Kind, now


async def view(session: AsyncSession, pull: Pull, base_url: str) -> CommentView | None:
    """How things stand for a pull request, None while nothing was ever run for it."""
    jobs = await _newest_jobs(session, pull)
    if not jobs:
        return None
    return CommentView(
        sha=jobs[0].sha,
        updated_at=now(),
        images=[await _image(session, job, base_url) for job in jobs if job.kind is Kind.BUILD],
        places=[await _place(session, job, base_url) for job in jobs if job.kind is Kind.DEPLOY],
    )


async def _newest_jobs(session: AsyncSession, pull: Pull) -> list[Job]:
    """The jobs of the newest run that built something for it."""
    runs = (
        select(Run.id)
        .where(Run.repository_id == pull.repository_id, Run.pull_number == pull.number)
        .where(col(Run.id).in_(select(Job.run_id).where(Job.kind == Kind.BUILD)))
        .order_by(col(Run.id).desc())
    )
    run = (await session.exec(runs.limit(1))).first()
    return list((await session.exec(select(Job).where(Job.run_id == run).order_by(col(Job.id)))).all())


async def _image(session: AsyncSession, job: Job, base_url: str) -> ImageView:
    image = (await session.exec(select(Image).where(Image.job_id == job.id))).first()
    ended = job.state is JobState.SUCCEEDED and job.started_at is not None and job.ended_at is not None
    seconds = (
        (job.ended_at - job.started_at).total_seconds() if ended and job.started_at and job.ended_at else None
    )
    size = image.size if image else None
    return ImageView(job.name, state_of(job), seconds, size, f"{base_url}/jobs/{job.id}", _problem(job))


async def _place(session: AsyncSession, job: Job, base_url: str) -> PlaceView:
    here = select(Environment).where(
        Environment.repository_id == job.repository_id, Environment.name == job.environment
    )
    environment = (await session.exec(here)).one()
    serving = select(Release).where(
        Release.environment_id == environment.id, Release.state == ReleaseState.LIVE
    )
    live = (await session.exec(serving)).first()
    return PlaceView(
        name=job.name,
        state="🗑 removed" if environment.stopped and live is None else state_of(job),
        url=environment.url if live else None,
        sha=live.sha if live else None,
        log_url=f"{base_url}/jobs/{job.id}",
        problem=_problem(job),
    )


def _problem(job: Job) -> str:
    if job.state is JobState.FAILED:
        return f"{job.failed_step or 'start'}: {job.sentence}"
    return job.sentence if job.state is JobState.CANCELLED else ""
