"""Events: runs, jobs and releases as they change; and a job's log as it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, Field
from sqlalchemy.orm import defer
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.responses import Response

from bot.jobs.lifecycle import LIVE
from bot.store.database import Store
from bot.store.tables import Environment, Job, JobState, Release, ReleaseState, Repository, Run
from bot.web.api.fields import Number, Query
from bot.web.api.jobs import found_job
from bot.web.api.models import RunShown, listed, of
from bot.web.api.operation import Call, Operation
from bot.web.api.place_models import Serving
from bot.web.guard import Mine, mine
from bot.web.pages.jobs import SPEC
from bot.web.pages.live import Live
from bot.web.pages.stream import Line, Stream, last_event, lasting
from bot.web.rules import SOME, Of, reads

EVENTS = "text/event-stream"
_OPEN = 500  # runs that a stream looks after at once: the newest
_BEAT = 15.0  # seconds of silence, after which a comment says that the line is open
_CALM = 1.0  # seconds between two looks


class FollowQuery(Query):
    """Which attempt, and from where."""

    attempt: Number | None = None
    start: Annotated[Number, Field(alias="from", description="leaves out so many bytes")] = 0
    coloured: Annotated[bool, Field(description="with its colours, as SGR; else plain")] = False


class ReleaseEvent(Serving):
    """A release that went live."""

    environment: str
    repository: str


@dataclass(frozen=True)
class Events:
    """The operations."""

    store: Store
    live: Live

    def operations(self) -> list[Operation]:
        return [
            Operation(
                "GET",
                "/events",
                SOME,
                "Runs, jobs and releases as they change, from `Last-Event-ID` on",
                self.events,
                str,
                media=(EVENTS,),
            ),
            Operation(
                "GET",
                "/jobs/{id}/log/events",
                reads(Of.JOB),
                "A log as it comes, from byte `Last-Event-ID` on",
                self.follow,
                str,
                FollowQuery,
                media=(EVENTS,),
            ),
        ]

    async def events(self, call: Call) -> Response:
        last = last_event(call.request)
        look = mine(call.request)
        return Stream(lambda line: self._events(line, last, look), self.live.stopping, lasting(call.request))

    async def follow(self, call: Call) -> Response:
        query: FollowQuery = call.query
        async with self.store.reading() as session:
            job = await found_job(session, call)
        last = last_event(call.request)
        attempt = job.attempt if query.attempt is None else query.attempt
        start = query.start if last is None else last
        return self.live.log(job.id, attempt, start, lasting(call.request), query.coloured)

    async def _events(self, line: Line, last: int | None, look: Mine) -> AsyncIterator[bytes]:
        seen = _Seen(last, look)
        with self.store.changes(Job, Run, Release) as changed:
            changed.set()
            yield b"retry: 2000\n\n"
            while line.open:
                if changed.is_set():
                    changed.clear()
                    async with self.store.reading() as session:
                        told = await seen.look(session)
                    for kind, model in told:
                        yield _told(kind, model, seen.newest)
                    await line.heard(_CALM)
                elif line.open:
                    yield b": here\n\n"
                await line.heard(_BEAT, changed)


class _Seen:
    """What a stream has told of what its asker may read.

    An event is what differs now. Its id is the newest run that was told of.
    """

    def __init__(self, last: int | None, look: Mine) -> None:
        self._mine = look
        self.newest = last or 0
        self._resumed = last is not None
        self._begun = False
        self._open: dict[int, dict[str, tuple[JobState, int]]] = {}  # runs ▸ their jobs' states and attempts
        self._live: dict[int, int | None] = {}  # environments ▸ their releases

    async def look(self, session: AsyncSession) -> list[tuple[str, BaseModel]]:
        """What has changed since the last look; a first one finds the past, unless it goes on from there."""
        told = [*await self._runs(session), *await self._jobs(session), *await self._releases(session)]
        self._begun = True
        return told

    async def _runs(self, session: AsyncSession) -> list[tuple[str, BaseModel]]:
        if not self._begun:
            live = (
                select(Job.run_id).where(col(Job.state).in_(LIVE), self._mine(Job.repository_id)).distinct()
            )
            recent = (await session.exec(live.order_by(col(Job.run_id).desc()).limit(_OPEN))).all()
            self._open = {run: {} for run in recent}
            if not self._resumed:
                newest = select(func.max(Run.id)).where(self._mine(Run.repository_id))
                self.newest = (await session.exec(newest)).one() or 0
        new = select(Run, Repository).join(Repository, col(Repository.id) == col(Run.repository_id))
        new = new.where(self._mine(Run.repository_id))
        newer = new.where(col(Run.id) > self.newest).order_by(col(Run.id).desc()).limit(_OPEN)
        rows = sorted((await session.exec(newer)).all(), key=lambda row: row[0].id or 0)
        for run, _ in rows:
            self._open.setdefault(run.id or 0, {})
            self.newest = run.id or 0
        return [("run", of(RunShown, run, repository=owner.full_name, jobs=[])) for run, owner in rows]

    async def _jobs(self, session: AsyncSession) -> list[tuple[str, BaseModel]]:
        theirs = select(Job, Repository).join(Repository, col(Repository.id) == col(Job.repository_id))
        mine = theirs.where(col(Job.run_id).in_(list(self._open))).options(defer(SPEC))
        rows = (await session.exec(mine.order_by(col(Job.created_at), col(Job.id)))).all()
        told: list[tuple[str, BaseModel]] = []
        for job, owner in rows:
            now_at, known = (job.state, job.attempt), self._open[job.run_id]
            if known.get(job.id) != now_at and (self._begun or self._resumed):
                told.append(("job", listed(job, owner.full_name)))
            known[job.id] = now_at
        for run in [
            run for run, jobs in self._open.items() if jobs and all(s.final for s, _ in jobs.values())
        ]:
            del self._open[run]
        for run in sorted(self._open)[:-_OPEN]:
            del self._open[run]
        return told

    async def _releases(self, session: AsyncSession) -> list[tuple[str, BaseModel]]:
        theirs = col(Environment.id) == col(Release.environment_id)
        ids = select(Release.environment_id, Release.id).join(Environment, theirs)
        ids = ids.where(Release.state == ReleaseState.LIVE, self._mine(Environment.repository_id))
        now_live = dict((await session.exec(ids)).all())
        new = [release for place, release in now_live.items() if self._live.get(place) != release]
        self._live = dict(now_live)
        if not new or not self._begun:
            return []
        wanted = (
            select(Release, Environment, Repository)
            .join(Environment, col(Environment.id) == col(Release.environment_id))
            .join(Repository, col(Repository.id) == col(Environment.repository_id))
            .where(col(Release.id).in_(new))
        )
        return [
            ("release", of(ReleaseEvent, release, environment=place.name, repository=owner.full_name))
            for release, place, owner in (await session.exec(wanted)).all()
        ]


def _told(kind: str, model: BaseModel, at: int) -> bytes:
    return f"id: {at}\nevent: {kind}\ndata: {model.model_dump_json(by_alias=True)}\n\n".encode()
