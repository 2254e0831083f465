"""Updates of services: what a job is told, when one comes by itself, and how one ended."""

from __future__ import annotations

from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession

from bot.jobs import service_rows, services
from bot.reports import texts
from bot.store.tables import Job, ServiceRow
from workers.contract.messages import DeploySpec, UpdateSpec, now
from workers.contract.services import Services


def told(row: ServiceRow, settings: dict[str, Any], image: str) -> dict[str, Any]:
    """Pure: a job's spec, of a service of a release with these settings; `image`: of the repository's."""
    said = {key: settings[key] for key in ("services", services.OWN, "fork") if key in settings}
    return {**said, "service": row.name, "before": row.pinned, "image": image}


def spec(job: Job, release: DeploySpec, named: Services | None) -> UpdateSpec:
    """Pure: what a worker is told."""
    return UpdateSpec(
        service=job.spec["service"],
        before=job.spec["before"],
        image=job.spec["image"],
        release=release.model_copy(update={"services": named}),
    )


async def ended(session: AsyncSession, job: Job) -> str:
    """What came of an update that has succeeded, for people."""
    row = await service_rows.named(session, job)
    after = row.pinned if row else ""
    said = services.named(job.spec)[job.spec["service"]].image
    return texts.updated(job.spec["service"], said, job.spec["before"], after)


async def planned(session: AsyncSession, job: Job) -> None:
    """Keep what a deploy's file says of updates; a release of before that came back says nothing."""
    if job.spec.get(services.STAY):
        return
    wanted = services.named(job.spec)
    for row in await service_rows.of(session, job):
        said = (wanted[row.name].update or "") if row.name in wanted else ""
        if said != row.update_cron:
            row.update_cron, row.update_since = said, now() if said else None
