"""A decision, written: repository, pull request, run, jobs and reports, all in one transaction."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import delete, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.decisions import effects, forks
from bot.decisions.decision import Cause, Channels, Complaint, Decision, Heard, RepositoryFacts, Want
from bot.decisions.plan import PlannedJob, preview_name
from bot.github.forge import PullHead
from bot.jobs import awaiting, lifecycle, releases, tasks
from bot.reports import happenings, rows, texts
from bot.store import audit
from bot.store.audit import Changed
from bot.store.tables import (
    CommandRow,
    CommandState,
    Environment,
    Job,
    Pull,
    ReportKind,
    Repository,
    Run,
    Wanted,
)
from workers.contract.lines import Line
from workers.contract.messages import Kind, now


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
    if made.pull is not None:
        await _pull(session, owner, made.pull, made.waiting)
    # Last: whoever grants a job has that job's row before its repository's.
    late = [effect for effect in made.effects if isinstance(effect, Channels)]
    for effect in (effect for effect in made.effects if effect not in late):
        await effects.apply(session, owner, effect)
    for complaint in (*filter(None, [made.complaint]), *made.notes):
        key = f"status:{complaint.sha}:{complaint.context.lower()}"
        await rows.owe(session, owner.id, ReportKind.STATUS, key, vars(complaint))
    reason, run = await _caused(session, owner, made, guid, pool, attempts)
    if made.heard is not None:
        changes = any(not isinstance(effect, Want) for effect in made.effects)
        await _heard(session, owner, made.heard, run, changes=changes)
    for other in made.further:
        said, other_run = await decision(session, owner, other, guid, pool, attempts)
        reason, run = "; ".join(filter(None, (reason, said))), run or other_run
    for comment_id, content in made.reactions:
        await rows.owe_reaction(session, owner.id, comment_id, content)
    if made.heard is not None:
        await lifecycle.answer_commands(session, owner.id, made.heard.comment_id)
    elif made.pull is not None and made.waiting is not None:
        await rows.owe_comment(session, owner.id, made.pull.number)
    for effect in late:
        await effects.apply(session, owner, effect)
    return reason, run


async def _caused(
    session: AsyncSession, owner: Repository, made: Decision, guid: str, pool: str, attempts: int
) -> tuple[str, int | None]:
    """The run of a decision, made once for its cause."""
    if made.cause is None:
        return made.reason, None
    if done := (await session.exec(select(Run.id).where(Run.cause_key == made.cause.key))).first():
        return f"ignored: run {done} has the same cause", done
    run = await _run(session, owner, made.cause, guid)
    jobs = _jobs(run, [await _pooled(session, owner, job) for job in made.jobs], pool, attempts)
    if not made.cause.queues:
        await lifecycle.supersede(session, run, jobs)
    for stop in (job for job in jobs if job.kind is Kind.STOP):
        sentence = f"Cancelled: {stop.name} is being stopped"
        await tasks.end(session, owner.id, stop.name, sentence)
    await _answered(session, owner, made.cause, jobs)
    await happenings.run_made(session, run)
    for job in jobs:
        await _environment(session, job, made.cause)
        session.add(job)
        await session.flush()
        await awaiting.begun(session, job)
        await rows.job_changed(session, job, run, None)
        await happenings.job_moved(session, job)
    if (most := next((job.at_once for job in made.jobs if job.at_once is not None), None)) is not None:
        # Last: whoever grants a job has that job's row before its repository's.
        other = (col(Repository.id) == owner.id, col(Repository.at_once) != most)
        await session.exec(update(Repository).where(*other).values(at_once=most))
    return made.reason, run.id


async def _answered(session: AsyncSession, owner: Repository, cause: Cause, jobs: Sequence[Job]) -> None:
    """What runs now waits for nobody's approval any more, nor does an older commit of its place."""
    places = {job.environment for job in jobs if job.kind is Kind.DEPLOY and job.environment}
    number = cause.head_of or 0
    theirs = (col(Wanted.repository_id) == owner.id, col(Wanted.pull_number) == number)
    named = [*sorted(places), *([""] if cause.fork else [])]
    await session.exec(delete(Wanted).where(*theirs, col(Wanted.environment).in_(named)))


async def _heard(
    session: AsyncSession, owner: Repository, heard: Heard, run: int | None, *, changes: bool
) -> None:
    """The command's row; one that waited for something is told anew in the same row."""
    same = select(CommandRow).where(CommandRow.comment_id == heard.comment_id, CommandRow.line == heard.line)
    known = (await session.exec(same)).first()
    if known is not None and (known.state is not CommandState.ACCEPTED or known.run_id is not None):
        return
    row = known or CommandRow(
        repository_id=owner.id,
        pull_number=heard.number,
        comment_id=heard.comment_id,
        line=heard.line,
        actor=heard.actor,
        sha=heard.sha,
        state=heard.state,
        answer="",
    )
    if run is not None or changes:
        said = f"{heard.line} on #{heard.number}"
        audit.note(session, Changed(heard.actor, audit.COMMENT, said, repository_id=owner.id))
    row.state, row.answer, row.sha, row.run_id = heard.state, heard.answer, heard.sha, run
    session.add(row)
    await session.flush()
    await rows.owe_comment(session, owner.id, heard.number)


async def _pull(session: AsyncSession, owner: Repository, head: PullHead, waiting: str | None) -> None:
    row = await session.get(Pull, (owner.id, head.number)) or Pull(
        repository_id=owner.id, number=head.number, head_sha=head.sha, head_ref=head.ref
    )
    moved = row.head_sha != head.sha
    if moved:
        row.waiting = ""
    if moved or not head.open:
        await _overtaken(session, owner, head)
    row.head_sha, row.head_ref, row.fork, row.open = head.sha, head.ref, head.fork, head.open
    row.base_ref, row.draft = head.base, head.draft
    if waiting is not None:
        row.waiting = waiting
    session.add(row)
    await session.flush()
    if moved and row.comment_id is not None:
        await rows.owe_comment(session, owner.id, head.number)


async def _overtaken(session: AsyncSession, owner: Repository, head: PullHead) -> None:
    """What waits for an approval of a commit that nobody merges any more; its status learns the end."""
    theirs = (col(Wanted.repository_id) == owner.id, col(Wanted.pull_number) == head.number)
    other = (*theirs, col(Wanted.sha) != (head.sha if head.open else ""))
    pending = select(Wanted).where(*other, col(Wanted.environment) == "", col(Wanted.denied_by) == "")
    for row in (await session.exec(pending)).all():
        said = texts.superseded(head.sha) if head.open else f"Not built: #{head.number} was closed"
        key = f"status:{row.sha}:{forks.CONTEXT}"
        ended = Complaint(row.sha, forks.CONTEXT, said, "error")
        await rows.owe(session, owner.id, ReportKind.STATUS, key, vars(ended))
    await session.exec(delete(Wanted).where(*other))


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
        fork=cause.fork,
    )
    session.add(run)
    await session.flush()
    return run


async def _pooled(session: AsyncSession, owner: Repository, job: PlannedJob) -> PlannedJob:
    """What is about what runs goes to the pool that runs its environment: no other worker has that."""
    if job.kind not in lifecycle.OF_WHAT_RUNS or job.pool is not None or job.environment is None:
        return job
    return dataclasses.replace(job, pool=await releases.pool(session, owner.id, job.environment))


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
            pool=Line.read(job.pool or pool).pool,  # of what is done again, its labels are asked for anew
            needs=[f"{run.id}-{need + 1}" for need in job.needs],
            unmet=len(job.needs),
            spec=job.spec,
            attempts=job.attempts or attempts,
        )
        for place, job in enumerate(planned, start=1)
    ]


async def _environment(session: AsyncSession, job: Job, cause: Cause) -> None:
    if job.kind is not Kind.DEPLOY or job.environment is None:
        return
    here = select(Environment).where(
        Environment.repository_id == job.repository_id, Environment.name == job.environment
    )
    if cause.pull_number is not None and (ttl := job.spec.get("ttl_seconds")):
        pull = await session.get(Pull, (job.repository_id, cause.pull_number))
        if pull is not None and preview_name(pull.number) == job.environment:
            pull.expires_at = max(pull.expires_at or now(), now() + timedelta(seconds=ttl))
    if (await session.exec(here)).first() is None:
        session.add(
            Environment(repository_id=job.repository_id, name=job.environment, pull_number=_owner(job, cause))
        )


def _owner(job: Job, cause: Cause) -> int | None:
    """The pull request whose preview an environment is; `production` is none's, whoever deploys to it."""
    shown = cause.pull_number is not None and job.environment == preview_name(cause.pull_number)
    return cause.pull_number if shown else None
