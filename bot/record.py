"""A decision, written: repository, pull request, run, jobs and reports, all in one transaction."""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot import lifecycle, reports
from bot.decision import Cause, Decision, RepositoryFacts
from bot.github.forge import PullHead
from bot.plan import PlannedJob
from bot.store.tables import Environment, Job, Pull, ReportKind, Repository, Run
from workers.contract.messages import Kind


async def repository(session: AsyncSession, facts: RepositoryFacts) -> Repository:
    """The repository's row, as the newest payload describes it."""
    row = await session.get(Repository, facts.id) or Repository(**vars(facts))
    row.full_name, row.default_branch, row.private = facts.full_name, facts.default_branch, facts.private
    row.installation_id = facts.installation_id or row.installation_id
    session.add(row)
    return row


async def decision(
    session: AsyncSession, owner: Repository, made: Decision, guid: str, pool: str, attempts: int
) -> tuple[str, int | None]:
    """Write all that `made` says. Returns the reason for people, and the run's id if there is one."""
    for comment_id, content in made.reactions:
        await reports.owe_reaction(session, owner.id, comment_id, content)
    if made.pull is not None:
        await _pull(session, owner, made.pull)
    if made.complaint is not None:
        key = f"status:{made.complaint.sha}:{made.complaint.context}"
        payload = {**vars(made.complaint), "state": "failure"}
        await reports.owe(session, owner.id, ReportKind.STATUS, key, payload)
    if made.cause is None:
        return made.reason, None
    if done := (await session.exec(select(Run.id).where(Run.cause_key == made.cause.key))).first():
        return f"ignored: run {done} has the same cause", done
    run = await _run(session, owner, made.cause, guid)
    await lifecycle.supersede(session, run)
    for job in _jobs(run, made.jobs, pool, attempts):
        await _environment(session, job, made.cause)
        session.add(job)
        await session.flush()
        await reports.job_changed(session, job, run, None)
    return made.reason, run.id


async def _pull(session: AsyncSession, owner: Repository, head: PullHead) -> None:
    row = await session.get(Pull, (owner.id, head.number)) or Pull(
        repository_id=owner.id, number=head.number, head_sha=head.sha, head_ref=head.ref
    )
    row.head_sha, row.head_ref, row.fork, row.open = head.sha, head.ref, head.fork, head.open
    session.add(row)


async def _run(session: AsyncSession, owner: Repository, cause: Cause, guid: str) -> Run:
    run = Run(
        repository_id=owner.id,
        cause=cause.kind,
        cause_key=cause.key,
        ref=cause.ref,
        sha=cause.sha,
        pull_number=cause.pull_number,
        comment_id=cause.comment_id,
        actor=cause.actor,
        delivery_guid=guid,
    )
    session.add(run)
    await session.flush()
    return run


def _jobs(run: Run, planned: Sequence[PlannedJob], pool: str, attempts: int) -> list[Job]:
    assert run.id is not None, "flushed"  # noqa: S101
    return [
        Job(
            id=f"{run.id}-{place}",
            run_id=run.id,
            repository_id=run.repository_id,
            sha=run.sha,
            kind=job.kind,
            name=job.name,
            environment=job.environment,
            context=job.context,
            pool=pool,
            needs=[f"{run.id}-{need + 1}" for need in job.needs],
            spec=job.spec,
            attempts=attempts,
        )
        for place, job in enumerate(planned, start=1)
    ]


async def _environment(session: AsyncSession, job: Job, cause: Cause) -> None:
    if job.kind is not Kind.DEPLOY or job.environment is None:
        return
    here = select(Environment).where(
        Environment.repository_id == job.repository_id, Environment.name == job.environment
    )
    if (await session.exec(here)).first() is None:
        session.add(
            Environment(repository_id=job.repository_id, name=job.environment, pull_number=cause.pull_number)
        )
