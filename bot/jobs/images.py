"""Images that were built: which one has the same inputs, and which of them environments still need."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from sqlalchemy.orm import aliased
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.jobs import trusts
from bot.store.database import Store
from bot.store.tables import (
    Environment,
    Image,
    Job,
    JobState,
    Release,
    ReleaseState,
    Run,
    ServiceRow,
    WorkerRow,
)
from workers.contract.messages import ImageResult, Kind, Known, Lookup

KEPT = 10  # releases of an environment, where its settings do not say


async def lookup(store: Store, asked: Lookup, *, local: bool) -> Known:
    """The newest image of the same inputs that a job may use: of its repository, and as trusted.

    What a pull request built is not what its merge brings out, though the tree be the same: a commit before
    may have left something in its caches. What a stranger's built is used for nothing else. `local`: images
    stay in their engines.
    """
    async with store.reading() as session:
        job = await session.get(Job, asked.job)
        held = job is not None and job.state is JobState.RUNNING and job.attempt == asked.attempt
        if job is None or not held or not asked.key or job.spec.get("fork") or job.spec.get("fresh"):
            return Known(image=None)
        run = await session.get_one(Run, job.run_id)
        same = select(Image).where(
            Image.repository_id == job.repository_id,
            Image.key == asked.key,
            col(Image.fork).is_(False),
            Image.trust == trusts.of(run, job),
        )
        if local:
            same = same.where(Image.worker == job.worker)
        image = (await session.exec(same.order_by(col(Image.id).desc()).limit(1))).first()
    return Known(image=None) if image is None else Known(image=_result(image), sha=image.reused or image.sha)


def _result(image: Image) -> ImageResult:
    return ImageResult(
        digest=image.digest,
        reference=image.reference,
        size=image.size,
        tree=image.tree,
        key=image.key,
        layers=image.layers,
        cached=image.cached,
    )


def of(release: Release) -> list[str]:
    """Pure: the references of all images of a release, its environment's own first."""
    return list(dict.fromkeys([release.image, *(release.images or {}).values()]))


def is_local(reference: str) -> bool:
    """Pure: whether an image is in one engine only: its name is what that engine calls it, not a registry."""
    return "@" not in reference


async def known(store: Store, repository_id: int, releases: Sequence[Release], *, local: bool) -> set[str]:
    """The references of releases whose image can still be had; of a `local` one its worker must be known."""
    wanted = {image for release in releases for image in of(release)}
    there = select(Image.reference, Image.worker).where(
        Image.repository_id == repository_id, col(Image.reference).in_(wanted)
    )
    async with store.reading() as session:
        workers = set((await session.exec(select(WorkerRow.name))).all())
        rows = (await session.exec(there)).all()
    return {
        reference
        for reference, worker in rows
        if not (local or is_local(reference)) or worker is None or worker in workers
    }


async def kept(session: AsyncSession) -> list[str]:
    """References of the images that environments run, or may go back to: no worker prunes one of these."""
    references = set(await _served(session))
    unserved = select(Release.image, Release.images).where(
        col(Release.state).in_((ReleaseState.STARTING, ReleaseState.LIVE))
    )
    for image, named in (await session.exec(unserved)).all():
        references.update([image, *(named or {}).values()])
    references.update(await _awaited(session))
    theirs = select(ServiceRow.pinned).where(col(ServiceRow.worker).is_not(None), ServiceRow.pinned != "")
    references.update((await session.exec(theirs)).all())
    return sorted(references)


async def _served(session: AsyncSession) -> list[str]:
    """Of the newest releases of each environment, as many as the very newest of them says."""
    served = (
        select(
            Release.environment_id, Release.image, Release.images, col(Release.settings)["keep"].as_integer()
        )
        .join(Environment, col(Environment.id) == col(Release.environment_id))
        .where(col(Environment.stopped).is_(False), col(Release.live_at).is_not(None))
        .order_by(col(Release.environment_id), col(Release.id).desc())
    )
    rows = (await session.exec(served)).all()
    kept: list[str] = []
    for _, releases in itertools.groupby(rows, key=lambda row: row[0]):
        newest = list(releases)
        for _, image, named, _ in newest[: int(newest[0][3] or KEPT)]:
            kept += [image, *(named or {}).values()]
    return kept


async def _awaited(session: AsyncSession) -> list[str]:
    """Of the images that deploys which have not begun bring out, or wait for: all of those of their run."""
    unbegun = (col(Job.state).in_((JobState.WAITING, JobState.QUEUED)), Job.kind == Kind.DEPLOY)
    spec = col(Job.spec)
    given = select(spec["image_reference"].as_string(), spec["image_references"]).where(
        *unbegun, Job.unmet == 0
    )
    build = aliased(Job)
    built = (
        select(Image.reference)
        .join(build, col(build.id) == col(Image.job_id))
        .join(Job, col(Job.run_id) == col(build.run_id))
        .where(*unbegun)
    )
    found = list((await session.exec(built.distinct())).all())
    for image, named in (await session.exec(given)).all():
        found += [image, *(named or {}).values()]
    return [reference for reference in found if reference]
