"""What is owed to GitHub: rows, written with the move that they tell. Sending them is `reporter`'s."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.reports.texts import MOST_STATUS, deployment_state, shortened, status
from bot.store.tables import (
    CommandRow,
    CommandState,
    Environment,
    Job,
    JobState,
    Release,
    Report,
    ReportKind,
    ReportState,
    Run,
)
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


async def owe_deployment(
    session: AsyncSession, repository_id: int, release: Release, state: str, said: str = ""
) -> None:
    """Owe GitHub's Deployments box the state of a release, with its job's sentence or what is `said`."""
    if "deployments" in release.settings.get("muted", ()):
        return
    payload = {"release": release.id, "state": state} | ({"description": said} if said else {})
    await owe(session, repository_id, ReportKind.DEPLOYMENT, f"deployment:{release.id}", payload)


async def owe_status(session: AsyncSession, job: Job, told: dict[str, str], url: str | None) -> None:
    """Owe the status of a job's commit; `url` is what it leads to, the job's page if None."""
    if not job.context:
        return
    key = f"status:{job.sha}:{job.context.lower()}"
    payload = {"sha": job.sha, "job": job.id, "url": url, **told}
    await owe(session, job.repository_id, ReportKind.STATUS, key, payload)


async def gave_up(session: AsyncSession, environment: Environment, release: Release) -> None:
    """Owe all that GitHub is to know of a release that went wrong after its switch, for its `problem`.

    Its job did what it had to, and has succeeded; the status of its commit says what came of it.
    """
    job = await session.get_one(Job, release.job_id)
    said = shortened(release.problem, MOST_STATUS)
    await owe_status(session, job, {"state": "failure", "context": job.context, "description": said}, None)
    await owe_deployment(session, job.repository_id, release, "failure", said)
    asked = (col(CommandRow.run_id) == job.run_id, col(CommandRow.state) == CommandState.SUCCEEDED)
    await session.exec(
        update(CommandRow).where(*asked).values(state=CommandState.FAILED, answer=release.problem)
    )
    await owe_looks(session, environment, job)


async def recovered(session: AsyncSession, environment: Environment, release: Release) -> None:
    """Owe the good news after bad ones."""
    job = await session.get_one(Job, release.job_id)
    await owe_status(session, job, status(job), environment.url)
    await owe_deployment(session, job.repository_id, release, "success")
    await owe_looks(session, environment, job)


async def owe_looks(session: AsyncSession, environment: Environment, job: Job) -> None:
    """Owe the comments that show an environment a look."""
    run = await session.get_one(Run, job.run_id)
    for number in {environment.pull_number, run.pull_number} - {None}:
        if "comment" not in job.spec.get("muted", ()) and number is not None:
            await owe_comment(session, job.repository_id, number)


async def job_changed(session: AsyncSession, job: Job, run: Run, release: Release | None) -> None:
    """Owe all that GitHub is to know of a job's new state."""
    await owe_status(session, job, status(job), await _url(session, job, release))
    muted = job.spec.get("muted", ())
    if release is not None and (state := deployment_state(job)):
        await owe_deployment(session, job.repository_id, release, state)
    if run.pull_number is not None and ("comment" not in muted or run.comment_id is not None):
        await owe_comment(session, job.repository_id, run.pull_number)


async def _url(session: AsyncSession, job: Job, release: Release | None) -> str | None:
    """Where a deploy that succeeded can be visited."""
    if release is None or job.state is not JobState.SUCCEEDED:
        return None
    return (await session.get_one(Environment, release.environment_id)).url
