"""Images that are built elsewhere: GitHub is asked whether anything still makes what is waited for.

What GitHub delivers of checks has this done at once; where it delivers nothing, each commit that something
waits for is asked about once in a while.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby

import structlog
from sqlmodel import col, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.github.client import GitHubError
from bot.github.forge import GitHub
from bot.jobs import awaiting
from bot.store.database import Store
from bot.store.tables import AwaitRow, Job, Repository
from workers.contract.messages import now

EVERY = 3.0  # seconds
_ASKED = timedelta(seconds=60)  # between two questions about a commit of which nothing is delivered

Act = Callable[[AsyncSession, AwaitRow, Job], Awaitable[None]]

log = structlog.get_logger()


async def sweep(store: Store, github: GitHub) -> None:
    """Ask about each commit once, whatever waits for it; and end what is waited for no longer."""
    due = or_(col(AwaitRow.asked_at).is_(None), col(AwaitRow.asked_at) < now() - _ASKED)
    order = (col(AwaitRow.repository_id), col(AwaitRow.sha))
    async with store.reading() as session:
        rows = (await session.exec(select(AwaitRow).where(due).order_by(*order))).all()
        late = (await session.exec(select(AwaitRow.job_id).where(AwaitRow.until < now()))).all()
    for (repository, sha), waiting in groupby(rows, key=lambda row: (row.repository_id, row.sha)):
        await _look(store, github, repository, sha, [row.job_id for row in waiting])
    await _each(store, late, awaiting.given_up)


async def _look(store: Store, github: GitHub, repository: int, sha: str, jobs: Collection[str]) -> None:
    asked = now()
    async with store.reading() as session:
        owner = await session.get_one(Repository, repository)
    try:
        checks, over = await github.checks_of(owner, sha)
    except GitHubError as error:
        log.warning("checks not seen", repository=owner.full_name, sha=sha, error=str(error))
        await _each(store, jobs, partial(_asked, asked, f"GitHub did not tell of its checks: {error}"))
        return

    async def heard(session: AsyncSession, row: AwaitRow, job: Job) -> None:
        await _asked(asked, "", session, row, job)
        said = awaiting.ended(checks, over, job.spec.get(awaiting.CHECK), asked - row.since)
        await awaiting.heard(session, row, job, said)

    await _each(store, jobs, heard)


async def _asked(at: datetime, said: str, _session: AsyncSession, row: AwaitRow, job: Job) -> None:
    row.asked_at = at
    if job.spec.get(awaiting.HELD) and not row.looks:  # no registry has said anything yet
        row.said = said


async def _each(store: Store, jobs: Collection[str], act: Act) -> None:
    """Do that to each of these that still waits; a row whose job has ended goes."""
    for id_ in jobs:
        async with store.transaction() as session:
            job = await session.get(Job, id_, with_for_update=True)
            row = await session.get(AwaitRow, id_)
            if job is None or row is None:
                continue
            if job.state.final:
                await session.delete(row)
            else:
                await act(session, row, job)
