"""Deploys that somebody asks for, by a command or through the API: what they run and what may hold them.

To deploy, to promote, to roll back and to start again are one operation on a release: each is a deploy job
that ships an image, or the build that it needs first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlmodel import col, select

from bot import admission, images, plan
from bot.decision import Refused
from bot.events.desk import Desk
from bot.gates import Wish
from bot.github.forge import PullHead
from bot.plan import PlannedJob
from bot.store.tables import Environment, Release, ReleaseState
from config.errors import nearest
from config.repository import PREVIEW, Repository
from workers.contract.messages import Kind

_ROLLBACK_HELD_BY = ("deployers",)  # besides locks: going back must always be quick


@dataclass(frozen=True)
class Wanted:
    """A deploy as it is asked for: `holds` is the environment's part of the file that may hold it."""

    wish: Wish
    jobs: tuple[PlannedJob, ...]
    holds: Mapping[str, Any]
    ref: str

    @property
    def sha(self) -> str:
        return self.wish.sha


async def head(desk: Desk, pull: PullHead, name: str, actor: str, comment_id: int | None) -> Wanted:
    """A pull request's head, to an environment. Raises Refused, ConfigError or GitHubError."""
    config, holds = await desk.config(pull.sha), await desk.trusted()
    environment_of(config, name)
    jobs = tuple(plan.deploy(config, name, pull.sha, pull.ref, pull.number))
    spec = _deploy_of(jobs).spec
    if name in holds.environments:
        spec = admission.held_by(spec, holds.environments[name])
    wish = Wish(name, pull.sha, actor, pull.number, pull.author, comment_id)
    return Wanted(wish, jobs, spec, f"refs/pull/{pull.number}/head")


async def branch(desk: Desk, name: str, actor: str, comment_id: int | None = None) -> Wanted:
    """The default branch's head, to an environment. Raises Refused, ConfigError or GitHubError."""
    default = desk.repository.default_branch
    sha = await desk.github.branch_head(desk.repository, default)
    if sha is None:
        raise Refused(f"there is no branch {default}")
    config = await desk.config(sha)
    environment_of(config, name)
    jobs = tuple(plan.deploy(config, name, sha, default, None))
    wish = Wish(name, sha, actor, comment_id=comment_id)
    return Wanted(wish, jobs, _deploy_of(jobs).spec, f"refs/heads/{default}")


async def promotion(
    desk: Desk, source: str, target: str, actor: str, comment_id: int | None = None
) -> Wanted:
    """The very image that `source` runs, to `target`. Raises Refused, ConfigError or GitHubError."""
    config = await desk.trusted()
    environment_of(config, target)
    live = next((one for one in await _releases(desk, source) if one.state is ReleaseState.LIVE), None)
    if live is None:
        raise Refused(f"{source} runs nothing that could be promoted")
    jobs = tuple(plan.deploy(config, target, live.sha, target, None))
    job = shipped(_deploy_of(jobs), live)
    wish = Wish(target, live.sha, actor, comment_id=comment_id)
    return Wanted(wish, (job,), job.spec, f"environment/{target}")


async def release(desk: Desk, number: int, target: str, actor: str) -> Wanted:
    """A release that is kept, of this environment or of another, with the settings that `target` has now.

    Raises Refused, ConfigError or GitHubError.
    """
    config = await desk.trusted()
    environment_of(config, target)
    async with desk.store.reading() as session:
        found = await session.get(Release, number)
        place = await session.get(Environment, found.environment_id) if found else None
    if found is None or place is None or place.repository_id != desk.repository.id:
        raise Refused(f"{desk.repository.full_name} has no release {number}")
    local = not desk.settings.registry
    if found.image not in await images.known(desk.store, desk.repository.id, [found], local=local):
        raise Refused(f"the image of release {number} is not known any more")
    jobs = tuple(plan.deploy(config, target, found.sha, target, None))
    job = shipped(_deploy_of(jobs), found)
    return Wanted(Wish(target, found.sha, actor), (job,), job.spec, f"environment/{target}")


async def rollback(desk: Desk, name: str, wanted: str | None, actor: str) -> Wanted:
    """An earlier release again, with the settings that it had. Raises Refused."""
    releases = await _releases(desk, name)
    known = await images.known(desk.store, desk.repository.id, releases, local=not desk.settings.registry)
    found = earlier(releases, wanted)
    there = [release for release in found if release.image in known]
    if not there:
        which = f"release {wanted}" if wanted else "earlier release"
        lost = " whose image is still known" if found else ""
        raise Refused(f"{name} has no {which}{lost} to go back to")
    release = there[0]
    shown = PREVIEW if plan.preview_of(name) else name
    again = PlannedJob(Kind.DEPLOY, name, plan.deploy_context(shown), name, spec=dict(release.settings))
    job = shipped(again, release)
    holds = {key: release.settings.get(key) for key in _ROLLBACK_HELD_BY}
    return Wanted(Wish(name, release.sha, actor), (job,), holds, f"environment/{name}")


def earlier(releases: Sequence[Release], wanted: str | None = None) -> list[Release]:
    """Pure: the releases that one may go back to, best first, of an environment's, newest first.

    One that was given up never is; nor, unless it is named, one that suffered in the end, or one that is the
    same as what serves now: what slept, or lost its worker, was brought out twice.
    """
    served = [one for one in releases if one.live_at is not None and one.state is not ReleaseState.FAILED]
    live = next((one for one in served if one.state is ReleaseState.LIVE), None)
    older = [one for one in served if one is not live]
    if wanted is not None:
        return [one for one in older if str(one.id) == wanted or one.sha.startswith(wanted)]
    well = [one for one in older if not one.problem]
    if live is None:
        return well
    return [
        one
        for one in well
        if (one.image, one.settings) != (live.image, live.settings) and (one.id or 0) < (live.id or 0)
    ]


def shipped(job: PlannedJob, release: Release) -> PlannedJob:
    """The deploy, of a release's image instead of one that is built first."""
    return dataclasses.replace(job, needs=(), spec={**job.spec, "image_reference": release.image})


def because(job: PlannedJob, why: str) -> PlannedJob:
    """The job, with what somebody gives as the reason of its release; nothing, if that is empty."""
    if not why or job.kind is not Kind.DEPLOY:
        return job
    return dataclasses.replace(job, spec={**job.spec, "why": why})


def environment_of(config: Repository, name: str) -> None:
    """Raises Refused, with the nearest, where the file has no such environment."""
    known = [one for one in config.environments if one != PREVIEW]
    if name not in known:
        raise Refused(f"there is no environment {name}.{nearest(name, known)}")


def _deploy_of(jobs: Sequence[PlannedJob]) -> PlannedJob:
    return next(job for job in jobs if job.kind is Kind.DEPLOY)


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
