"""How many of the jobs that a waiting one needs are not done yet, counted anew."""

from __future__ import annotations

import structlog
from sqlalchemy import update
from sqlmodel import col, select

from bot.store.database import Store
from bot.store.tables import Job, JobState

log = structlog.get_logger()


async def recount(store: Store) -> None:
    """Correct `unmet` of what waits: a bot of the version before neither gave it nor lowered it.

    Another bot may end a job meanwhile. It lowers the number that we have read, and then ours is not written.
    """
    async with store.transaction() as session:
        waiting = select(Job.id, Job.run_id, Job.needs, Job.unmet).where(Job.state == JobState.WAITING)
        rows = (await session.exec(waiting)).all()
        runs = select(Job.run_id).where(Job.state == JobState.WAITING)
        succeeded = select(Job.id).where(Job.state == JobState.SUCCEEDED, col(Job.run_id).in_(runs))
        done = set((await session.exec(succeeded)).all())
        for job, _, wanted, unmet in rows:
            if unmet != (left := len(set(wanted) - done)):
                log.info("needs counted anew", job=job, unmet=left, was=unmet)
                same = (col(Job.id) == job, col(Job.unmet) == unmet)
                await session.exec(update(Job).where(*same).values(unmet=left))
