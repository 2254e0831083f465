"""What the living comment shows, read from the store at the moment of sending."""

from __future__ import annotations

from collections import Counter

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.reports import texts
from bot.reports.texts import CommandView, CommentView, ImageView, PlaceView, RunView, state_of
from bot.store import causes, tcp_ports
from bot.store.logs import LogStore
from bot.store.tables import (
    CommandRow,
    ContainerRow,
    Environment,
    Image,
    Job,
    JobState,
    Pull,
    Release,
    ReleaseState,
    Repository,
    Run,
)
from workers.contract.messages import Kind, now

_MOST_COMMANDS = 8
_MOST_RUNS = 5


async def view(session: AsyncSession, pull: Pull, base_url: str, logs: LogStore) -> CommentView | None:
    """How things stand for a pull request, None while there is nothing to tell."""
    runs = await _runs(session, pull)
    building = [run for run in runs if await _builds(session, run)]
    newest = building[0] if building else None
    jobs = await _jobs(session, newest) if newest else []
    commands = await _commands(session, pull)
    if not (jobs or commands or pull.waiting):
        return None
    deploys = [job for job in jobs if job.kind is Kind.DEPLOY]
    return CommentView(
        sha=pull.head_sha,
        updated_at=now(),
        images=[await _image(session, job, pull, base_url, logs) for job in jobs if job.kind is Kind.BUILD],
        places=[await _place(session, job, base_url, logs) for job in deploys],
        waiting=tuple(pull.waiting.splitlines()),
        commands=commands,
        history=tuple([await _run(session, run) for run in runs if run is not newest][:_MOST_RUNS]),
    )


async def _runs(session: AsyncSession, pull: Pull) -> list[Run]:
    theirs = select(Run).where(
        Run.repository_id == pull.repository_id,
        Run.pull_number == pull.number,
        col(Run.cause).not_in(causes.QUIET),
    )
    return list((await session.exec(theirs.order_by(col(Run.id).desc()).limit(2 * _MOST_RUNS))).all())


async def _builds(session: AsyncSession, run: Run) -> bool:
    """Whether the run built or deployed something: a stop shows in what it stopped, a task in its answer."""
    deeds = select(Job.id).where(Job.run_id == run.id, col(Job.kind).in_((Kind.BUILD, Kind.DEPLOY)))
    return (await session.exec(deeds.limit(1))).first() is not None


async def _jobs(session: AsyncSession, run: Run) -> list[Job]:
    return list((await session.exec(select(Job).where(Job.run_id == run.id).order_by(col(Job.id)))).all())


async def _run(session: AsyncSession, run: Run) -> RunView:
    states = Counter(job.state.value for job in await _jobs(session, run))
    told = ", ".join(f"{count} {state}" for state, count in states.items())
    return RunView(run.id or 0, run.cause, run.sha, told)


async def _commands(session: AsyncSession, pull: Pull) -> tuple[CommandView, ...]:
    theirs = select(CommandRow).where(
        CommandRow.repository_id == pull.repository_id, CommandRow.pull_number == pull.number
    )
    newest = theirs.order_by(col(CommandRow.id).desc()).limit(_MOST_COMMANDS)
    return tuple(
        CommandView(row.line, row.actor, texts.command_state(row.state), tuple(row.answer.splitlines()))
        for row in (await session.exec(newest)).all()
    )


async def _image(session: AsyncSession, job: Job, pull: Pull, base_url: str, logs: LogStore) -> ImageView:
    image = (await session.exec(select(Image).where(Image.job_id == job.id))).first()
    ended = job.state is JobState.SUCCEEDED and job.started_at is not None and job.ended_at is not None
    seconds = (
        (job.ended_at - job.started_at).total_seconds() if ended and job.started_at and job.ended_at else None
    )
    size = (image.size or None) if image else None  # nobody knows it of one that is built elsewhere
    base = await _base_size(session, job, pull) if image else None
    return ImageView(
        name=job.name,
        state=state_of(job),
        seconds=seconds,
        size=size,
        delta=size - base if size is not None and base is not None else None,
        log_url=f"{base_url}/jobs/{job.id}",
        problem=_problem(job),
        log=await _log(job, logs),
    )


async def _base_size(session: AsyncSession, job: Job, pull: Pull) -> int | None:
    """The size of the newest image of that name that the base branch built."""
    repository = await session.get_one(Repository, pull.repository_id)
    built = (
        select(Image.size)
        .join(Job, col(Job.id) == col(Image.job_id))
        .join(Run, col(Run.id) == col(Job.run_id))
        .where(Image.repository_id == pull.repository_id, Image.name == job.name)
        .where(Run.ref == f"refs/heads/{pull.base_ref or repository.default_branch}")
        .order_by(col(Image.id).desc())
    )
    return (await session.exec(built.limit(1))).first()


async def _place(session: AsyncSession, job: Job, base_url: str, logs: LogStore) -> PlaceView:
    here = select(Environment).where(
        Environment.repository_id == job.repository_id, Environment.name == job.environment
    )
    environment = (await session.exec(here)).one()
    serving = select(Release).where(
        Release.environment_id == environment.id, Release.state == ReleaseState.LIVE
    )
    live = (await session.exec(serving)).first()
    brought_out = (await session.exec(select(Release).where(Release.job_id == job.id))).first()
    last, unwell = live or brought_out if environment.asleep else live, _unwell(brought_out, live)
    return PlaceView(
        name=job.name,
        state=texts.place_state(job, environment, brought_out, live),
        url=environment.url if last else None,
        sha=last.sha if last else None,
        log_url=f"{base_url}/jobs/{job.id}",
        problem=_problem(job) or (unwell.problem if unwell else ""),
        log=await _log(job, logs) or (texts.tail(unwell.last_lines) if unwell else ""),
        processes=await _processes(session, live),
        tcp=texts.by_tcp(await tcp_ports.told(session, live)),
    )


async def _processes(session: AsyncSession, live: Release | None) -> str:
    if live is None or not live.settings.get("processes"):
        return ""
    theirs = select(ContainerRow).where(
        ContainerRow.release_id == live.id, ContainerRow.worker == live.worker
    )
    return texts.running(live, (await session.exec(theirs)).all())


def _unwell(brought_out: Release | None, live: Release | None) -> Release | None:
    """The job's release, if it was given up, or what serves now, if it suffers something."""
    given_up = brought_out is not None and brought_out.state is ReleaseState.FAILED
    release = brought_out if given_up else live
    return release if release is not None and release.problem else None


async def _log(job: Job, logs: LogStore) -> str:
    """The end of a failed job's log, in which secrets are masked already."""
    if job.state is not JobState.FAILED:
        return ""
    return texts.tail(await logs.tail(job.id, job.attempt, texts.TAIL_LINES))


def _problem(job: Job) -> str:
    if job.state is JobState.FAILED:
        return f"{job.failed_step or 'start'}: {job.sentence}"
    return job.sentence if job.state is JobState.CANCELLED else ""
