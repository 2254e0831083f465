"""The pages that look: overview, repository, run, workers, deliveries."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy.orm import defer
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bot.fleet.scaling import shown
from bot.store.database import Store
from bot.store.tables import (
    Delivery,
    DeliveryState,
    Environment,
    Job,
    JobState,
    Pull,
    Repository,
    Run,
    Wanted,
    WorkerRow,
)
from bot.web.access import TOO_LARGE, number
from bot.web.api.rows import names as names_of
from bot.web.approvals import waiting
from bot.web.guard import right, who, within
from bot.web.named import named
from bot.web.pages import jobs, paces, places, waterfall
from bot.web.pages.render import NOTHING, Pages, duration, person
from bot.web.rights import Right
from config.settings import Settings
from workers.contract.messages import now

_SOME = 20
_RUNS = 30
_LONG = 128 * 1024  # characters of a payload that is shown
_PAYLOAD: Any = Delivery.payload


@dataclass(frozen=True)
class RunView:
    """A run with the states of its jobs."""

    run: Run
    repository: Repository
    jobs: Sequence[Job]

    @property
    def cause(self) -> str:
        return jobs.caused(self.run)

    @property
    def state(self) -> str:
        """Pure: one word for all jobs together."""
        states = {job.state for job in self.jobs}
        for state in (
            JobState.RUNNING,
            JobState.FAILED,
            JobState.QUEUED,
            JobState.WAITING,
            JobState.CANCELLED,
        ):
            if state in states:
                return state.value
        return JobState.SUCCEEDED.value if states else "empty"

    @property
    def took(self) -> str:
        """How long it took, or takes by now, for people."""
        found = jobs.span([job.started_at for job in self.jobs], [job.ended_at for job in self.jobs])
        return duration((found[1] - found[0]).total_seconds()) if found else NOTHING

    @property
    def ended(self) -> bool:
        return all(job.state.final for job in self.jobs)


@dataclass(frozen=True)
class Views:
    """The routes."""

    pages: Pages
    store: Store
    settings: Settings

    def routes(self) -> list[Route]:
        return [
            Route("/", self.overview),
            Route("/repositories/{owner}/{name}", self.repository),
            Route("/runs/{id:int}", self.run),
            Route("/workers", self.workers),
            Route("/deliveries", self.deliveries),
            Route("/deliveries/{guid}", self.delivery),
        ]

    async def overview(self, request: Request) -> Response:
        mine = within(request, Job.repository_id)
        async with self.store.reading() as session:
            found = await places.places(session, within(request, Environment.repository_id))
            values: dict[str, Any] = {
                "places": [place for place in found if place.environment.pull_number is None],
                "previews": [place for place in found if _preview(place)],
                "running": await jobs.in_state(session, mine, JobState.RUNNING, limit=_SOME),
                "waiting": await jobs.in_state(session, mine, JobState.QUEUED, JobState.WAITING, limit=_SOME),
                "counts": await jobs.live(session, mine),
                "held": await _held(session, within(request, Pull.repository_id)),
                "approvals": len(await waiting(session, _deploys(request), _SOME)),
                "failed": await jobs.failed(session, mine, 8),
                "runs": await _runs(session, within(request, Run.repository_id), limit=8),
                "repositories": (
                    await session.exec(
                        select(Repository)
                        .where(within(request, Repository.id))
                        .order_by(col(Repository.full_name))
                        .limit(100)
                    )
                ).all(),
            }
        return self.pages.shown(request, "overview", **values)

    async def repository(self, request: Request) -> Response:
        name = f"{request.path_params['owner']}/{request.path_params['name']}"
        before = number(request, "before", 0)
        async with self.store.reading() as session:
            repository = await named(session, name)
            if repository is None:
                raise HTTPException(404, f"no repository {name} is known here")
            found = await places.places(session, col(Environment.repository_id) == repository.id)
            open_ = select(Pull).where(Pull.repository_id == repository.id, col(Pull.open))
            pulls = (await session.exec(open_.order_by(col(Pull.number).desc()).limit(50))).all()
            runs = await _runs(session, col(Run.repository_id) == repository.id, limit=_RUNS, before=before)
            own = [it.environment.name for it in found if it.environment.pull_number is None]
            charts = await paces.of(session, repository.id, own, now())
            held = await waiting(session, col(Wanted.repository_id) == repository.id, _SOME)
        previews = {place.environment.pull_number: place for place in found}
        return self.pages.shown(
            request,
            "repository",
            repository=repository,
            places=[place for place in found if place.environment.pull_number is None],
            pulls=[(pull, previews.get(pull.number)) for pull in pulls],
            runs=runs,
            charts=[chart for chart in charts if chart.bars],
            waits=len(held),
            administrates=right(request) >= Right.ADMIN,
            older=runs[-1].run.id if len(runs) == _RUNS else None,
        )

    async def run(self, request: Request) -> Response:
        asked: int = request.path_params["id"]
        async with self.store.reading() as session:
            run = await session.get(Run, asked) if asked < TOO_LARGE else None
            if run is None:
                raise HTTPException(404, f"there is no run {asked}")
            repository = await session.get_one(Repository, run.repository_id)
            mine = await jobs.of_run(session, asked)
            steps = await jobs.steps_of(session, [job.id for job in mine])
            brought = await places.brought(session, asked)
            images = await jobs.images_of(session, [job.id for job in mine])
        return self.pages.shown(
            request,
            "run",
            view=RunView(run, repository, mine),
            columns=[
                [jobs.JobView(job, run, repository) for job in column] for column in waterfall.levels(mine)
            ],
            bars=waterfall.bars(mine, steps),
            names={job.id: f"{jobs.DOES[job.kind]} {job.name}" for job in mine},
            brought=brought,
            images=images,
            whole=waterfall.WIDTH,
        )

    async def workers(self, request: Request) -> Response:
        at = now()
        async with self.store.reading() as session:
            pools = await shown.pools(session, self.settings, at)
            there = select(WorkerRow).where(col(WorkerRow.stopped).is_(False))
            rows = (await session.exec(there.order_by(col(WorkerRow.pool), col(WorkerRow.name)))).all()
            mine = within(request, Job.repository_id)
            running = await jobs.in_state(session, mine, JobState.RUNNING, limit=200)
        silent = at - timedelta(seconds=self.settings.lease)
        return self.pages.shown(
            request,
            "workers",
            pools=pools,
            drains=self._drains(request),
            workers=[(row, _worker_state(row, row.seen_at < silent)) for row in rows],
            running={row.name: [view for view in running if view.job.worker == row.name] for row in rows},
        )

    def _drains(self, request: Request) -> bool:
        """Whether who looks may have workers drain; none that is one process with the bot does."""
        known = who(request)
        alone = self.settings.queue_url.startswith("memory")
        return person(request) is not None and known is not None and known.administers and not alone

    async def deliveries(self, request: Request) -> Response:
        newest = select(Delivery).where(within(request, Delivery.repository_id))
        newest = newest.options(defer(_PAYLOAD)).order_by(col(Delivery.received_at).desc())
        only = request.query_params.get("state", "")
        if only in set(DeliveryState):
            newest = newest.where(Delivery.state == DeliveryState(only))
        async with self.store.reading() as session:
            rows = (await session.exec(newest.limit(100))).all()
            names = await names_of(session, {row.repository_id for row in rows})
        return self.pages.shown(
            request, "deliveries", deliveries=rows, names=names, only=only, states=list(DeliveryState)
        )

    async def delivery(self, request: Request) -> Response:
        async with self.store.reading() as session:
            row = await session.get(Delivery, request.path_params["guid"])
            if row is None:
                raise HTTPException(404, "there is no such delivery: after RETENTION days they go")
            names = await names_of(session, {row.repository_id})
        return self.pages.shown(
            request, "delivery", delivery=row, names=names, payload=_readable(row.payload)
        )


def _preview(place: places.Place) -> bool:
    return place.environment.pull_number is not None and place.state not in ("stopped", "empty")


def _worker_state(row: WorkerRow, silent: bool) -> str:
    if silent:
        return "silent"
    if row.draining:
        return "draining"
    return "problem" if row.problem else "busy" if row.running >= row.slots else "ready"


def _readable(payload: str) -> str:
    """JSON with its lines apart; what is none, or is long, as it came, and then its start only."""
    if len(payload) > _LONG:
        return f"{payload[:_LONG]}…\n\n[{len(payload):,} characters; the API gives all of them]"
    try:
        return json.dumps(json.loads(payload), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return payload


def _deploys(request: Request) -> ColumnElement[bool]:
    """What waits for an approval to be deployed: a fork's commit says so at its pull request."""
    return within(request, Wanted.repository_id) & (col(Wanted.environment) != "")


async def _held(session: AsyncSession, which: ColumnElement[bool]) -> Sequence[tuple[Pull, Repository]]:
    """The pull requests whose heads wait for somebody."""
    waiting = (
        select(Pull, Repository)
        .join(Repository, col(Repository.id) == col(Pull.repository_id))
        .where(which, col(Pull.open), Pull.waiting != "")
    )
    return (await session.exec(waiting.order_by(col(Pull.number).desc()).limit(_SOME))).all()


async def _runs(
    session: AsyncSession, which: ColumnElement[bool], limit: int, before: int = 0
) -> list[RunView]:
    """The newest of the runs, older than run `before`."""
    newest = select(Run, Repository).join(Repository, col(Repository.id) == col(Run.repository_id))
    newest = newest.where(which)
    if before:
        newest = newest.where(col(Run.id) < before)
    rows = (await session.exec(newest.order_by(col(Run.id).desc()).limit(limit))).all()
    theirs = select(Job).where(col(Job.run_id).in_([run.id for run, _ in rows])).options(defer(jobs.SPEC))
    found = (await session.exec(theirs.order_by(col(Job.created_at), col(Job.id)))).all()
    return [RunView(run, owner, [job for job in found if job.run_id == run.id]) for run, owner in rows]
