"""Tags that are followed: a delivery of our own making for each environment whose image may have changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.jobs.awaiting import FOLLOWS
from bot.reports import texts
from bot.store.tables import Delivery, Image, Job, Release, Repository

KEY = "follow:"  # what the key of a look's cause begins with


async def seen(session: AsyncSession, job: Job, image: Image) -> bool:
    """Whether a look found what is known already: by a clock that says nothing new nothing grows."""
    known = select(Image.id).where(
        Image.repository_id == image.repository_id,
        Image.name == image.name,
        Image.reference == image.reference,
        col(Image.fork).is_(False),
    )
    return bool(job.spec.get(FOLLOWS)) and (await session.exec(known.limit(1))).first() is not None


async def found(session: AsyncSession, job: Job, image: Image) -> None:
    """A look has ended: whether that changes an environment is decided in its turn, with all gates."""
    owner = await session.get_one(Repository, job.repository_id)
    about = {
        "id": owner.id,
        "name": owner.name,
        "full_name": owner.full_name,
        "default_branch": owner.default_branch,
        "private": owner.private,
    }
    payload: dict[str, Any] = {"repository": about}
    if owner.installation_id:
        payload["installation"] = {"id": owner.installation_id}
    for environment in job.spec.get(FOLLOWS) or ():
        told = {"job": job.id, "image": job.name, "environment": environment, "reference": image.reference}
        session.add(
            Delivery(
                guid=f"followed-{job.id}-{environment}",
                event="followed",
                repository_id=owner.id,
                payload=json.dumps({**payload, "followed": {**told, "tag": texts.awaits(job)}}),
            )
        )


def images(release: Release, image: str) -> dict[str, str]:
    """Pure: the images of a release by name; of one that has none, by the one name of its environment's."""
    return dict(release.images or {release.settings.get("image") or image: release.image})


def moved(release: Release, image: str, reference: str) -> Mapping[str, Any] | None:
    """Pure: the spec of a deploy of a release with another digest of an image; None if it has that."""
    named = images(release, image)
    before = named.get(image)
    if before is None or before == reference:
        return None
    main = reference if release.image == before else release.image
    several = {"image_references": {**named, image: reference}} if release.images else {}
    return {**release.settings, "image_reference": main, **several}


def why(tag: str, before: str, after: str) -> str:
    """Pure: what has changed, for people."""
    return f"{tag} changed: {texts.shortly(before)} → {texts.shortly(after)}"
