"""The page of an environment: what runs there, what was before, and what one may do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bot.decisions.deploying import earlier
from bot.fleet import usage
from bot.jobs import backups
from bot.jobs import tasks as task_jobs
from bot.routing import visits
from bot.store.database import Store
from bot.store.tables import Environment, Pull, Release, ReleaseState, ServiceRow, Wanted
from bot.web import approvals, tasks
from bot.web.access import TOO_LARGE, number
from bot.web.guard import right, who
from bot.web.pages import figures, places
from bot.web.pages.changes import Change, between
from bot.web.pages.pace import Chart
from bot.web.pages.places import Place
from bot.web.pages.render import Pages, person
from bot.web.pages.runtime import Runtime
from bot.web.rights import Right
from config.settings import Settings
from workers.contract.messages import now

_BACKUPS = 50
_PULLS = 50


@dataclass(frozen=True)
class May:
    """What whoever looks may do here; what they may not is not offered."""

    deploy: bool = False
    stop: bool = False
    steer: bool = False  # close, lock and the like
    approve: bool = False  # as somebody whom GitHub knows
    restore: bool = False
    administrate: bool = False  # the repository
    why_not: str = ""


@dataclass(frozen=True)
class Wrong:
    """What kept a form from doing what it says, in a sentence: it stands at that form."""

    to: str  # the form's address
    form: str  # what it is called
    says: str
    status: int


@dataclass(frozen=True)
class PlacePage:
    """The routes."""

    pages: Pages
    store: Store
    settings: Settings
    runtime: Runtime

    def routes(self) -> list[Route]:
        at = "/environments/{id:int}"
        return [
            Route(at, self.page),
            Route(f"{at}/changes", self.changes),
            Route(f"{at}/tasks/{{task}}", self.task),
        ]

    async def page(self, request: Request) -> Response:
        return await self.shown(request)

    async def shown(self, request: Request, wrong: Wrong | None = None) -> Response:
        """The page; with what was `wrong`, at the form that it was wrong with."""
        asked: int = request.path_params["id"]
        async with self.store.reading() as session:
            place = await _place(session, asked)
            releases = await places.history(session, asked)
            values: dict[str, Any] = {
                "tasks": await tasks.of(session, place.environment),
                "services": await _services(session, asked),
                "backups": await backups.of(session, place.repository.id, place.environment.name),
                "others": await _others(session, place),
                "pulls": await _pulls(session, place),
                "wanted": await _wanted(session, place),
            }
        values["backups"] = values["backups"][:_BACKUPS]
        until = now()
        since = until - timedelta(hours=1)
        return self.pages.shown(
            request,
            "environment",
            status=wrong.status if wrong else 200,
            place=place,
            releases=releases,
            back_to={one.id for one in _kept(releases)},
            may=_may(request, place, releases),
            at=f"/environments/{asked}",
            wrong=wrong,
            depot=bool(self.settings.service_backups),
            used=figures.drawn(await usage.of(self.store, asked, since), since, until),
            visits=await self._visits(place, until),
            output=await self.runtime.shown(asked) if right(request) >= Right.DEPLOY else None,
            shell=self.settings.exec and right(request) >= Right.ADMIN,
            **values,
        )

    async def _visits(self, place: Place, until: datetime) -> Chart | None:
        """None where nobody can see them: nothing is live, or there is no proxy."""
        if place.live is None or self.settings.proxy == "none":
            return None
        hours = await visits.of(self.store, place.environment.id or 0, until - figures.DAY)
        return figures.visited(hours, until)

    async def changes(self, request: Request) -> Response:
        """What changed from one release to another, any two of them."""
        asked: int = request.path_params["id"]
        async with self.store.reading() as session:
            place = await _place(session, asked)
            releases = await places.history(session, asked)
        known = {one.id: one for one in releases}
        newest = [one.id for one in releases]
        after = known.get(number(request, "to", 0) or (newest[0] if newest else 0))
        before = known.get(number(request, "from", 0) or _before(newest, after))
        if newest and (after is None or (before is None and len(newest) > 1)):
            raise HTTPException(404, f"{place.environment.name} keeps no such release")
        found: Sequence[Change] = between(before, after) if before and after else ()
        return self.pages.shown(
            request, "changes", place=place, releases=releases, before=before, after=after, found=found
        )

    async def task(self, request: Request) -> Response:
        """A task's runs, the newest first."""
        asked, name = request.path_params["id"], request.path_params["task"]
        async with self.store.reading() as session:
            place = await _place(session, asked)
            named = {one["name"]: one for one in await tasks.of(session, place.environment)}
            jobs = await task_jobs.history(session, place.repository.id, place.environment.name, name, 30)
        if name not in named and not jobs:
            raise HTTPException(404, f"{place.environment.name} has no such task")
        return self.pages.shown(request, "task", place=place, name=name, task=named.get(name), jobs=jobs)


def _before(newest: Sequence[int | None], after: Release | None) -> int:
    """The release before that one, 0 for none."""
    older = newest[newest.index(after.id) + 1 :] if after else ()
    return (older[0] if older else 0) or 0


def _kept(releases: Sequence[Release]) -> list[Release]:
    """Those that one may go back to: each alone, as an order names one."""
    live = any(one.state is ReleaseState.LIVE for one in releases)
    candidates = (
        [one for one in releases if one.state is ReleaseState.RETIRED and one.live_at] if live else []
    )
    return [one for one in candidates if earlier(releases, str(one.id))]


def _may(request: Request, place: Place, releases: Sequence[Release]) -> May:
    known = person(request)
    if known is None or right(request) < Right.DEPLOY or place.repository.inactive:
        return May()
    settings: Mapping[str, Any] = releases[0].settings if releases else {}
    deployers = settings.get("deployers") or []
    locked = [one for one in place.locks if one.owner != known.name]
    why = ""
    if locked:
        why = "Nobody else deploys here until the lock is freed."
    elif deployers and known.name not in deployers:
        why = f"Only {', '.join(deployers)} may deploy here."
    admin = right(request) >= Right.ADMIN
    return May(
        deploy=not why,
        stop=not locked,
        steer=True,
        approve=known_at_github(request),
        restore=admin and not locked,
        administrate=admin,
        why_not=why,
    )


def known_at_github(request: Request) -> bool:
    """Whether who looks is somebody there: whoever came in by a link or the token approves of nothing."""
    asking = who(request)
    return asking is not None and asking.account is not None


async def _place(session: AsyncSession, asked: int) -> Place:
    found = await places.places(session, col(Environment.id) == asked) if asked < TOO_LARGE else []
    if not found:
        raise HTTPException(404, f"there is no environment {asked}")
    return found[0]


async def _services(session: AsyncSession, environment: int) -> Sequence[ServiceRow]:
    mine = select(ServiceRow).where(
        ServiceRow.environment_id == environment, col(ServiceRow.worker).is_not(None)
    )
    return (await session.exec(mine.order_by(col(ServiceRow.name)))).all()


async def _others(session: AsyncSession, place: Place) -> Sequence[str]:
    """The environments of the same repository whose images can be brought here."""
    if place.environment.pull_number is not None:
        return ()
    named = (
        select(Environment.name)
        .join(Release, col(Release.environment_id) == col(Environment.id))
        .where(Environment.repository_id == place.repository.id, Environment.id != place.environment.id)
        .where(Release.state == ReleaseState.LIVE, col(Environment.pull_number).is_(None))
    )
    return (await session.exec(named.order_by(col(Environment.name)))).all()


async def _pulls(session: AsyncSession, place: Place) -> Sequence[Pull]:
    """The open pull requests whose heads could be deployed here."""
    if place.environment.pull_number is not None:
        return ()
    theirs = select(Pull).where(
        Pull.repository_id == place.repository.id, col(Pull.open), col(Pull.fork).is_(False)
    )
    return (await session.exec(theirs.order_by(col(Pull.number).desc()).limit(_PULLS))).all()


async def _wanted(session: AsyncSession, place: Place) -> Sequence[Wanted]:
    """What waits for an approval to be deployed here; of a preview also what waits to be built."""
    here = (col(Wanted.repository_id) == place.repository.id) & (
        (col(Wanted.environment) == place.environment.name)
        | (
            (col(Wanted.environment) == "")
            & (col(Wanted.pull_number) == (place.environment.pull_number or -1))
        )
    )
    return await approvals.waiting(session, here, 20)
