"""The builds and deploys that a repository's figures are of, from the store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.store.tables import Image, Job, JobState, Release, Run
from bot.web.pages.pace import WEEKS, Built, Chart, Deployed, charts
from workers.contract.messages import Kind

_BUILDS = 30
_DEPLOYS = 2000


async def of(
    session: AsyncSession, repository: int, environments: Sequence[str], at: datetime
) -> list[Chart]:
    """`environments`: those with names of their own."""
    return charts(
        await _builds(session, repository), await _deploys(session, repository, environments, at), at
    )


async def _builds(session: AsyncSession, repository: int) -> list[Built]:
    newest = (
        select(
            *map(col, (Job.id, Job.name, Job.state, Job.started_at, Job.ended_at)),
            *map(col, (Image.size, Image.reused)),
        )
        .outerjoin(Image, col(Image.job_id) == col(Job.id))
        .where(
            col(Job.repository_id) == repository, col(Job.kind) == Kind.BUILD, col(Job.ended_at).is_not(None)
        )
        .order_by(col(Job.ended_at).desc())
        .limit(_BUILDS)
    )
    return [
        Built(job, name, state is JobState.SUCCEEDED, began, ended, size, bool(reused))
        for job, name, state, began, ended, size, reused in await _oldest_first(session, newest)
        if began is not None
    ]


async def _deploys(
    session: AsyncSession, repository: int, environments: Sequence[str], at: datetime
) -> list[Deployed]:
    newest = (
        select(
            *map(col, (Job.environment, Job.state, Job.ended_at)),
            *map(col, (Release.live_at, Run.created_at, Run.cause)),
        )
        .join(Run, col(Run.id) == col(Job.run_id))
        .outerjoin(Release, col(Release.job_id) == col(Job.id))
        .where(
            col(Job.repository_id) == repository,
            col(Job.kind) == Kind.DEPLOY,
            col(Job.ended_at) > at - timedelta(weeks=WEEKS),
            col(Job.environment).in_(environments),
        )
        .order_by(col(Job.ended_at).desc())
        .limit(_DEPLOYS)
    )
    return [
        Deployed(environment, state, ended, live, made if cause == "push" else None)
        for environment, state, ended, live, made, cause in await _oldest_first(session, newest)
    ]


async def _oldest_first(session: AsyncSession, newest: Any) -> Sequence[Any]:
    """Columns alone: there may be thousands."""
    found = await (await session.connection()).execute(newest)
    return list(reversed(found.all()))
