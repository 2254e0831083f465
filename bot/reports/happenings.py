"""What others than GitHub may want to be told: written with what did it, sorted later by bot/outbox.

Of runs, jobs and releases only where a webhook wants them: without one a move looks at an empty table.
"""

from __future__ import annotations

from typing import Any

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.store.tables import Environment, Happening, Job, JobState, Release, Run, Webhook
from workers.contract.messages import Kind

TURN = "turn"  # of a thing that goes wrong, or is well again
# Whose end is told to people, too.
_TOLD = frozenset({Kind.DEPLOY, Kind.STOP, Kind.TASK, Kind.BACKUP})
_OURS = {"spec", "nonce", "instance"}  # of a job: nobody's but the bot's and its worker's
_LISTENS = "blacktree listens"  # in the `info` of a session


async def run_made(session: AsyncSession, run: Run) -> None:
    if await _heard(session, run.repository_id):
        _add(session, run.repository_id, "run", run.model_dump(mode="json"))


async def job_moved(session: AsyncSession, job: Job) -> None:
    """A job has a new state, or is there."""
    if (job.kind in _TOLD and job.state.final) or await _heard(session, job.repository_id):
        _add(session, job.repository_id, "job", job.model_dump(mode="json", exclude=_OURS))


async def went_live(session: AsyncSession, release: Release, place: Environment) -> None:
    if await _heard(session, place.repository_id):
        about = release.model_dump(mode="json", exclude={"settings", "last_lines"})
        _add(session, place.repository_id, "release", {**about, "environment": place.name})


def crashed(session: AsyncSession, release: Release, place: Environment) -> None:
    """A release that serves suffers something, or is well again."""
    turned(session, place.repository_id, "crash", place.name, release.problem, f"/environments/{place.id}")


def fell_back(session: AsyncSession, release: Release, place: Environment) -> None:
    """A release was given up after its switch."""
    turned(session, place.repository_id, "deploy", place.name, release.problem, f"/jobs/{release.job_id}")


def backup_turned(session: AsyncSession, place: Environment, service: str, problem: str) -> None:
    """A service's backup is overdue or can't be taken, or can be."""
    turned(session, place.repository_id, "backup", place.name, problem, f"/environments/{place.id}", service)


def approval_waits(session: AsyncSession, repository_id: int, environment: str, sha: str, why: str) -> None:
    """A commit waits for somebody's approval; with no `why` it has that."""
    turned(session, repository_id, "approval", environment, why, f"/why?q={sha}", sha[:12])


def turned(
    session: AsyncSession,
    repository_id: int | None,
    kind: str,
    environment: str,
    problem: str,
    link: str,
    name: str = "",
) -> None:
    """A thing of this kind and name goes wrong, or without a `problem` is well. `link` is a page of ours."""
    about = {"kind": kind, "environment": environment, "name": name, "problem": problem, "link": link}
    _add(session, repository_id, TURN, about)


def needs_failed(state: str, reason: str) -> bool:
    """Pure: whether a job ended because one that it needs has failed."""
    return state == JobState.CANCELLED and reason == "needs_failed"


def _add(session: AsyncSession, repository_id: int | None, kind: str, about: dict[str, Any]) -> None:
    session.add(Happening(repository_id=repository_id, kind=kind, about=about))


async def _heard(session: AsyncSession, repository_id: int) -> bool:
    """Whether a webhook may want what happens here; looked up once in a transaction."""
    known: dict[int, bool] = session.info.setdefault(_LISTENS, {})
    if repository_id not in known:
        of = col(Webhook.repository_id)
        theirs = select(Webhook.id).where(Webhook.disabled == "", of.is_(None) | (of == repository_id))
        known[repository_id] = (await session.exec(theirs.limit(1))).first() is not None
    return known[repository_id]
