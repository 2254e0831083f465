"""Releases: an image with its settings in an environment, and where it stands in the order of causes."""

from __future__ import annotations

from typing import Any

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot import lifecycle, texts
from bot.store.tables import Environment, Image, Job, Release, Run

# What a deploy's spec says besides the settings of its release: the image that is there already, the
# release that it brings out again, where that stands, and what somebody gave as the reason.
_BESIDES = ("image_reference", "continues", "place", "why")


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
    image = job.spec.get("image_reference")
    if image is None:
        built = select(Image.reference).where(col(Image.job_id).in_(job.needs))
        image = (await session.exec(built)).one()
    return Release(
        environment_id=environment.id or 0,
        # What is brought out again stands where it stood, and is the same deployment to GitHub.
        run_id=before.run_id if before else job.run_id,
        deployment_id=before.deployment_id if before else None,
        job_id=job.id,
        sha=job.sha,
        image=image,
        settings={key: value for key, value in job.spec.items() if key not in _BESIDES},
        actor=before.actor if before else run.actor,
        why=before.why if before else str(job.spec.get("why") or texts.why(run)),
    )


def again(release: Release) -> dict[str, Any]:
    """Pure: the spec of a deploy that brings out a release once more, as it was."""
    return {
        **release.settings,
        "image_reference": release.image,
        "continues": release.id,
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
