"""What is owed to GitHub: rows, written with the move that they tell. Sending them is `reporter`'s."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.store.tables import Environment, Job, JobState, Release, Report, ReportKind, ReportState, Run
from bot.texts import deployment_state, status
from workers.contract.messages import now

_COMMENT_PAUSE = timedelta(seconds=5)  # between two edits of one comment


async def owe(
    session: AsyncSession, repository_id: int, kind: ReportKind, key: str, payload: dict[str, Any]
) -> None:
    """Owe GitHub a report. Older ones with its key that were not sent yet never will be.

    A report that says what the last one with its key said is not owed twice, except for comments, whose
    text is made when they are sent.
    """
    same_key = (col(Report.repository_id) == repository_id, col(Report.key) == key)
    last = (
        await session.exec(select(Report).where(*same_key).order_by(col(Report.id).desc()).limit(1))
    ).first()
    said = (
        last is not None and last.state in (ReportState.PENDING, ReportState.SENT) and last.payload == payload
    )
    if said and kind is not ReportKind.COMMENT:
        return
    pending = update(Report).where(*same_key, col(Report.state) == ReportState.PENDING)
    await session.exec(pending.values(state=ReportState.SUPERSEDED, reason="a newer report has the same key"))
    due_at = now()
    if kind is ReportKind.COMMENT and last is not None:
        due_at = max(due_at, last.sent_at + _COMMENT_PAUSE if last.sent_at else last.due_at)
    session.add(Report(repository_id=repository_id, kind=kind, key=key, payload=payload, due_at=due_at))


async def owe_comment(session: AsyncSession, repository_id: int, number: int) -> None:
    """Owe the pull request's living comment a look at how things stand."""
    await owe(session, repository_id, ReportKind.COMMENT, f"comment:{number}", {"number": number})


async def owe_reaction(session: AsyncSession, repository_id: int, comment_id: int, content: str) -> None:
    """Owe a comment a reaction."""
    payload = {"comment_id": comment_id, "content": content}
    await owe(session, repository_id, ReportKind.REACTION, f"reaction:{comment_id}:{content}", payload)


async def owe_deployment(session: AsyncSession, repository_id: int, release: Release, state: str) -> None:
    """Owe GitHub's Deployments box the state of a release."""
    payload = {"release": release.id, "state": state}
    await owe(session, repository_id, ReportKind.DEPLOYMENT, f"deployment:{release.id}", payload)


async def job_changed(session: AsyncSession, job: Job, run: Run, release: Release | None) -> None:
    """Owe all that GitHub is to know of a job's new state."""
    if job.context:
        payload = {"sha": job.sha, "job": job.id, "url": await _url(session, job, release), **status(job)}
        key = f"status:{job.sha}:{job.context.lower()}"
        await owe(session, job.repository_id, ReportKind.STATUS, key, payload)
    muted = job.spec.get("muted", ())
    if release is not None and "deployments" not in muted and (state := deployment_state(job)):
        await owe_deployment(session, job.repository_id, release, state)
    if run.pull_number is not None and ("comment" not in muted or run.comment_id is not None):
        await owe_comment(session, job.repository_id, run.pull_number)


async def _url(session: AsyncSession, job: Job, release: Release | None) -> str | None:
    """Where a deploy that succeeded can be visited."""
    if release is None or job.state is not JobState.SUCCEEDED:
        return None
    return (await session.get_one(Environment, release.environment_id)).url
