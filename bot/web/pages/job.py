"""The page of a job: how it went, its steps, and its log as text and as it comes."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from bot.store.colours import each, in_place, plainly
from bot.store.database import Store
from bot.store.logs import LogStore
from bot.store.tables import Repository, Run
from bot.web.access import number
from bot.web.pages import clock, jobs, reading, waterfall
from bot.web.pages.live import Live
from bot.web.pages.render import Pages, person
from bot.web.pages.stream import last_event, lasting

_TAIL = 200  # lines that are there before any script runs


@dataclass(frozen=True)
class JobPage:
    """The routes."""

    pages: Pages
    store: Store
    logs: LogStore
    live: Live

    def routes(self) -> list[Route]:
        return [
            Route("/jobs/{id}", self.page),
            Route("/jobs/{id}/log", self.log),
            Route("/jobs/{id}/times", self.times),
            Route("/jobs/{id}/follow", self.follow),
        ]

    async def page(self, request: Request) -> Response:
        """Where every status at GitHub leads. Programs that come with the token get the log, as ever."""
        if person(request) is None:
            return RedirectResponse(f"/api/v1/jobs/{request.path_params['id']}/log")
        async with self.store.reading() as session:
            job = await jobs.asked(session, request)
            run = await session.get_one(Run, job.run_id)
            repository = await session.get_one(Repository, job.repository_id)
            attempt = number(request, "attempt", job.attempt)
            steps = [step for step in await jobs.steps_of(session, [job.id]) if step.attempt == attempt]
            now_at = await jobs.steps_now(session, [job])
            image, release = await jobs.image_of(session, job.id), await jobs.release_of(session, job.id)
            history = await jobs.history(session, job)
            siblings = await jobs.of_run(session, job.run_id)
        return self.pages.shown(
            request,
            "job",
            view=jobs.JobView(job, run, repository, now_at.get(job.id, "")),
            siblings=[jobs.JobView(one, run, repository) for one in siblings],
            attempt=attempt,
            history=history,
            tried=next((one for one in history if one.attempt == attempt), None),
            following=attempt == job.attempt and not job.state.final,
            steps=[(step, waterfall.step_state(step)) for step in steps],
            image=image,
            release=release,
            tail=await reading.read(self.logs, job.id, attempt, -_TAIL, _TAIL)
            if attempt
            else reading.Lines(),
        )

    async def log(self, request: Request) -> Response:
        """An attempt's log as text; `?download` gives it a file's name, `?coloured` leaves its colours in."""
        async with self.store.reading() as session:
            job = await jobs.asked(session, request)
        attempt = number(request, "attempt", job.attempt)
        headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        if "download" in request.query_params:
            headers["Content-Disposition"] = f'attachment; filename="{job.id}-{attempt}.log"'
        kept = self.logs.read(job.id, attempt)
        coloured = "coloured" in request.query_params
        text = each(in_place, kept) if coloured else plainly(kept, number(request, "from", 0))
        return StreamingResponse(text, media_type="text/plain", headers=headers)

    async def times(self, request: Request) -> Response:
        """When the lines of an attempt's log came: bot/web/pages/clock.py says how."""
        async with self.store.reading() as session:
            job = await jobs.asked(session, request)
        found = await clock.of(self.logs, job.id, number(request, "attempt", job.attempt))
        return JSONResponse(found, headers={"Cache-Control": "no-store"})

    async def follow(self, request: Request) -> Response:
        """The same as events, each with the byte that it ends at, from `Last-Event-ID` or `?from=` on."""
        async with self.store.reading() as session:
            job = await jobs.asked(session, request)
        attempt = number(request, "attempt", job.attempt)
        last = last_event(request)
        start = number(request, "from", 0) if last is None else last
        return self.live.log(job.id, attempt, start, lasting(request), coloured=True)
