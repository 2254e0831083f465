"""The JSON API's view of tasks: what an environment has, when each comes, how its runs ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.exceptions import HTTPException

from bot.decisions.cron import following
from bot.jobs import releases, tasks
from bot.store.database import Store
from bot.store.tables import Environment, Job, JobState, Run, TaskRow
from bot.web.api.fields import Limit, Query
from bot.web.api.models import Shown
from bot.web.api.operation import Call, Operation
from bot.web.api.rows import most
from bot.web.places import found
from bot.web.rules import Of, reads
from config.tasks import Task
from workers.contract.messages import now

_SHOWN = {
    "id", "run_id", "name", "sha", "state", "worker", "attempt", "reason", "sentence", "exit_code",
    "created_at", "started_at", "ended_at",
}  # fmt: skip


class TaskRunsQuery(Query):
    """How many."""

    limit: Limit = 30


class TaskRunShown(Shown):
    """A task's job."""

    id: str
    run_id: int
    name: str
    sha: str
    state: JobState
    worker: str | None
    attempt: int
    reason: str
    sentence: str
    exit_code: int | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    cause: str
    actor: str
    log: str


class TasksShown(Shown):
    """An environment's tasks, as its file names them; `problem` is why none can run now."""

    environment: str
    problem: str
    tasks: list[dict[str, Any]]


@dataclass(frozen=True)
class Tasks:
    """The operations that only look; one begins a task by an order (bot/web/orders.py)."""

    store: Store

    def operations(self) -> list[Operation]:
        look, at = reads(Of.ENVIRONMENT), "/environments/{id:int}/tasks"
        ran = "The newest runs of a task"
        return [
            Operation("GET", at, look, "Its tasks, each with its last run", self.tasks, TasksShown),
            Operation("GET", f"{at}/{{task}}/runs", look, ran, self.runs, list[TaskRunShown], TaskRunsQuery),
        ]

    async def tasks(self, call: Call) -> TasksShown:
        """The tasks of what is live, or was last, each with its last run; and why none can run now."""
        async with self.store.reading() as session:
            place = await found(session, Environment, call.request)
            told = await of(session, place)
            live = await tasks.live(session, place.repository_id, place.name)
            why = "" if live else await tasks.nowhere(session, place.repository_id, place.name)
        return TasksShown(environment=place.name, problem=why, tasks=told)

    async def runs(self, call: Call) -> list[TaskRunShown]:
        query: TaskRunsQuery = call.query
        name = call.path["task"]
        async with self.store.reading() as session:
            place = await found(session, Environment, call.request)
            jobs = await tasks.history(session, place.repository_id, place.name, name, most(query.limit))
            if not jobs and name not in await _named(session, place):
                raise HTTPException(404, f"{place.name} has no task {name}")
            causes = await _causes(session, jobs)
        return [TaskRunShown.model_validate(_job(job, causes)) for job in jobs]


async def of(session: AsyncSession, place: Environment) -> list[dict[str, Any]]:
    """The tasks of an environment, as programs read them."""
    named = await _named(session, place)
    last = await tasks.last(session, place.repository_id, place.name, list(named))
    causes = await _causes(session, list(last.values()))
    mine = select(TaskRow).where(TaskRow.environment_id == place.id)
    rows = {row.name: row for row in (await session.exec(mine)).all()}
    return [
        {
            "name": name,
            **task.model_dump(mode="json"),
            "next_at": following(task.cron, now()).isoformat() if task.cron else None,
            "last": _job(last[name], causes) if name in last else None,
            "skipped": rows[name].model_dump(mode="json", include={"skipped_at", "skipped"})
            if name in rows and rows[name].skipped_at
            else None,
        }
        for name, task in named.items()
    ]


async def _named(session: AsyncSession, place: Environment) -> dict[str, Task]:
    release = await releases.newest(session, place.repository_id, place.name)
    return tasks.named(release.settings) if release else {}


async def _causes(session: AsyncSession, jobs: Sequence[Job]) -> dict[int, Run]:
    wanted = select(Run).where(col(Run.id).in_({job.run_id for job in jobs}))
    return {run.id or 0: run for run in (await session.exec(wanted)).all()}


def _job(job: Job, causes: dict[int, Run]) -> dict[str, Any]:
    run = causes[job.run_id]
    told = job.model_dump(mode="json", include=_SHOWN)
    return {**told, "cause": run.cause, "actor": run.actor, "log": f"/api/v1/jobs/{job.id}/log"}
