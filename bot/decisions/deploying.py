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

from bot.decisions import origin, plan
from bot.decisions.decision import Refused
from bot.decisions.desk import Desk
from bot.decisions.gates import Wish
from bot.decisions.plan import PlannedJob
from bot.github.forge import PullHead
from bot.jobs import images, releases
from bot.jobs.services import OWN, STAY
from bot.store.tables import Environment, Release, ReleaseState
from config.errors import ConfigError, nearest
from config.repository import PREVIEW, Repository
from workers.contract.messages import Kind

_ROLLBACK_HELD_BY = ("deployers",)  # besides locks: going back must always be quick


@dataclass(frozen=True)
class Wanted:
    """A deploy as it is asked for: `holds` is the environment's part of the file that may hold it.

    `release` is the one that is brought there as it is, if one is.
    """

    wish: Wish
    jobs: tuple[PlannedJob, ...]
    holds: Mapping[str, Any]
    ref: str
    release: int | None = None

    @property
    def sha(self) -> str:
        return self.wish.sha


async def head(desk: Desk, pull: PullHead, name: str, actor: str, comment_id: int | None) -> Wanted:
    """A pull request's head, to an environment. Raises Refused, ConfigError or GitHubError."""
    config = await desk.config(pull.sha)
    environment_of(config, name)
    jobs = tuple(plan.deploy(config, name, pull.sha, pull.ref, pull.number))
    wish = Wish(name, pull.sha, actor, pull.number, pull.author, pull.base, comment_id)
    return Wanted(wish, jobs, _deploy_of(jobs).spec, f"refs/pull/{pull.number}/head")


async def preview(desk: Desk, pull: PullHead, actor: str) -> Wanted:
    """A pull request's head, to its preview. Raises Refused, ConfigError or GitHubError."""
    jobs = tuple(plan.preview(await desk.config(pull.sha), pull.number, pull.sha))
    if not jobs:
        raise Refused("the repository has no previews: its file names no environment preview")
    wish = Wish(plan.preview_name(pull.number), pull.sha, actor, pull.number, pull.author, pull.base)
    return Wanted(wish, jobs, _deploy_of(jobs).spec, f"refs/pull/{pull.number}/head")


async def branch(desk: Desk, name: str, actor: str, comment_id: int | None = None) -> Wanted:
    """The default branch's head, to an environment. Raises Refused, ConfigError or GitHubError."""
    default, config = desk.repository.default_branch, await desk.ruling()
    sha = await desk.head(default)
    assert sha is not None, "it has a file"  # noqa: S101
    environment_of(config, name)
    jobs = tuple(plan.deploy(config, name, sha, default, None, default))
    wish = Wish(name, sha, actor, comment_id=comment_id)
    return Wanted(wish, jobs, _deploy_of(jobs).spec, f"refs/heads/{default}")


async def promotion(
    desk: Desk, source: str, target: str, actor: str, comment_id: int | None = None
) -> Wanted:
    """The very image that `source` runs, to `target`. Raises Refused, ConfigError or GitHubError."""
    live = next((one for one in await _releases(desk, source) if one.state is ReleaseState.LIVE), None)
    if live is None:
        environment_of(await desk.ruling(), target)
        raise Refused(f"{source} runs nothing that could be promoted")
    return await _shipping(desk, live, target, actor, comment_id)


async def release(desk: Desk, number: int, target: str, actor: str) -> Wanted:
    """A release that is kept, of this environment or of another, with the settings that `target` has now.

    Raises Refused, ConfigError or GitHubError.
    """
    async with desk.store.reading() as session:
        found = await session.get(Release, number)
        place = await session.get(Environment, found.environment_id) if found else None
    if found is None or place is None or place.repository_id != desk.repository.id:
        raise Refused(f"{desk.repository.full_name} has no release {number}")
    local = not desk.settings.registry
    known = await images.known(desk.store, desk.repository.id, [found], local=local)
    if not known.issuperset(images.of(found)):
        raise Refused(f"the image of release {number} is not known any more")
    return await _shipping(desk, found, target, actor, None)


async def _shipping(desk: Desk, found: Release, target: str, actor: str, comment_id: int | None) -> Wanted:
    """A release's image, to `target`, held by all that would hold a deploy of its commit."""
    config = await desk.ruling()
    environment_of(config, target)
    if found.settings.get("fork"):
        raise Refused(f"release {found.id} is a fork's and never leaves its preview: merge it to deploy it")
    jobs = tuple(plan.deploy(config, target, found.sha, target, None))
    job = shipped(_deploy_of(jobs), found)
    wish = Wish(target, found.sha, actor, comment_id=comment_id)
    wish = await origin.traced(desk, wish, config.environments[target])
    return Wanted(wish, (job,), _not_updated(job.spec), f"environment/{target}", found.id)


def _not_updated(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """What holds a deploy of what is built already: no branch is updated for it, so it must be up to date."""
    gates = spec["gates"]
    how = "require" if gates["up_to_date"] == "update" else gates["up_to_date"]
    return {**spec, "gates": {**gates, "up_to_date": how}}


async def rollback(desk: Desk, name: str, wanted: str | None, actor: str) -> Wanted:
    """An earlier release again, with the settings that it had. Raises Refused and GitHubError."""
    all_of_it = await _releases(desk, name)
    known = await images.known(desk.store, desk.repository.id, all_of_it, local=not desk.settings.registry)
    found = earlier(all_of_it, wanted)
    there = [release for release in found if known.issuperset(images.of(release))]
    if not there:
        which = f"release {wanted}" if wanted else "earlier release"
        lost = " whose image is still known" if found else ""
        raise Refused(f"{name} has no {which}{lost} to go back to")
    release = there[0]
    shown = PREVIEW if plan.preview_of(name) else name
    async with desk.store.reading() as session:
        before = await releases.job(session, release)
    again = PlannedJob(
        Kind.DEPLOY,
        name,
        plan.deploy_context(shown),
        name,
        spec={**release.settings, STAY: True},
        pool=before.pool if before else None,
        attempts=before.attempts if before else None,
    )
    job = shipped(again, release)
    holds = await held_by(desk, release, shown, _ROLLBACK_HELD_BY)
    return Wanted(Wish(name, release.sha, actor), (job,), holds, f"environment/{name}")


async def held_by(
    desk: Desk, release: Release, shown: str, keys: Sequence[str], gates: Sequence[str] = ()
) -> Mapping[str, Any]:
    """Of what the file says of an environment these keys and gates: they hold what brings out nothing new."""
    said = await _says_now(desk, release, shown)
    there = said.get("gates") or {}
    return {**{key: said.get(key) for key in keys}, "gates": {gate: there.get(gate) for gate in gates}}


async def _says_now(desk: Desk, release: Release, shown: str) -> Mapping[str, Any]:
    """What the default branch says of an environment now; what the release was made with, if it says nothing.

    Going back is most needed when the default branch is broken.
    """
    try:
        place = (await desk.ruling()).environments.get(shown)
    except ConfigError:
        place = None
    return release.settings if place is None else place.model_dump(mode="json")


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
        if (images.of(one), one.settings) != (images.of(live), live.settings)
        and (one.id or 0) < (live.id or 0)
    ]


def shipped(job: PlannedJob, release: Release) -> PlannedJob:
    """The deploy, of a release's images instead of such that are built first.

    Raises Refused where it has not all that the deploy's processes run in.
    """
    given: dict[str, Any] = {"image_reference": release.image}
    said, own = job.spec.get("processes") or {}, job.spec.get(OWN) or {}
    if said or own:
        wanted = {job.spec["image"], *(process["image"] for process in said.values()), *own.values()}
        named = release.images or {release.settings.get("image") or job.spec["image"]: release.image}
        if missing := sorted(wanted - named.keys()):
            raise Refused(
                f"{job.name} runs {' and '.join(missing)} too, which release {release.id} has not:"
                f" deploy its commit there instead"
            )
        several = {name: named[name] for name in sorted(wanted)}
        given = {"image_reference": named[job.spec["image"]], "image_references": several}
    return dataclasses.replace(job, needs=(), spec={**job.spec, **given})


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
