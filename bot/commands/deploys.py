"""The commands that run something: build, deploy, promote, roll back, and once more."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlmodel import col, select

from bot import admission, answers, plan
from bot.commands.definition import Asked, Refused
from bot.decision import Decision
from bot.events import forks
from bot.events.desk import Desk
from bot.gates import Closed, Gate, Wish
from bot.plan import PlannedJob
from bot.store.tables import CommandState, Environment, Job, JobState, Release, ReleaseState, Run
from config.errors import nearest
from config.repository import PREVIEW, Repository
from config.tags import Names
from workers.contract.messages import Kind, now

_CONFIRM_EVERY = 3.0  # seconds between two looks for the confirming reaction
_CONFIRM_WITHIN = timedelta(minutes=10)
FRESH = "--fresh"
_ONLY = ("deployers",)  # what holds a rollback, besides locks: going back must always be quick


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
            return await _deploy_head(desk, asked, name)
        case (branch, "to", name):
            return await _deploy_branch(desk, asked, branch, name)
    raise Refused("say /deploy, /deploy ENVIRONMENT or /deploy BRANCH to ENVIRONMENT")


async def promote(desk: Desk, asked: Asked) -> Decision:
    """Deploy to one environment the very image that another runs."""
    source, target = asked.arguments
    config = await desk.trusted()
    environment_of(config, target)
    live = await _live(desk, source)
    jobs = plan.deploy(config, target, live.sha, target, None)
    planned = _only_deploy(jobs)
    job = dataclasses.replace(planned, needs=(), spec=planned.spec | _very(live))
    wish = Wish(target, live.sha, asked.author, comment_id=asked.comment_id)
    return await _gated(desk, asked, wish, (job,), job.spec, sha=live.sha, ref=f"environment/{target}")


async def rollback(desk: Desk, asked: Asked) -> Decision:
    """Deploy an earlier release again, with the settings that it had."""
    name = asked.arguments[0]
    wanted = asked.arguments[1] if len(asked.arguments) > 1 else None
    release = await _earlier(desk, name, wanted)
    held_by = {key: release.settings.get(key) for key in _ONLY}
    job = PlannedJob(
        Kind.DEPLOY,
        name,
        f"blacktree/deploy ({name})",
        environment=name,
        spec={**release.settings, **_very(release)},
    )
    wish = Wish(name, release.sha, asked.author)
    return await _gated(desk, asked, wish, (job,), held_by, sha=release.sha, ref=f"environment/{name}")


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
        if job.kind is Kind.DEPLOY and not own:
            raise Refused(f"{job.environment} has gates: say /deploy {job.environment}")
    return asked.runs(desk, jobs, answers.accepted(asked.head.sha), fork=run.fork)


def environment_of(config: Repository, name: str) -> None:
    """Raises Refused, with the nearest, where the file has no such environment."""
    known = [one for one in config.environments if one != PREVIEW]
    if name not in known:
        raise Refused(f"there is no environment {name}.{nearest(name, known)}")


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


async def _deploy_head(desk: Desk, asked: Asked, name: str) -> Decision:
    head = asked.head
    config, holds = await desk.config(head.sha), await desk.trusted()
    environment_of(config, name)
    jobs = tuple(plan.deploy(config, name, head.sha, head.ref, head.number))
    spec = _only_deploy(list(jobs)).spec
    if name in holds.environments:
        base = holds.environments[name].model_dump(mode="json")
        spec = {**spec, "gates": base["gates"], "deployers": base["deployers"]}
    wish = Wish(name, head.sha, asked.author, head.number, head.author, asked.comment_id)
    return await _gated(desk, asked, wish, jobs, spec)


async def _deploy_branch(desk: Desk, asked: Asked, branch: str, name: str) -> Decision:
    if branch != desk.repository.default_branch:
        raise Refused(f"only {desk.repository.default_branch} can be deployed by its name")
    sha = await desk.github.branch_head(desk.repository, branch)
    if sha is None:
        raise Refused(f"there is no branch {branch}")
    config = await desk.config(sha)
    environment_of(config, name)
    jobs = tuple(plan.deploy(config, name, sha, branch, None))
    wish = Wish(name, sha, asked.author, comment_id=asked.comment_id)
    spec = _only_deploy(list(jobs)).spec
    return await _gated(desk, asked, wish, jobs, spec, sha=sha, ref=f"refs/heads/{branch}")


async def _gated(
    desk: Desk,
    asked: Asked,
    wish: Wish,
    jobs: tuple[PlannedJob, ...],
    spec: Mapping[str, Any],
    *,
    sha: str | None = None,
    ref: str | None = None,
) -> Decision:
    """Run `jobs` if every gate is open; wait where only the confirmation lacks; else refuse."""
    found = await admission.holding(desk, wish, spec)
    hard = [closed for closed in found if not closed.warning]
    if any(closed.gate is Gate.UP_TO_DATE for closed in hard) and _updates(spec):
        await desk.github.update_branch(desk.repository, asked.head.number, asked.head.sha)
    if [closed.gate for closed in hard] == [Gate.CONFIRM] and now() - asked.written_at < _CONFIRM_WITHIN:
        heard = asked.heard(CommandState.ACCEPTED, answers.held(hard), sha)
        return Decision(f"waits: {hard[0]}", pull=asked.head, heard=heard, later=_CONFIRM_EVERY)
    if hard:
        raise Refused(answers.held(hard))
    warnings: list[Closed] = [closed for closed in found if closed.warning]
    said = "\n".join([answers.accepted(wish.sha), *(f"warning: {closed}" for closed in warnings)])
    return asked.runs(desk, jobs, said, sha=sha, ref=ref)


def _updates(spec: Mapping[str, Any]) -> bool:
    return bool((spec.get("gates") or {}).get("up_to_date") == "update")


def _only_deploy(jobs: list[PlannedJob]) -> PlannedJob:
    return next(job for job in jobs if job.kind is Kind.DEPLOY)


def _very(release: Release) -> dict[str, Any]:
    """What makes a deploy take a release's image instead of a build's."""
    return {"image_reference": release.image}


def _not_a_forks(asked: Asked) -> None:
    if asked.head.fork:
        raise Refused("a fork's commit gets a preview only, after /approve; merge it to deploy it elsewhere")


async def _live(desk: Desk, name: str) -> Release:
    release = next((one for one in await _releases(desk, name) if one.state is ReleaseState.LIVE), None)
    if release is None:
        raise Refused(f"{name} runs nothing that could be promoted")
    return release


async def _earlier(desk: Desk, name: str, wanted: str | None) -> Release:
    """The release before the live one, or the one that is named."""
    served = [one for one in await _releases(desk, name) if one.live_at is not None]
    live = next((one for one in served if one.state is ReleaseState.LIVE), None)
    older = [one for one in served if one is not live]
    if wanted is not None:
        older = [one for one in older if str(one.id) == wanted or one.sha.startswith(wanted)]
    if not older:
        raise Refused(f"{name} has no {'release ' + wanted if wanted else 'earlier release'} to go back to")
    return older[0]


async def _releases(desk: Desk, name: str) -> list[Release]:
    """An environment's releases, newest first."""
    here = (
        select(Release)
        .join(Environment, col(Environment.id) == col(Release.environment_id))
        .where(Environment.repository_id == desk.repository.id, Environment.name == name)
        .order_by(col(Release.id).desc())
    )
    async with desk.store.reading() as session:
        return list((await session.exec(here)).all())
