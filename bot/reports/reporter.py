"""Sends what is owed to GitHub, until GitHub took it or refused it for good."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy import ColumnElement, case, func, update
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import col, select

from bot.github.client import GitHubRefused, GitHubUnavailable
from bot.github.forge import GitHub
from bot.github.lane import Lane
from bot.reports import texts
from bot.reports.checks import Checker
from bot.reports.commenting import Commenter
from bot.store.database import Store, heard
from bot.store.logs import LogStore
from bot.store.outages import told
from bot.store.tables import Environment, Job, Release, Report, ReportKind, ReportState, Repository
from config.settings import Settings
from workers.contract.messages import now

_BATCH = 200
_POLL = 30.0  # seconds, for what was not heard
_BUSY = 1.0  # seconds between two looks while something waits for its lane
_MOST_WAIT = 600.0
_DENIED_WAIT = 60.0
_LAG_ATTEMPTS = 3  # right after an event a 404 or 422 of GitHub's may be lag

_TOKEN = 0  # the lane of a plain token's repositories, which have no installation
_CREATING = {ReportKind.COMMENT, ReportKind.REACTION, ReportKind.DEPLOYMENT}
_LANE = col(Repository.installation_id)
_OF = col(Report.repository_id) == col(Repository.id)

log = structlog.get_logger()


class Reporter:
    """Sends reports in lanes, one for each installation: GitHub counts and limits by these."""

    def __init__(self, store: Store, github: GitHub, settings: Settings, logs: LogStore) -> None:
        self._store = store
        self._commenter = Commenter(store, github, settings, logs)
        self._telling = github.telling
        self._checker = Checker(store, github.checks, logs)
        self._settings = settings
        self._lanes: defaultdict[int, Lane] = defaultdict(Lane)
        self._busy: set[int] = set()

    async def run(self) -> None:
        """Until cancelled. Raises SQLAlchemyError when the store is away."""
        with self._store.changes(Report) as changed:
            async with asyncio.TaskGroup() as group:
                while True:
                    changed.clear()
                    await heard(changed, await self._start(group))

    async def send_due(self) -> None:
        """Send all reports whose time has come, as far as nobody does already."""
        async with asyncio.TaskGroup() as group:
            await self._start(group)

    async def _start(self, group: asyncio.TaskGroup) -> float:
        """Set every lane going that has something to send, is open, and isn't being worked in.

        Returns the seconds until there is something to do by time alone.
        """
        pending = select(_LANE, func.min(Report.due_at)).join(Report, _OF)
        pending = pending.where(Report.state == ReportState.PENDING).group_by(_LANE)
        async with self._store.reading() as session:
            waiting = {key or _TOKEN: due for key, due in (await session.exec(pending)).all()}
        for key in waiting.keys() - self._busy:
            if waiting[key] <= now() and self._lanes[key].open:
                self._busy.add(key)
                group.create_task(self._work(key))
        return min([_POLL, *(max(_BUSY, (due - now()).total_seconds()) for due in waiting.values())])

    async def _work(self, key: int) -> None:
        """Empty a lane as far as it may be now: newer reports start it again."""
        lane = self._lanes[key]
        try:
            for repository, report in await self._waiting(key, lane):
                creates = report.kind in _CREATING
                if creates and not lane.may_create:
                    continue
                await lane.turn(creates=creates)
                await self._send(lane, repository, report)
                if not lane.open:
                    break
        except SQLAlchemyError as error:
            told(log, "reports wait", error, lane=key)
        finally:
            self._busy.discard(key)

    async def _waiting(self, key: int, lane: Lane) -> Sequence[tuple[Repository, Report]]:
        """What is due in a lane, oldest first: a part of it where that is much."""
        here = _LANE.is_(None) if key == _TOKEN else key == _LANE
        due = select(Repository, Report).join(Report, _OF).where(*_due(), here)
        if not lane.may_create:
            due = due.where(col(Report.kind).not_in(_CREATING))
        async with self._store.reading() as session:
            return (await session.exec(due.order_by(col(Report.id)).limit(_BATCH))).all()

    async def _send(self, lane: Lane, repository: Repository, report: Report) -> None:
        if not await self._still_newest(report):
            return
        if repository.inactive:
            await self._end(report, ReportState.REFUSED, f"{repository.full_name} is {repository.inactive}")
            return
        try:
            await self._tell(repository, report)
        except GitHubUnavailable as error:
            await self._postpone(report, max(lane.pause(error), min(2.0**report.attempts, _MOST_WAIT)), error)
        except GitHubRefused as error:
            if error.status == 401:  # a clock that is off or a token that changes: somebody will mend it
                await self._postpone(report, lane.close(_DENIED_WAIT), error)
            elif error.status in (404, 422) and report.attempts < _LAG_ATTEMPTS:
                await self._postpone(report, 2.0**report.attempts, error)
            else:
                await self._end(report, ReportState.REFUSED, str(error))
                log.error("report refused", key=report.key, error=str(error))
        except SQLAlchemyError:
            raise  # the store is away: it is no report's fault
        except Exception as error:
            told(log, "report broke us", error, key=report.key)
            await self._postpone(report, min(2.0**report.attempts, _MOST_WAIT), error)
        else:
            lane.took()
            await self._end(report, ReportState.SENT)
            log.info("report sent", key=report.key, report=report.id)

    async def _still_newest(self, report: Report) -> bool:
        async with self._store.reading() as session:
            state = (await session.exec(select(Report.state).where(Report.id == report.id))).one()
        return state is ReportState.PENDING

    async def _tell(self, repository: Repository, report: Report) -> None:
        match report.kind:
            case ReportKind.STATUS:
                await self._status(repository, report)
            case ReportKind.REACTION:
                payload = report.payload
                await self._telling.react(repository, payload["comment_id"], payload["content"])
            case ReportKind.COMMENT:
                await self._commenter.tell(repository, report.payload["number"])
            case ReportKind.DEPLOYMENT:
                await self._deployment(repository, report)

    async def _status(self, repository: Repository, report: Report) -> None:
        payload = report.payload
        job = payload.get("job")
        link = payload.get("url") or (f"{self._settings.base_url}/jobs/{job}" if job else "")
        if await self._checker.tell(repository, report, link):
            return
        body = {key: payload[key] for key in ("state", "context", "description")}
        await self._telling.set_status(
            repository, payload["sha"], body | ({"target_url": link} if link else {})
        )

    async def _deployment(self, repository: Repository, report: Report) -> None:
        async with self._store.reading() as session:
            release = await session.get(Release, report.payload["release"])
            if release is None:
                return  # so old that it was deleted
            environment = await session.get_one(Environment, release.environment_id)
            job = await session.get_one(Job, release.job_id)
        preview = environment.pull_number is not None
        if release.deployment_id is None:
            deployment = await self._make_deployment(repository, release, environment)
            async with self._store.transaction() as session:
                (await session.get_one(Release, release.id)).deployment_id = deployment
        else:
            deployment = release.deployment_id
        state = report.payload["state"]
        body = {
            "state": state,
            "description": texts.shortened(
                report.payload.get("description", job.sentence), texts.MOST_STATUS
            ),
            "log_url": f"{self._settings.base_url}/jobs/{job.id}",
            "auto_inactive": not preview,
        }
        if state == "success" and environment.url:
            body["environment_url"] = environment.url
        await self._telling.set_deployment_status(repository, deployment, body)

    async def _make_deployment(
        self, repository: Repository, release: Release, environment: Environment
    ) -> int:
        found = await self._telling.find_deployment(repository, release.sha, environment.name, release.job_id)
        if found is not None:
            return found
        body = {
            "ref": release.sha,
            "environment": environment.name,
            "auto_merge": False,
            "required_contexts": [],
            "transient_environment": environment.pull_number is not None,
            "production_environment": environment.name == "production",
            "payload": {"job": release.job_id},
        }
        return await self._telling.create_deployment(repository, body)

    async def _postpone(self, report: Report, wait: float, error: Exception) -> None:
        log.warning("report postponed", key=report.key, seconds=wait, error=str(error))
        async with self._store.transaction() as session:
            row = await session.get_one(Report, report.id)
            row.attempts += 1
            row.due_at = _after(wait)
            row.reason = str(error)
        self._store.instruments.reported(report.kind, "postponed")

    async def _end(self, report: Report, state: ReportState, reason: str = "") -> None:
        async with self._store.transaction() as session:
            row, pending = col(Report.id) == report.id, col(Report.state) == ReportState.PENDING
            ended = case((pending, state), else_=col(Report.state))
            why = case((pending, reason), else_=col(Report.reason))
            await session.exec(update(Report).where(row).values(sent_at=now(), state=ended, reason=why))
        since = (now() - report.created_at).total_seconds() if state is ReportState.SENT else None
        self._store.instruments.reported(report.kind, state, since)


def _due() -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return col(Report.state) == ReportState.PENDING, col(Report.due_at) <= now()


def _after(seconds: float) -> datetime:
    return now() + timedelta(seconds=seconds)
