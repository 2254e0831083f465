"""Releases: an image with its settings in an environment, and where it stands in the order of causes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.jobs import lifecycle
from bot.jobs.services import OWN, STAY
from bot.reports import texts
from bot.store.tables import Environment, Image, Job, Release, Run

# What a deploy's spec says besides the settings of its release: the image that is there already, the
# release that it brings out again, where that stands, that services stay as they are, and what somebody gave
# as the reason.
_BESIDES = ("image_reference", "image_references", "continues", "place", STAY, "why")


async def of(session: AsyncSession, job: Job) -> Release:
    """The release that a deploy brings out, made at its first attempt."""
    release = await lifecycle.release_of(session, job)
    if release is None:
        release = await _made(session, job)
        session.add(release)
    return release


async def _made(session: AsyncSession, job: Job) -> Release:
    here = select(Environment).where(
        Environment.repository_id == job.repository_id, Environment.name == job.environment
    )
    environment = (await session.exec(here)).one()
    run = await session.get_one(Run, job.run_id)
    before = await session.get(Release, job.spec.get("continues") or 0)
    found = await images(session, job)
    return Release(
        environment_id=environment.id or 0,
        # What is brought out again stands where it stood, and is the same deployment to GitHub.
        run_id=before.run_id if before else job.run_id,
        deployment_id=before.deployment_id if before else None,
        job_id=job.id,
        sha=job.sha,
        image=found.main,
        images=dict(found.named) or None,
        settings={key: value for key, value in job.spec.items() if key not in _BESIDES},
        actor=before.actor if before else run.actor,
        why=before.why if before else str(job.spec.get("why") or texts.why(run)),
    )


@dataclass(frozen=True)
class Images:
    """The references of the images that a deploy brings out: its environment's own, and all by their names.

    Those have no names where a release runs in one image only.
    """

    main: str
    named: Mapping[str, str]

    @property
    def all(self) -> list[str]:
        """Each once."""
        return list(dict.fromkeys([self.main, *self.named.values()]))


async def images(session: AsyncSession, job: Job) -> Images:
    """What a deploy brings out: what was given, or what the builds made that it needs."""
    if given := job.spec.get("image_reference"):
        return Images(str(given), job.spec.get("image_references") or {})
    built = select(Image.name, Image.reference).where(col(Image.job_id).in_(job.needs))
    found = dict((await session.exec(built)).all())
    if not job.spec.get("processes") and not job.spec.get(OWN):
        return Images(next(iter(found.values())), {})
    return Images(found[job.spec["image"]], found)


def again(release: Release) -> dict[str, Any]:
    """Pure: the spec of a deploy that brings out a release once more, as it was."""
    return {
        **release.settings,
        "image_reference": release.image,
        **({"image_references": release.images} if release.images else {}),
        "continues": release.id,
        STAY: True,
        "place": release.run_id,
    }


async def newest(session: AsyncSession, repository_id: int, environment: str) -> Release | None:
    """The release that an environment runs, or ran last."""
    served = (
        select(Release)
        .join(Environment, col(Environment.id) == col(Release.environment_id))
        .where(Environment.repository_id == repository_id, Environment.name == environment)
        .where(col(Release.live_at).is_not(None))
        .order_by(col(Release.id).desc())
    )
    rows = (await session.exec(served.limit(20))).all()
    live = next((row for row in rows if row.state == "live"), None)
    return live or next(iter(rows), None)


async def job(session: AsyncSession, release: Release | None) -> Job | None:
    """The deploy that brought a release out: its pool has the worker that runs it."""
    return await session.get(Job, release.job_id) if release else None


async def pool(session: AsyncSession, repository_id: int, environment: str) -> str | None:
    """Whose workers run an environment, or ran it last; None if nothing ever ran there."""
    started = (
        select(Release)
        .join(Environment, col(Environment.id) == col(Release.environment_id))
        .where(Environment.repository_id == repository_id, Environment.name == environment)
        .order_by(col(Release.id).desc())
    )
    last = await newest(session, repository_id, environment) or (await session.exec(started.limit(1))).first()
    brought = await job(session, last)
    return brought.pool if brought else None
