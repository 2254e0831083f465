"""Which deploys may go now: what their environments' gates ask for, looked up and weighed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlmodel import col, select

from bot.decisions import gates
from bot.decisions.decision import Cause, Complaint, Decision, Effect, FreeLocksOf, Thaw, Want
from bot.decisions.desk import Desk
from bot.decisions.freezes import frozen
from bot.decisions.gates import Closed, Facts, Gate, Locked, Wish
from bot.decisions.plan import PlannedJob
from bot.reports.texts import MOST_STATUS, shortened
from bot.store import locks as lock_rows
from bot.store.tables import Approval, Environment, Image, Lock, Release, ReleaseState
from config.errors import ConfigError
from workers.contract.messages import Kind, now

SCHEDULE = "schedule"  # a cause
RELEASE = "release/"  # what waits for an approval is this release, to be brought elsewhere


async def holding(desk: Desk, wish: Wish, spec: Mapping[str, Any], approver: str = "") -> list[Closed]:
    """The gates that hold a deploy, all of them, warnings too. Raises GitHubError.

    `approver` approves of it in the same breath.
    """
    return gates.closed(spec, wish, await _facts(desk, wish, spec, approver))


async def admitted(desk: Desk, made: Decision) -> Decision:
    """A decision that no command made, without the deploys that are held or would change nothing.

    Each of those has a status that says so, so that nobody waits for one that never comes. What only a
    freeze window holds is decided again when it ends; a schedule's time is skipped, and has no status.
    """
    if made.heard is not None:
        return made
    made = await _merged(desk, made)
    if made.cause is None:
        return made
    held: dict[int, Complaint] = {}
    idle: dict[int, Complaint] = {}
    skipped: dict[int, str] = {}
    thaws: list[Effect] = []
    waiting: list[Effect] = []
    for place, job in enumerate(made.jobs):
        if job.kind is not Kind.DEPLOY:
            continue
        if said := await running(desk, job, made.cause.sha):
            idle[place] = Complaint(made.cause.sha, job.context, shortened(said, MOST_STATUS), "success")
            continue
        hard, until = await _closed(desk, made, job)
        if hard and made.cause.kind == SCHEDULE and until:
            skipped[place] = f"{job.name}: skipped, {hard[0]}"
        elif hard:
            held[place] = _complaint(made.cause.sha, job, hard)
            thaws += wanted(hard, job.environment or job.name, made.cause)
            if until:
                thaws.append(Thaw(job.name, made.cause.ref, made.cause.sha, made.cause.actor, until))
    if not held and not idle and not skipped:
        return made
    unbuilt = _only_for(made.jobs, {*idle, *skipped})
    if idle:
        for place in unbuilt:
            said = "Not needed: its tree is live already"
            idle[place] = Complaint(made.cause.sha, made.jobs[place].context, said, "success")
    jobs = without(made.jobs, {*held, *idle, *skipped, *unbuilt})
    notes = (*held.values(), *idle.values())
    said_of = (f"{note.context}: {note.description}" for note in notes)
    reason = "; ".join([made.reason, *said_of, *skipped.values()])
    cause = made.cause if jobs else None
    return dataclasses.replace(
        made,
        reason=reason,
        cause=cause,
        jobs=jobs,
        notes=(*made.notes, *notes),
        effects=(*made.effects, *thaws, *waiting),
    )


async def _merged(desk: Desk, made: Decision) -> Decision:
    """A merge frees the locks that its pull request took, where their environments say so."""
    if made.pull is None or not made.pull.merged or not await locks(desk):
        return made
    try:
        named = (await desk.ruling()).environments
    except ConfigError:
        return made
    freed = tuple(name for name, environment in named.items() if environment.gates.unlock_on_merge)
    return dataclasses.replace(made, effects=(*made.effects, FreeLocksOf(made.pull.number, freed)))


async def _closed(desk: Desk, made: Decision, job: PlannedJob) -> tuple[list[Closed], datetime | None]:
    """The gates that hold a deploy; and until when, where a freeze window is all that does."""
    cause = made.cause
    assert cause is not None, "admitted only looks at decisions with one"  # noqa: S101
    wish = Wish(
        job.environment or job.name,
        cause.sha,
        cause.actor,
        cause.pull_number,
        made.pull.author if made.pull else "",
        made.pull.base if made.pull else "",
        scheduled=cause.kind == SCHEDULE,
    )
    hard = [closed for closed in await holding(desk, wish, job.spec) if not closed.warning]
    window = frozen(job.spec.get("freeze") or (), now())
    alone = [closed.gate for closed in hard] == [Gate.FREEZE]
    return hard, window.until if alone and window else None


def wanted(
    hard: Sequence[Closed], environment: str, cause: Cause, release: int | None = None
) -> list[Effect]:
    """Pure: what people are asked for where an approval is among what holds a deploy.

    A `release` that is to be brought there is remembered in the place of a ref.
    """
    if not any(closed.gate is Gate.APPROVAL for closed in hard):
        return []
    ref = f"{RELEASE}{release}" if release is not None else cause.ref
    return [Want(environment, cause.head_of, cause.sha, ref, cause.actor, why_held(hard))]


def why_held(hard: Sequence[Closed]) -> str:
    """Pure: what holds a deploy, for people, without what opens it."""
    return "; ".join(f"{closed.gate}: {closed.why}" for closed in hard)


def _complaint(sha: str, job: PlannedJob, hard: Sequence[Closed]) -> Complaint:
    state = "failure" if any(closed.gate is Gate.DEPLOYERS for closed in hard) else "error"
    said = shortened(f"Held by {'; '.join(map(str, hard))}", MOST_STATUS)
    return Complaint(sha, job.context, said, state)


def _only_for(jobs: tuple[PlannedJob, ...], places: set[int]) -> set[int]:
    """The places of what only the jobs at `places` need."""
    theirs = {need for place in places for need in jobs[place].needs}
    others = {need for place, job in enumerate(jobs) if place not in places for need in job.needs}
    return theirs - others


def without(jobs: tuple[PlannedJob, ...], left_out: set[int]) -> tuple[PlannedJob, ...]:
    """Pure: a plan without the jobs at some places, which no other of them needs."""
    kept = [place for place in range(len(jobs)) if place not in left_out]
    moved = {old: new for new, old in enumerate(kept)}
    return tuple(
        dataclasses.replace(jobs[place], needs=tuple(moved[need] for need in jobs[place].needs))
        for place in kept
    )


async def running(desk: Desk, job: PlannedJob, sha: str) -> str | None:
    """Why a deploy would change nothing: the environment runs this very tree with these settings."""
    live = await _live(desk, job.environment or job.name)
    if live is None or live.settings != job.spec or live.sha == sha:
        return None
    if (tree := await _tree(desk, live)) is None or tree != await desk.github.tree(desk.repository, sha):
        return None
    return f"Already live: {live.sha[:7]} has the same tree and settings"


async def _live(desk: Desk, environment: str) -> Release | None:
    here = (
        select(Release)
        .join(Environment, col(Environment.id) == col(Release.environment_id))
        .where(Environment.repository_id == desk.repository.id, Environment.name == environment)
        .where(Release.state == ReleaseState.LIVE)
    )
    async with desk.store.reading() as session:
        return (await session.exec(here)).first()


async def _tree(desk: Desk, release: Release) -> str | None:
    built = select(Image.tree).where(
        Image.repository_id == desk.repository.id,
        Image.reference == release.image,
        col(Image.fork).is_(False),
    )
    async with desk.store.reading() as session:
        return (await session.exec(built)).first()


async def _facts(desk: Desk, wish: Wish, spec: Mapping[str, Any], approver: str) -> Facts:
    asked = spec.get("gates") or {}
    github, repository = desk.github, desk.repository
    base = wish.base or repository.default_branch
    window = frozen(spec.get("freeze") or (), now())
    facts = Facts(locks=await locks(desk, wish.environment), base=base, frozen=window)
    if asked.get("review") and wish.pull:
        approvers = await github.approvers(repository, wish.pull, wish.sha)
        weighty = [who for who in approvers if await desk.may_write(who)]
        facts = dataclasses.replace(facts, reviewers=weighty)
    if asked.get("checks"):
        required = await github.required_contexts(repository, base)
        contexts = await github.contexts(repository, wish.sha)
        facts = dataclasses.replace(facts, required=required, contexts=contexts)
    if asked.get("up_to_date", "off") != "off" and (wish.pull or wish.unmerged):
        behind = await github.behind(repository, await desk.head(base) or base, wish.sha)
        facts = dataclasses.replace(facts, behind=behind)
    if after := asked.get("after"):
        facts = dataclasses.replace(facts, ran_well=await _runs_well(desk, after, wish.sha))
    if asked.get("approval"):
        known = [*await approvers_of(desk, wish.sha), *([approver] if approver else [])]
        approved = [who for who in known if await desk.may_write(who)]
        facts = dataclasses.replace(facts, approvers=approved)
    if asked.get("confirm") and wish.comment_id:
        thumbs = await github.reacted(repository, wish.comment_id, "+1")
        facts = dataclasses.replace(facts, confirmed=wish.actor in thumbs)
    return facts


async def locks(desk: Desk, environment: str | None = None) -> list[Locked]:
    """The locks that hold one environment, or all that there are."""
    here = select(Lock).where(Lock.repository_id == desk.repository.id, lock_rows.holds())
    here = here.order_by(col(Lock.id))
    if environment is not None:
        here = here.where(col(Lock.environment).in_(("", environment)))
    async with desk.store.reading() as session:
        rows = (await session.exec(here)).all()
    return [Locked(row.environment, row.owner, row.reason, row.created_at, row.expires_at) for row in rows]


async def approvers_of(desk: Desk, sha: str) -> list[str]:
    """Who approved exactly this commit, by a command."""
    said = select(Approval.actor).where(Approval.repository_id == desk.repository.id, Approval.sha == sha)
    async with desk.store.reading() as session:
        return list((await session.exec(said)).all())


async def _runs_well(desk: Desk, environment: str, sha: str) -> bool:
    live = await _live(desk, environment)
    if live is None:
        return False
    return live.sha == sha or await _tree(desk, live) == await desk.github.tree(desk.repository, sha)
