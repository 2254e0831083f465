"""The commands that run something: build, deploy, promote, roll back, and once more."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlmodel import col, select

from bot.decisions import admission, answers, deploying, forks, plan
from bot.decisions.commands.definition import Asked
from bot.decisions.decision import Decision, Refused
from bot.decisions.deploying import Wanted
from bot.decisions.desk import Desk
from bot.decisions.gates import Closed, Gate
from bot.decisions.plan import PlannedJob
from bot.store.tables import CommandState, Job, JobState, Run
from config.errors import nearest
from config.tags import Names
from workers.contract.messages import Kind, now

_CONFIRM_EVERY = 3.0  # seconds between two looks for the confirming reaction
_CONFIRM_WITHIN = timedelta(minutes=10)
FRESH = "--fresh"


async def build(desk: Desk, asked: Asked) -> Decision:
    _not_a_forks(asked)
    config = await desk.config(asked.head.sha)
    fresh = FRESH in asked.arguments
    named = [word for word in asked.arguments if word != FRESH]
    if len(named) > 1:
        raise Refused(f"name one image: /build {named[0]}")
    image = named[0] if named else None
    if image is not None and image not in config.images:
        raise Refused(f"there is no image {image}.{nearest(image, config.images)}")
    names = Names(asked.head.sha, asked.head.ref, branch=asked.head.ref, pr=asked.head.number)
    jobs = plan.build(config, names, image, fresh=fresh)
    return asked.runs(desk, tuple(jobs), answers.accepted(asked.head.sha))


async def redeploy(desk: Desk, asked: Asked) -> Decision:
    return await _preview(desk, asked)


async def deploy(desk: Desk, asked: Asked) -> Decision:
    """`/deploy`, `/deploy production`, or `/deploy main to production`."""
    match asked.arguments:
        case () | ("preview",):
            return await _preview(desk, asked)
        case (name,) if name == plan.preview_name(asked.head.number):
            return await _preview(desk, asked)
        case (name,):
            _not_a_forks(asked)
            wanted = await deploying.head(desk, asked.head, name, asked.author, asked.comment_id)
            return await gated(desk, asked, wanted)
        case (branch, "to", name):
            return await _deploy_branch(desk, asked, branch, name)
    raise Refused("say /deploy, /deploy ENVIRONMENT or /deploy BRANCH to ENVIRONMENT")


async def promote(desk: Desk, asked: Asked) -> Decision:
    """Deploy to one environment the very image that another runs."""
    source, target = asked.arguments
    return await gated(
        desk, asked, await deploying.promotion(desk, source, target, asked.author, asked.comment_id)
    )


async def rollback(desk: Desk, asked: Asked) -> Decision:
    """Deploy an earlier release again, with the settings that it had."""
    name, *wanted = asked.arguments
    return await gated(
        desk, asked, await deploying.rollback(desk, name, wanted[0] if wanted else None, asked.author)
    )


async def retry(desk: Desk, asked: Asked) -> Decision:
    """Run once more what failed for this head; with the rights of whoever says so now."""
    failed = (
        select(Run)
        .join(Job, col(Job.run_id) == col(Run.id))
        .where(Run.repository_id == desk.repository.id, Run.pull_number == asked.head.number)
        .where(Run.sha == asked.head.sha, Job.state == JobState.FAILED)
        .order_by(col(Run.id).desc())
    )
    async with desk.store.reading() as session:
        run = (await session.exec(failed)).first()
        if run is None:
            raise Refused(f"nothing failed for {asked.head.sha[:7]}")
        rows = (await session.exec(select(Job).where(Job.run_id == run.id))).all()
    rows = sorted(rows, key=lambda row: int(row.id.partition("-")[2]))
    places = {row.id: place for place, row in enumerate(rows)}
    jobs = tuple(
        PlannedJob(
            row.kind,
            row.name,
            row.context,
            row.environment,
            tuple(places[need] for need in row.needs),
            row.spec,
            pool=row.pool,
            attempts=row.attempts,
        )
        for row in rows
    )
    for job in jobs:
        own = job.environment in (None, plan.preview_name(asked.head.number))
        if job.kind is Kind.TASK and not own:
            raise Refused(f"{job.environment} has gates: say /run {job.name} {job.environment}")
        if job.kind is Kind.UPDATE:  # what it ran before may be another by now
            raise Refused(f"say /update {job.environment} {job.name}")
        if job.kind is Kind.DEPLOY and not own:
            raise Refused(f"{job.environment} has gates: say /deploy {job.environment}")
    return asked.runs(desk, jobs, answers.accepted(asked.head.sha), fork=run.fork)


async def _preview(desk: Desk, asked: Asked) -> Decision:
    head = asked.head
    made = asked.runs(desk, (), "")
    if head.fork:
        assert made.cause is not None, "runs() gives one"  # noqa: S101
        made = await forks.fork(desk, head, made.cause)
        if made.cause is None:
            raise Refused(made.reason.partition(": ")[2])
        jobs, fork = made.jobs, True
    else:
        jobs, fork = tuple(plan.preview(await desk.config(head.sha), head.number, head.sha)), False
    if not jobs:
        raise Refused("the repository has no previews: its file names no environment preview")
    return asked.runs(desk, jobs, answers.accepted(head.sha), fork=fork)


async def _deploy_branch(desk: Desk, asked: Asked, branch: str, name: str) -> Decision:
    if branch != desk.repository.default_branch:
        raise Refused(f"only {desk.repository.default_branch} can be deployed by its name")
    return await gated(desk, asked, await deploying.branch(desk, name, asked.author, asked.comment_id))


async def gated(
    desk: Desk, asked: Asked, wanted: Wanted, said: str | None = None, *, fork: bool = False
) -> Decision:
    """Run what is wanted if every gate is open; wait where only the confirmation lacks; else refuse."""
    found = await admission.holding(desk, wanted.wish, wanted.holds)
    hard = [closed for closed in found if not closed.warning]
    if any(closed.gate is Gate.UP_TO_DATE for closed in hard) and _updates(wanted.holds):
        await desk.github.telling.update_branch(desk.repository, asked.head.number, asked.head.sha)
    if [closed.gate for closed in hard] == [Gate.CONFIRM] and now() - asked.written_at < _CONFIRM_WITHIN:
        heard = asked.heard(CommandState.ACCEPTED, answers.held(hard), wanted.sha)
        return Decision(f"waits: {hard[0]}", pull=asked.head, heard=heard, later=_CONFIRM_EVERY)
    if hard:
        cause = asked.runs(desk, (), "", sha=wanted.sha, ref=wanted.ref).cause
        assert cause is not None, "runs() gives one"  # noqa: S101
        wants = admission.wanted(hard, wanted.wish.environment, cause, wanted.release)
        return dataclasses.replace(asked.refused(answers.held(hard)), effects=tuple(wants))
    warnings: list[Closed] = [closed for closed in found if closed.warning]
    told = said or answers.accepted(wanted.sha)
    said = "\n".join([told, *(f"warning: {closed}" for closed in warnings)])
    return asked.runs(desk, wanted.jobs, said, sha=wanted.sha, ref=wanted.ref, fork=fork)


def _updates(spec: Mapping[str, Any]) -> bool:
    return bool((spec.get("gates") or {}).get("up_to_date") == "update")


def _not_a_forks(asked: Asked) -> None:
    if asked.head.fork:
        raise Refused("a fork's commit gets a preview only, after /approve; merge it to deploy it elsewhere")
