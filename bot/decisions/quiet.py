"""Runs that nobody asked for: an idle preview sleeps; what slept, was lost or crashed starts again."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.decisions import plan, record
from bot.decisions.decision import Cause, Decision
from bot.decisions.plan import PlannedJob
from bot.jobs import lifecycle, releases
from bot.store import causes
from bot.store.database import Store
from bot.store.tables import Environment, Job, Release, Repository, Run
from workers.contract.messages import Kind, now

_AGAIN = timedelta(seconds=60)  # after one that failed


async def start_again(
    session: AsyncSession, environment: Environment, release: Release, cause: str, place: int | None = None
) -> int | None:
    """Deploy a release as it was; the run, or None if something is done to the environment already.

    Its place in the order of causes is the one that it had, or that of the run `place`. What failed just
    now is left alone for a while.
    """
    if await busy(session, environment, tasks=False):  # one may wait for the very release that is started
        return None
    key = f"{cause}:{release.id}:"
    earlier = select(Run.id).where(col(Run.cause_key).startswith(key, autoescape=True))
    runs = (await session.exec(earlier)).all()
    tried = select(Job.ended_at).where(col(Job.run_id).in_(runs), col(Job.ended_at) > now() - _AGAIN)
    if (await session.exec(tried.limit(1))).first() is not None:
        return None
    owner = await session.get_one(Repository, environment.repository_id)
    before = await session.get_one(Job, release.job_id)
    spec = releases.again(release) | ({} if place is None else {"place": place})
    name = environment.name
    job = PlannedJob(Kind.DEPLOY, name, "", environment=name, spec=spec)
    made = Decision(
        f"starts {release.sha[:7]} in {name} again",
        Cause(cause, f"{key}{len(runs)}", f"environment/{name}", release.sha, ""),
        (job,),
    )
    _, run = await record.decision(session, owner, made, "", before.pool, before.attempts)
    return run


async def busy(session: AsyncSession, environment: Environment, *, tasks: bool = True) -> bool:
    """Whether a job changes an environment, or is to; with `tasks` also whether one of its own is.

    A backup changes nothing.
    """
    beside = [Kind.BACKUP] if tasks else [Kind.BACKUP, Kind.TASK]
    live = select(Job.id).where(
        Job.repository_id == environment.repository_id,
        Job.environment == environment.name,
        col(Job.state).in_(lifecycle.LIVE),
        col(Job.kind).not_in(beside),
    )
    return (await session.exec(live.limit(1))).first() is not None


async def wake(store: Store, environment_id: int) -> None:
    """Start what an environment ran before it slept; does nothing if it is awake, or being woken."""
    # Another bot may wake it in the same moment: then its run has the cause's key.
    with suppress(IntegrityError):
        async with store.transaction() as session:
            environment = await session.get(Environment, environment_id)
            if environment is None or not environment.asleep:
                return
            last = await releases.newest(session, environment.repository_id, environment.name)
            if last is not None:
                await start_again(session, environment, last, causes.WAKE)


async def sleep(session: AsyncSession, environment: Environment, release: Release) -> int | None:
    """Stop what an environment runs until somebody asks for it; None if something is done to it already."""
    if await busy(session, environment):
        return None
    job, name = await session.get_one(Job, release.job_id), environment.name
    owner = await session.get_one(Repository, environment.repository_id)
    key = f"{causes.SLEEP}:{release.id}:{now().isoformat()}"
    made = Decision(
        f"{name} sleeps until it is asked for",
        Cause(causes.SLEEP, key, f"environment/{name}", release.sha, ""),
        (plan.stop(name, sleeps=True),),
    )
    _, run = await record.decision(session, owner, made, "", job.pool, job.attempts)
    return run
