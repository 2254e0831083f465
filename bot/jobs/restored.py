"""How jobs go on that a backup has as waiting, queued or running: as if the bot had been away since."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, case, update
from sqlmodel import col, select

from bot.store.tables import Job, JobState


def go_on(connection: Connection, made_at: datetime) -> dict[str, int]:
    """Let the jobs' next attempts have numbers that none had after the backup, which was made then.

    What ran is left to its lease, so that its worker may end it if it is still there, and will have been told
    if it is not. Gives the last attempt of each job that runs.
    """
    said = f"this instance was restored from a backup of {made_at:%Y-%m-%d %H:%M} UTC"
    connection.execute(
        update(Job)
        .where(col(Job.state).in_((JobState.WAITING, JobState.QUEUED)))
        .values(
            attempt=Job.attempts,
            attempts=2 * Job.attempts - Job.attempt,
            sentence=case((col(Job.sentence) == "", said), else_=Job.sentence),
            offered_at=None,
        )
    )
    running = select(Job.id, Job.attempt).where(Job.state == JobState.RUNNING)
    return dict(connection.execute(running).all())
