"""The JSON API's view of environments: what runs where, and the releases that one may go back to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import SecretStr
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.store.database import Store
from bot.store.tables import ContainerRow, Environment, Lock, Release, ReleaseState, Repository
from bot.web.access import TOO_LARGE, authorize, number

T = TypeVar("T", Environment, Release)

_SERVING = {
    "id", "sha", "image", "worker", "addresses", "live_at", "steady_at", "job_id", "actor", "why", "problem",
}  # fmt: skip
_SHOWN = _SERVING | {"environment_id", "last_lines", "run_id", "state", "created_at"}
_CONTAINER = {
    "name",
    "running",
    "restarts",
    "exit_code",
    "out_of_memory",
    "health",
    "failing",
    "seen_at",
    "last_lines",
}


@dataclass(frozen=True)
class Places:
    """The routes that only look."""

    store: Store
    token: SecretStr | None
    github_url: str

    def routes(self) -> list[Route]:
        return [
            Route("/environments", self.environments),
            Route("/environments/{id:int}", self.environment),
            Route("/environments/{id:int}/releases", self.releases),
            Route("/releases/{id:int}", self.release),
        ]

    async def environments(self, request: Request) -> Response:
        """What runs where."""
        authorize(request, self.token)
        async with self.store.reading() as session:
            return JSONResponse(await _places(session))

    async def environment(self, request: Request) -> Response:
        """One environment."""
        authorize(request, self.token)
        async with self.store.reading() as session:
            environment = await found(session, Environment, request)
            return JSONResponse((await _places(session, environment.id))[0])

    async def releases(self, request: Request) -> Response:
        """An environment's releases that are kept, newest first."""
        authorize(request, self.token)
        async with self.store.reading() as session:
            environment = await found(session, Environment, request)
            mine = select(Release).where(Release.environment_id == environment.id)
            rows = (await session.exec(mine.order_by(col(Release.id).desc()))).all()
        return JSONResponse([row.model_dump(mode="json", include=_SHOWN) for row in rows])

    async def release(self, request: Request) -> Response:
        """One release with its settings; with `?compare=` the difference from that other one to it."""
        authorize(request, self.token)
        async with self.store.reading() as session:
            release = await found(session, Release, request)
            environment = await session.get_one(Environment, release.environment_id)
            repository = await session.get_one(Repository, environment.repository_id)
            other = number(request, "compare", 0)
            before = await session.get(Release, other) if other else None
            if other and (before is None or not await _of(session, before, repository)):
                raise HTTPException(404, f"{repository.full_name} has no release {other}")
        told = {
            **release.model_dump(mode="json", include=_SHOWN),
            "repository": repository.full_name,
            "environment": environment.name,
            "settings": {**release.settings, "env": sorted(release.settings.get("env") or {})},
        }
        if before is not None:
            told["compared"] = difference(before, release, f"{self.github_url}/{repository.full_name}")
        return JSONResponse(told)


async def found(session: AsyncSession, table: type[T], request: Request) -> T:
    """The row that the path names. Raises HTTPException."""
    asked: int = request.path_params["id"]
    row = await session.get(table, asked) if asked < TOO_LARGE else None
    if row is None:
        raise HTTPException(404, f"there is no such {table.__name__.lower()}")
    return row


def difference(before: Release, after: Release, page: str) -> dict[str, Any]:
    """Pure: what changes from one release to another. Of variables only the names, never a value."""
    old, new = dict(before.settings), dict(after.settings)
    variables = _names(old.pop("env", None) or {}, new.pop("env", None) or {})
    changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    return {
        "with": before.id,
        "image": None if before.image == after.image else [before.image, after.image],
        "commit": None
        if before.sha == after.sha
        else {
            "from": before.sha,
            "to": after.sha,
            "url": f"{page}/compare/{before.sha}...{after.sha}",
        },
        "settings": {key: [old.get(key), new.get(key)] for key in changed},
        "env": variables,
    }


def _names(old: dict[str, str], new: dict[str, str]) -> dict[str, list[str]]:
    return {
        "added": sorted(new.keys() - old.keys()),
        "removed": sorted(old.keys() - new.keys()),
        "changed": sorted(name for name in old.keys() & new.keys() if old[name] != new[name]),
    }


async def _of(session: AsyncSession, release: Release, repository: Repository) -> bool:
    environment = await session.get_one(Environment, release.environment_id)
    return environment.repository_id == repository.id


async def _places(session: AsyncSession, only: int | None = None) -> list[dict[str, Any]]:
    wanted = select(Environment, Repository).join(
        Repository, col(Repository.id) == col(Environment.repository_id)
    )
    if only is not None:
        wanted = wanted.where(Environment.id == only)
    rows = (await session.exec(wanted.order_by(col(Environment.id)))).all()
    live = (await session.exec(select(Release).where(Release.state == ReleaseState.LIVE))).all()
    containers = (await session.exec(select(ContainerRow).order_by(col(ContainerRow.name)))).all()
    locks = (await session.exec(select(Lock).order_by(col(Lock.id)))).all()
    releases = {release.environment_id: release for release in live}
    return [
        _place(environment, repository, releases.get(environment.id or 0), containers, locks)
        for environment, repository in rows
    ]


def _place(
    environment: Environment,
    repository: Repository,
    live: Release | None,
    containers: Sequence[ContainerRow],
    locks: Sequence[Lock],
) -> dict[str, Any]:
    told = environment.model_dump(
        mode="json", include={"id", "name", "pull_number", "stopped", "asleep", "maintenance", "requested_at"}
    )
    theirs = [row for row in containers if live and (row.release_id, row.worker) == (live.id, live.worker)]
    held = [
        lock
        for lock in locks
        if lock.repository_id == environment.repository_id and lock.environment in ("", environment.name)
    ]
    return {
        **told,
        "repository": repository.full_name,
        "url": environment.url if live or environment.asleep else None,
        "worker": live.worker if live else None,
        "since": told_time(live),
        "problem": live.problem if live else "",
        "release": live.model_dump(mode="json", include=_SERVING) if live else None,
        "containers": [row.model_dump(mode="json", include=_CONTAINER) for row in theirs],
        "locks": [
            lock.model_dump(mode="json", include={"environment", "owner", "reason", "created_at"})
            for lock in held
        ],
    }


def told_time(live: Release | None) -> str | None:
    return live.live_at.isoformat() if live and live.live_at else None
