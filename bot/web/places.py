"""The JSON API's view of environments: what runs where, and the releases that one may go back to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel
from sqlalchemy import ColumnElement
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.exceptions import HTTPException
from starlette.requests import Request

from bot.store import tcp_ports
from bot.store.database import Store
from bot.store.locks import holds
from bot.store.tables import (
    ContainerRow,
    Environment,
    Lock,
    Release,
    ReleaseState,
    Repository,
    ServiceRow,
)
from bot.web.access import TOO_LARGE
from bot.web.api.models import of
from bot.web.api.operation import Call, Operation, Part
from bot.web.api.place_models import (
    CompareQuery,
    ContainerShown,
    LockHeld,
    PlaceShown,
    PlacesQuery,
    ReleaseShown,
    ReleasesQuery,
    ReleaseWhole,
    ServiceShown,
    Serving,
)
from bot.web.api.rows import number_of, only, part
from bot.web.guard import right, who, within
from bot.web.rights import Right
from bot.web.rules import SOME, Of, reads

T = TypeVar("T", Environment, Release)
M = TypeVar("M", bound=BaseModel | Part)


@dataclass(frozen=True)
class Places:
    """The routes that only look."""

    store: Store
    github_url: str

    def operations(self) -> list[Operation]:
        one, look = "/environments/{id:int}", reads(Of.ENVIRONMENT)
        return [
            Operation(
                "GET",
                "/environments",
                SOME,
                "What runs where",
                self.environments,
                list[PlaceShown],
                PlacesQuery,
            ),
            Operation("GET", one, look, "An environment", self.environment, PlaceShown),
            Operation(
                "GET",
                f"{one}/releases",
                look,
                "Its releases that are kept, the newest first",
                self.releases,
                list[ReleaseShown],
                ReleasesQuery,
            ),
            Operation(
                "GET",
                "/releases/{id:int}",
                reads(Of.RELEASE),
                "A release with its settings, and what changed since another",
                self.release,
                ReleaseWhole,
                CompareQuery,
            ),
        ]

    async def environments(self, call: Call) -> Part:
        query: PlacesQuery = call.query
        async with self.store.reading() as session:
            which = within(call.request, Environment.repository_id)
            if (one := await only(session, query.repository)) is not None:
                which &= col(Environment.repository_id) == one
            if query.name is not None:
                which &= col(Environment.name) == query.name
            if (after := number_of(query.cursor)) is not None:
                which &= col(Environment.id) > after
            rows = await _places(session, which, query.limit)
        return _readable(call.request, part(rows, query.limit or len(rows), lambda row: str(row.id)))

    async def environment(self, call: Call) -> PlaceShown:
        async with self.store.reading() as session:
            environment = await found(session, Environment, call.request)
            (told,) = await _places(session, col(Environment.id) == environment.id)
        return _readable(call.request, told)

    async def releases(self, call: Call) -> Part:
        query: ReleasesQuery = call.query
        before = number_of(query.cursor)
        async with self.store.reading() as session:
            environment = await found(session, Environment, call.request)
            mine = select(Release).where(Release.environment_id == environment.id)
            if before is not None:
                mine = mine.where(col(Release.id) < before)
            rows = (await session.exec(mine.order_by(col(Release.id).desc()))).all()
        told = part(rows, query.limit or len(rows), lambda row: str(row.id))
        rows_shown = [ReleaseShown.model_validate(row) for row in told.items]
        return _readable(call.request, Part(rows_shown, told.after))

    async def release(self, call: Call) -> ReleaseWhole:
        query: CompareQuery = call.query
        async with self.store.reading() as session:
            release = await found(session, Release, call.request)
            environment = await session.get_one(Environment, release.environment_id)
            repository = await session.get_one(Repository, environment.repository_id)
            other = query.compare
            before = await session.get(Release, other) if other else None
            if other and (before is None or not await _of(session, before, repository)):
                raise HTTPException(404, f"{repository.full_name} has no release {other}")
        page = f"{self.github_url}/{repository.full_name}"
        whole: ReleaseWhole = of(
            ReleaseWhole,
            release,
            repository=repository.full_name,
            environment=environment.name,
            settings=shown(release.settings),
            compared=None if before is None else difference(before, release, page),
        )
        return _readable(call.request, whole)


def _readable(request: Request, told: M) -> M:
    """What is told, without what containers printed for who may not see that: see bot/web/rules.py."""
    known = who(request)
    trusted = known is not None and known.unasked and known.most >= Right.DEPLOY
    return told if trusted or right(request) >= Right.DEPLOY else _silent(told)


def _silent(told: Any) -> Any:
    """Pure: what is told, with no last lines of anything."""
    if isinstance(told, Part):
        return Part(_silent(told.items), told.after)
    if isinstance(told, BaseModel):
        inner = {name: _silent(getattr(told, name)) for name in type(told).model_fields}
        return told.model_copy(update=inner | ({"last_lines": ""} if "last_lines" in inner else {}))
    return [_silent(one) for one in told] if isinstance(told, list) else told


async def found(session: AsyncSession, table: type[T], request: Request) -> T:
    """The row that the path names. Raises HTTPException."""
    asked: int = request.path_params["id"]
    row = await session.get(table, asked) if asked < TOO_LARGE else None
    if row is None:
        raise HTTPException(404, f"there is no such {table.__name__.lower()}")
    return row


def shown(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Pure: settings without the values of variables, of services and processes either."""
    each = {
        key: {name: {**said, "env": sorted(said.get("env") or {})} for name, said in settings[key].items()}
        for key in ("services", "processes")
        if settings.get(key)
    }
    return {**settings, "env": sorted(settings.get("env") or {}), **each}


def difference(before: Release, after: Release, page: str) -> dict[str, Any]:
    """Pure: what changes from one release to another. Of variables only the names, never a value."""
    old, new = dict(before.settings), dict(after.settings)
    variables = _names(old.pop("env", None) or {}, new.pop("env", None) or {})
    services = _names(old.pop("services", None) or {}, new.pop("services", None) or {})
    changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    told = shown(before.settings), shown(after.settings)
    return {
        "with": before.id,
        "image": None if before.image == after.image else [before.image, after.image],
        "images": _images(before, after),
        "commit": None
        if before.sha == after.sha
        else {
            "from": before.sha,
            "to": after.sha,
            "url": f"{page}/compare/{before.sha}...{after.sha}",
        },
        "settings": {key: [one.get(key) for one in told] for key in changed},
        "env": variables,
        "services": services,
    }


def _images(before: Release, after: Release) -> dict[str, list[str | None]]:
    """Of releases with several images those that differ."""
    old, new = before.images or {}, after.images or {}
    return {
        name: [old.get(name), new.get(name)]
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    }


def _names(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, list[str]]:
    return {
        "added": sorted(new.keys() - old.keys()),
        "removed": sorted(old.keys() - new.keys()),
        "changed": sorted(name for name in old.keys() & new.keys() if old[name] != new[name]),
    }


async def _of(session: AsyncSession, release: Release, repository: Repository) -> bool:
    environment = await session.get_one(Environment, release.environment_id)
    return environment.repository_id == repository.id


async def _places(session: AsyncSession, which: ColumnElement[bool], limit: int = 0) -> list[PlaceShown]:
    """Those that are wanted; of a `limit` one more."""
    wanted = select(Environment, Repository).join(
        Repository, col(Repository.id) == col(Environment.repository_id)
    )
    wanted = wanted.where(which)
    if limit:
        wanted = wanted.limit(limit + 1)
    rows = (await session.exec(wanted.order_by(col(Environment.id)))).all()
    live = (await session.exec(select(Release).where(Release.state == ReleaseState.LIVE))).all()
    containers = (await session.exec(select(ContainerRow).order_by(col(ContainerRow.name)))).all()
    held = select(Lock).where(holds()).order_by(col(Lock.id))
    locks = (await session.exec(held)).all()
    services = (await session.exec(select(ServiceRow).order_by(col(ServiceRow.name)))).all()
    releases = {release.environment_id: release for release in live}
    tcp = {
        one.id: await tcp_ports.told(session, one) if tcp_ports.exposed(one.settings) else {} for one in live
    }
    return [
        _place(environment, repository, releases.get(environment.id or 0), containers, locks, services, tcp)
        for environment, repository in rows
    ]


def _place(
    environment: Environment,
    repository: Repository,
    live: Release | None,
    containers: Sequence[ContainerRow],
    locks: Sequence[Lock],
    services: Sequence[ServiceRow],
    tcp: Mapping[int | None, dict[str, str]],
) -> PlaceShown:
    told = environment.model_dump(
        mode="json", include={"id", "name", "pull_number", "stopped", "asleep", "maintenance", "requested_at"}
    )
    theirs = [row for row in containers if live and (row.release_id, row.worker) == (live.id, live.worker)]
    held = [
        lock
        for lock in locks
        if lock.repository_id == environment.repository_id and lock.environment in ("", environment.name)
    ]
    return PlaceShown(
        **told,
        repository=repository.full_name,
        url=environment.url if live or environment.asleep else None,
        tcp=tcp[live.id] if live else {},
        worker=live.worker if live else None,
        since=live.live_at if live else None,
        problem=live.problem if live else "",
        release=Serving.model_validate(live) if live else None,
        containers=[ContainerShown.model_validate(row) for row in theirs],
        services=[
            ServiceShown.model_validate(row)
            for row in services
            if row.environment_id == environment.id and row.worker
        ],
        locks=[LockHeld.model_validate(lock) for lock in held],
    )
