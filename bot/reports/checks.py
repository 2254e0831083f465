"""A commit's status as a check run, where our App may write those: the same report, told in another way.

A context of a commit is told in one way from its first report to its last, so that nothing stands at a pull
request twice. The run has the context's name: what is required of a branch is required as before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import structlog
from sqlmodel import col, select

from bot.github.checks import Checks
from bot.github.client import GitHubRefused
from bot.reports import texts
from bot.reports.annotations import AT_ONCE, Annotation, found
from bot.store.database import Store
from bot.store.logs import LogStore
from bot.store.tables import Check, Job, JobState, Report, ReportState, Repository
from workers.contract.messages import Kind

CANCEL = "cancel"  # the button's name, which bot/decisions/events/checks.py hears
_LINES = 5_000  # last ones of a log that are read
_MOST_TITLE = 255  # characters

log = structlog.get_logger()


@dataclass(frozen=True)
class Told:
    """What a report says of a job, or of what keeps one from being run."""

    report: Report
    job: Job | None
    link: str

    @property
    def state(self) -> str:
        return str(self.report.payload["state"])

    @property
    def completed(self) -> bool:
        return self.state != "pending"

    @property
    def key(self) -> tuple[int, str, str]:
        payload = self.report.payload
        return self.report.repository_id, payload["sha"], payload["context"].lower()


class Checker:
    """Tells by check runs what it may."""

    def __init__(self, store: Store, checks: Checks, logs: LogStore) -> None:
        self._store = store
        self._checks = checks
        self._logs = logs

    async def tell(self, repository: Repository, report: Report, link: str) -> bool:
        """Whether the report was told so; if not, it is a status. Raises GitHubError."""
        if not await self._checks.may(repository):
            return False
        async with self._store.reading() as session:
            number = report.payload.get("job")
            told = Told(report, await session.get(Job, number) if number else None, link)
            known = await session.get(Check, told.key)
            if known is None and await self._told_before(session, report):
                return False
        try:
            marks = await self._annotations(told)
            try:
                await self._tell(repository, told, known, marks)
            except GitHubRefused as error:
                if error.status != 422 or not marks:
                    raise
                log.warning("annotations are refused", error=str(error))
                await self._tell(repository, told, known, [])  # how it ended is told all the same
        except GitHubRefused as error:
            if error.status != 403:
                raise
            log.warning("check runs are refused: a status says it", error=str(error))
            return False
        return True

    async def _told_before(self, session: Any, report: Report) -> bool:
        """Whether a status stands there already."""
        sent = select(Report.id).where(
            Report.repository_id == report.repository_id,
            Report.key == report.key,
            Report.state == ReportState.SENT,
        )
        return (await session.exec(sent.where(col(Report.id) != report.id).limit(1))).first() is not None

    async def _tell(
        self, repository: Repository, told: Told, known: Check | None, marks: list[Annotation]
    ) -> None:
        check, begun = await self._run(repository, told, known, marks)
        if begun is None:
            begun = await self._already(repository, told, check, known)
            first = marks[begun : begun + AT_ONCE]
            try:
                await self._checks.update(repository, check, body(told, first))
            except GitHubRefused as error:
                if error.status != 404:
                    raise
                check = await self._checks.create(repository, body(told, first))  # somebody deleted it
            begun += len(first)
        await self._keep(told, check, begun)
        while begun < len(marks):
            more = marks[begun : begun + AT_ONCE]
            await self._checks.update(repository, check, body(told, more))
            begun += len(more)
            await self._keep(told, check, begun)

    async def _run(
        self, repository: Repository, told: Told, known: Check | None, marks: list[Annotation]
    ) -> tuple[int, int | None]:
        """The run that tells it, and how many annotations it was made with; None for one that is there.

        One that is over stays as it is: what begins anew gets another, as GitHub has it.
        """
        if known is not None and known.check_id is not None and not _anew(told, known):
            return known.check_id, None
        sha, context = told.report.payload["sha"], told.report.payload["context"]
        lost = await self._checks.find(
            repository, sha, context, mark(told), known.check_id if known else None
        )
        if lost is not None:
            return lost, None
        first = marks[:AT_ONCE]
        return await self._checks.create(repository, body(told, first)), len(first)

    async def _already(self, repository: Repository, told: Told, check: int, known: Check | None) -> int:
        """How many annotations it has: of a report that was tried before GitHub is asked."""
        if told.report.attempts and told.completed:
            return await self._checks.annotated(repository, check)
        return known.told if known and known.check_id == check else 0

    async def _annotations(self, told: Told) -> list[Annotation]:
        job = told.job
        if job is None or told.state == "pending" or job.state is not JobState.FAILED:
            return []
        if job.kind is not Kind.BUILD:
            return []
        text = await self._logs.tail(job.id, job.attempt, _LINES)
        said = {name: str(job.spec.get(name) or other) for name, other in _DEFAULTS.items()}
        return found(text, **said)

    async def _keep(self, told: Told, check: int, begun: int) -> None:
        number, sha, context = told.key
        async with self._store.transaction() as session:
            row = await session.get(Check, told.key) or Check(repository_id=number, sha=sha, context=context)
            row.check_id, row.told, row.completed = check, begun, told.completed
            row.job = told.report.payload.get("job") or ""
            session.add(row)


_DEFAULTS = {"dockerfile": "Dockerfile", "context": "."}


def _anew(told: Told, known: Check) -> bool:
    """Pure: whether a run that is over is followed by another."""
    job = told.report.payload.get("job") or ""
    return known.completed and (not told.completed or job != known.job)


def mark(told: Told) -> str:
    """Pure: what we know a run by: its job, and what is told of it where it begins anew."""
    job = told.report.payload.get("job")
    return str(job) if job else f"report {told.report.id}"


def body(told: Told, marks: list[Annotation]) -> dict[str, Any]:
    """Pure: what GitHub is told."""
    payload, job = told.report.payload, told.job
    about: dict[str, Any] = {
        "name": payload["context"],
        "head_sha": payload["sha"],
        "external_id": mark(told),
        "output": {
            "title": payload["description"][:_MOST_TITLE] or payload["state"],
            "summary": _summary(told),
            "annotations": [
                {
                    "path": one.path,
                    "start_line": one.line,
                    "end_line": one.line,
                    "annotation_level": one.level,
                    "message": one.message,
                }
                for one in marks
            ],
        },
    }
    if told.link:
        about["details_url"] = told.link
    if job is not None and job.started_at is not None:
        about["started_at"] = job.started_at.isoformat()
    if told.completed:
        ended = (job.ended_at if job else None) or told.report.created_at
        return {
            **about,
            "status": "completed",
            "conclusion": conclusion(told),
            "completed_at": ended.isoformat(),
            "actions": [],
        }
    running = job is not None and job.state is JobState.RUNNING
    button = {"label": "Cancel", "description": "End this job", "identifier": CANCEL}
    return {
        **about,
        "status": "in_progress" if running else "queued",
        "actions": [button] if job is not None else [],
    }


def conclusion(told: Told) -> str:
    """Pure: how it ended, in GitHub's words. What waits for somebody is for them to act upon."""
    if told.state == "success":
        return "success"
    if told.job is None:
        return "action_required" if told.state == "error" else "failure"
    return "cancelled" if told.job.state is JobState.CANCELLED and told.state == "error" else "failure"


def _summary(told: Told) -> str:
    said = texts.quoted(told.report.payload["description"])
    return f"{said}\n\n[The log and all else of it]({told.link})" if told.link else said
