"""Images that were built: which one has the same inputs, and which of them environments still need."""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.store.database import Store
from bot.store.tables import Environment, Image, Job, JobState, Release, ReleaseState, WorkerRow
from workers.contract.messages import ImageResult, Kind, Known, Lookup

KEPT = 10  # releases of an environment, where its settings do not say


async def lookup(store: Store, asked: Lookup, *, local: bool) -> Known:
    """The newest image of the same inputs that a job may use: of its repository, and on its side of trust.

    What a stranger's commit built is used for nothing else, and uses nothing of others: who wrote the inputs
    could choose them so that they have a key of somebody else's. `local`: images stay in their engines.
    """
    async with store.reading() as session:
        job = await session.get(Job, asked.job)
        held = job is not None and job.state is JobState.RUNNING and job.attempt == asked.attempt
        if job is None or not held or not asked.key or job.spec.get("fork") or job.spec.get("fresh"):
            return Known(image=None)
        same = select(Image).where(
            Image.repository_id == job.repository_id,
            Image.key == asked.key,
            col(Image.fork).is_(False),
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


async def known(store: Store, repository_id: int, releases: Sequence[Release], *, local: bool) -> set[str]:
    """The references of releases whose image can still be had; of a `local` one its worker must be known."""
    wanted = {release.image for release in releases}
    there = select(Image.reference, Image.worker).where(
        Image.repository_id == repository_id, col(Image.reference).in_(wanted)
    )
    async with store.reading() as session:
        workers = set((await session.exec(select(WorkerRow.name))).all())
        rows = (await session.exec(there)).all()
    return {reference for reference, worker in rows if not local or worker is None or worker in workers}


async def kept(session: AsyncSession) -> list[str]:
    """References of the images that environments run, or may go back to: no worker prunes one of these."""
    places = select(Environment.id).where(col(Environment.stopped).is_(False))
    references: set[str] = set()
    for place in (await session.exec(places)).all():
        served = select(Release).where(Release.environment_id == place, col(Release.live_at).is_not(None))
        newest = (await session.exec(served.order_by(col(Release.id).desc()))).all()
        most = int((newest[0].settings.get("keep") if newest else None) or KEPT)
        references.update(release.image for release in newest[:most])
    unserved = select(Release.image).where(col(Release.state).in_((ReleaseState.STARTING, ReleaseState.LIVE)))
    references.update((await session.exec(unserved)).all())
    references.update(await _awaited(session))
    return sorted(references)


async def _awaited(session: AsyncSession) -> list[str]:
    """Of the images that deploys which have not begun wait for, or will bring out."""
    live = select(Job).where(col(Job.state).in_((JobState.WAITING, JobState.QUEUED)), Job.kind == Kind.DEPLOY)
    jobs = (await session.exec(live)).all()
    given = [job.spec["image_reference"] for job in jobs if job.spec.get("image_reference")]
    needs = {need for job in jobs for need in job.needs}
    built = (await session.exec(select(Image.reference).where(col(Image.job_id).in_(needs)))).all()
    return [*given, *built]
