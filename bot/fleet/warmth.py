"""Who is warm for what: kept at each grant, and asked at each claim."""

from __future__ import annotations

from sqlalchemy import update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.fleet import roster
from bot.jobs import affinity, awaiting, lifecycle
from bot.jobs.affinity import Candidate
from bot.store.tables import Job, JobState, Repository
from workers.contract.messages import Claim, Kind, now


async def better(session: AsyncSession, job: Job, claim: Claim, *, lease: float, local: bool) -> Job | None:
    """The job that a worker is to get instead of the one whose offer it took; None if it gets that one."""
    if job.kind in lifecycle.OF_WHAT_RUNS or job.state is not JobState.QUEUED:
        return None
    owner = await session.get_one(Repository, job.repository_id)
    first = Candidate(job.id, job.rank, _warm(job.kind, owner))
    if claim.worker in first.warm:
        return None
    passed = (now() - job.passed_at).total_seconds() if job.passed_at else 0.0
    in_line = (
        select(Job.id, Job.rank, Job.kind, Job.repository_id)
        .where(Job.state == JobState.QUEUED, Job.pool == job.pool, Job.id != job.id)
        .where(col(Job.not_before) <= now())
        .order_by(col(Job.turn), col(Job.run_id), col(Job.id))
        .limit(affinity.LOOK)
    )
    found = (await session.exec(in_line)).all()
    theirs = select(Repository).where(col(Repository.id).in_({repository for *_, repository in found}))
    owners = {owner.id: owner for owner in (await session.exec(theirs)).all()}
    others = [Candidate(id_, rank, _warm(Kind(kind), owners[owner])) for id_, rank, kind, owner in found]
    choice = affinity.chosen(first, others, claim.worker, passed)
    if choice == job.id:
        return None
    other = await session.get_one(Job, choice)
    elsewhere = await roster.elsewhere(session, other, claim.worker, lease=lease, local=local)
    return None if elsewhere else other


async def granted(session: AsyncSession, job: Job, owner: Repository, offer: str) -> None:
    """`job` is its worker's now, which took the offer of the job `offer`: that one stands in line again."""
    if job.spec.get("fork") or awaiting.awaited(job):
        pass  # it shares nothing with the repository's own, or leaves nothing
    elif job.kind is Kind.BUILD:
        owner.built_on = affinity.after(owner.built_on or [], job.worker or "")
    elif job.kind is Kind.DEPLOY:
        owner.deployed_on = affinity.after(owner.deployed_on or [], job.worker or "")
    if offer != job.id:
        # Who has its row moves it: of two workers that each took the other's offer, none waits for the other.
        first = select(Job).where(Job.id == offer, Job.state == JobState.QUEUED)
        passed = (await session.exec(first.with_for_update(skip_locked=True))).first()
        if passed is not None:
            again = {"offered_at": None, "passed_at": passed.passed_at or now()}
            same = (col(Job.id) == offer, col(Job.state) == JobState.QUEUED)
            await session.exec(update(Job).where(*same).values(**again))


async def carried(session: AsyncSession, offer: str) -> list[Job]:
    """The jobs that run by an offer of another job: as long as they do, its message is theirs."""
    running = select(Job).where(Job.state == JobState.RUNNING, Job.carrier == offer)
    return list((await session.exec(running)).all())


def _warm(kind: Kind, owner: Repository) -> list[str]:
    return {Kind.BUILD: owner.built_on, Kind.DEPLOY: owner.deployed_on}.get(kind) or []
