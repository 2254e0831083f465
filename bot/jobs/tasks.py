"""Tasks of environments: what their releases name, which of them run, and what may not be begun twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.jobs import lifecycle
from bot.reports import texts
from bot.store.tables import Environment, Job, JobState, Release, ReleaseState, StepRow
from config.tasks import Task
from workers.contract.messages import Kind, Step


def named(settings: Mapping[str, Any]) -> dict[str, Task]:
    """Pure: the tasks in a release's settings, which may be of before there were any."""
    return {name: Task.model_validate(told) for name, told in (settings.get("tasks") or {}).items()}


def spec(task: Task, release: Release) -> dict[str, Any]:
    """Pure: what a job says of its task."""
    return {
        "command": task.command,
        "timeout": task.timeout_seconds,
        "overlap": task.overlap,
        "process": task.process or "",
        "retry": task.retry,
        "fork": bool(release.settings.get("fork")),
    }


def hindered(task: Task, name: str, before: Sequence[Job]) -> str:
    """Pure: why a task is not begun beside those of it `before` that have not ended; empty if it is.

    Of one that queues one waits at most: so its line has an end, however long it lasts.
    """
    waits = [job for job in before if job.state is not JobState.RUNNING]
    if task.overlap == "queue":
        return f"{name} waits for its turn already (job {waits[0].id})" if waits else ""
    return f"{name} has not ended yet (job {before[0].id})" if before else ""


async def live(session: AsyncSession, repository_id: int, environment: str) -> Release | None:
    """The release that a task of an environment runs in."""
    serving = (
        select(Release)
        .join(Environment, col(Environment.id) == col(Release.environment_id))
        .where(Environment.repository_id == repository_id, Environment.name == environment)
        .where(Release.state == ReleaseState.LIVE)
    )
    return (await session.exec(serving.order_by(col(Release.id).desc()))).first()


async def all_live(session: AsyncSession, repository_id: int) -> dict[str, Mapping[str, Any]]:
    """The settings of what is live in each environment, by its name."""
    serving = (
        select(Environment.name, Release.settings)
        .join(Release, col(Release.environment_id) == col(Environment.id))
        .where(Environment.repository_id == repository_id, Release.state == ReleaseState.LIVE)
    )
    return dict((await session.exec(serving.order_by(col(Environment.name)))).all())


async def nowhere(session: AsyncSession, repository_id: int, environment: str) -> str:
    """Why a task can't run in an environment of which nothing is live, for people."""
    here = select(Environment).where(
        Environment.repository_id == repository_id, Environment.name == environment
    )
    return texts.nowhere(environment, (await session.exec(here)).first())


async def unfinished(session: AsyncSession, repository_id: int, environment: str, name: str) -> list[Job]:
    """The jobs of a task that have not ended, the oldest first."""
    there = _of(repository_id, environment).where(Job.name == name, col(Job.state).in_(lifecycle.LIVE))
    return list((await session.exec(there.order_by(col(Job.created_at)))).all())


async def history(
    session: AsyncSession, repository_id: int, environment: str, name: str | None = None, limit: int = 100
) -> list[Job]:
    """The newest jobs of all tasks of an environment, or of one, the newest first."""
    there = _of(repository_id, environment)
    if name is not None:
        there = there.where(Job.name == name)
    return list((await session.exec(there.order_by(col(Job.created_at).desc()).limit(limit))).all())


async def last(
    session: AsyncSession, repository_id: int, environment: str, names: Sequence[str]
) -> dict[str, Job]:
    """The newest job of each of these tasks that ever ran."""
    found = {name: await history(session, repository_id, environment, name, limit=1) for name in names}
    return {name: jobs[0] for name, jobs in found.items() if jobs}


async def may_have_begun(session: AsyncSession, job: Job) -> bool:
    """Whether a worker said that it begins the command of this attempt."""
    return await session.get(StepRow, (job.id, job.attempt, Step.TASK.value)) is not None


async def end(session: AsyncSession, repository_id: int, environment: str, sentence: str) -> None:
    """Cancel what tasks of an environment do: what they run in goes."""
    there = _of(repository_id, environment).where(col(Job.state).in_(lifecycle.LIVE))
    for job in (await session.exec(there)).all():
        await lifecycle.cancel(session, job, "stopped", sentence)


def _of(repository_id: int, environment: str) -> Any:
    return select(Job).where(
        Job.repository_id == repository_id, Job.environment == environment, Job.kind == Kind.TASK
    )
