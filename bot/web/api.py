"""The JSON API: what ran, what runs, who works, and the logs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from bot.lifecycle import attempt_of
from bot.logs import LogStore
from bot.store.database import Store
from bot.store.tables import (
    AttemptRow,
    Delivery,
    DeliveryState,
    Image,
    Job,
    JobState,
    Repository,
    Run,
    StepRow,
    WorkerRow,
)
from bot.web.access import TOO_LARGE, authorize, no_web_page, number
from workers.contract.messages import now

_MOST = 100
_MOST_LINES = 10_000


@dataclass(frozen=True)
class Api:
    """The routes below /api/v1."""

    store: Store
    logs: LogStore
    token: SecretStr | None

    def routes(self) -> list[Route]:
        paths = {
            "/runs": self.runs,
            "/runs/{id:int}": self.run,
            "/jobs/{id}": self.job,
            "/jobs/{id}/log": self.log,
            "/workers": self.workers,
            "/deliveries": self.deliveries,
            "/deliveries/{guid}": self.delivery,
        }
        replay = Route("/deliveries/{guid}/replay", self.replay, methods=["POST"])
        return [*(Route(path, endpoint) for path, endpoint in paths.items()), replay]

    async def runs(self, request: Request) -> Response:
        """The newest runs, `?limit=` at most 100, older than run `?before=`."""
        self._authorize(request)
        newest = select(Run, Repository).join(Repository, col(Repository.id) == col(Run.repository_id))
        if before := number(request, "before", 0):
            newest = newest.where(col(Run.id) < before)
        limit = min(number(request, "limit", 30), _MOST)
        async with self.store.reading() as session:
            rows = (await session.exec(newest.order_by(col(Run.id).desc()).limit(limit))).all()
            jobs = await _jobs(session, [run.id or 0 for run, _ in rows])
        return JSONResponse([_run(run, repository, jobs) for run, repository in rows])

    async def run(self, request: Request) -> Response:
        """One run with its jobs and their steps."""
        self._authorize(request)
        asked: int = request.path_params["id"]
        async with self.store.reading() as session:
            run = await session.get(Run, asked) if asked < TOO_LARGE else None
            if run is None:
                raise HTTPException(404, "there is no such run")
            repository = await session.get_one(Repository, run.repository_id)
            jobs = await _jobs(session, [run.id or 0])
            whole = [await _whole(session, job) for job in jobs]
        return JSONResponse({**_run(run, repository, jobs), "jobs": whole})

    async def job(self, request: Request) -> Response:
        """One job with its steps and its attempts."""
        self._authorize(request)
        async with self.store.reading() as session:
            return JSONResponse(await _whole(session, await _job(session, request)))

    async def log(self, request: Request) -> Response:
        """The log of a job's last attempt, or of attempt `?attempt=`, as text.

        `?from=` leaves out so many bytes, for whoever has them; `?tail=` gives the last lines only.
        """
        self._authorize(request)
        start, lines = number(request, "from", 0), min(number(request, "tail", 0), _MOST_LINES)
        async with self.store.reading() as session:
            job = await _job(session, request)
        attempt = number(request, "attempt", job.attempt)
        if lines:
            return PlainTextResponse(await self.logs.tail(job.id, attempt, lines))
        return StreamingResponse(self.logs.read(job.id, attempt, start), media_type="text/plain")

    async def workers(self, request: Request) -> Response:
        self._authorize(request)
        async with self.store.reading() as session:
            rows = (await session.exec(select(WorkerRow).order_by(col(WorkerRow.name)))).all()
        return JSONResponse([row.model_dump(mode="json") for row in rows])

    async def deliveries(self, request: Request) -> Response:
        """The newest deliveries without their payloads, `?limit=` at most 100."""
        self._authorize(request)
        newest = select(Delivery).order_by(col(Delivery.received_at).desc())
        async with self.store.reading() as session:
            rows = (await session.exec(newest.limit(min(number(request, "limit", 30), _MOST)))).all()
        return JSONResponse([row.model_dump(mode="json", exclude={"payload"}) for row in rows])

    async def delivery(self, request: Request) -> Response:
        """One delivery, its payload as it came."""
        self._authorize(request)
        async with self.store.reading() as session:
            row = await session.get(Delivery, request.path_params["guid"])
        if row is None:
            raise HTTPException(404, "there is no such delivery")
        return JSONResponse(row.model_dump(mode="json"))

    async def replay(self, request: Request) -> Response:
        """Decide about a delivery again, from GitHub's state of now; what it has caused is not done twice."""
        self._authorize(request)
        no_web_page(request, self.token)
        async with self.store.transaction() as session:
            row = await session.get(Delivery, request.path_params["guid"])
            if row is None:
                raise HTTPException(404, "there is no such delivery")
            row.state, row.attempts, row.due_at = DeliveryState.RECEIVED, 0, now()
        return JSONResponse({"message": "it is decided about again"}, status_code=202)

    def _authorize(self, request: Request) -> None:
        authorize(request, self.token)


async def _job(session: AsyncSession, request: Request) -> Job:
    job = await session.get(Job, request.path_params["id"])
    if job is None:
        raise HTTPException(404, "there is no such job")
    return job


async def _jobs(session: AsyncSession, runs: list[int]) -> Sequence[Job]:
    return (await session.exec(select(Job).where(col(Job.run_id).in_(runs)).order_by(col(Job.id)))).all()


def _run(run: Run, repository: Repository, jobs: Sequence[Job]) -> dict[str, Any]:
    told = run.model_dump(mode="json", exclude={"cause_key"})
    states = [
        {"id": job.id, "kind": job.kind, "name": job.name, "state": job.state}
        for job in jobs
        if job.run_id == run.id
    ]
    return {**told, "repository": repository.full_name, "jobs": states}


_IMAGE_SHOWN = {"digest", "reference", "size", "tree"}
_JOB_HIDDEN = {"spec", "nonce", "instance", "repository_id"}


async def _whole(session: AsyncSession, job: Job) -> dict[str, Any]:
    steps = (
        select(StepRow)
        .where(StepRow.job_id == job.id)
        .order_by(col(StepRow.attempt), col(StepRow.started_at))
    )
    image = (await session.exec(select(Image).where(Image.job_id == job.id))).first()
    ended = select(AttemptRow).where(AttemptRow.job_id == job.id).order_by(col(AttemptRow.attempt))
    history = list((await session.exec(ended)).all())
    if job.state is JobState.RUNNING:
        history.append(attempt_of(job))
    return {
        **job.model_dump(mode="json", exclude=_JOB_HIDDEN),
        "steps": [
            step.model_dump(mode="json", exclude={"job_id"}) for step in (await session.exec(steps)).all()
        ],
        "image": image.model_dump(mode="json", include={"digest", "reference", "size", "tree"})
        if image
        else None,
        "history": [_attempt(attempt) for attempt in history],
        "log": f"/api/v1/jobs/{job.id}/log",
    }


def _attempt(attempt: AttemptRow) -> dict[str, Any]:
    log = f"/api/v1/jobs/{attempt.job_id}/log?attempt={attempt.attempt}"
    return {**attempt.model_dump(mode="json", exclude={"job_id"}), "log": log}
