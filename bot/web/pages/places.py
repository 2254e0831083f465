"""Environments as pages show them: what runs there, since when, by whom, and how it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy.orm import defer
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.store import tcp_ports
from bot.store.locks import holds
from bot.store.tables import ContainerRow, Environment, Lock, Release, ReleaseState, Repository
from config.processes import WEB

_SETTINGS: Any = Release.settings
_LINES: Any = Release.last_lines


@dataclass(frozen=True)
class Place:
    """An environment with what is live there."""

    environment: Environment
    repository: Repository
    live: Release | None
    containers: Sequence[ContainerRow] = ()
    locks: Sequence[Lock] = ()
    tcp: Mapping[str, str] = field(default_factory=dict)  # HOST:PORT of its processes that have a TCP port

    @property
    def state(self) -> str:
        """One word for how it is."""
        if self.environment.maintenance:
            return "maintenance"
        if self.environment.asleep:
            return "asleep"
        if self.live is None:
            return "stopped" if self.environment.stopped else "empty"
        return "ailing" if self.trouble else "live"

    @property
    def trouble(self) -> str:
        """What its containers suffer, for people."""
        if self.live is None:
            return ""
        said = [f"{row.name}: {_ill(row)}" for row in self.containers if _ill(row)]
        return self.live.problem or "; ".join(said)

    @property
    def several(self) -> bool:
        """Whether its release has named processes, of which people are to be told apart."""
        return any(row.process != WEB for row in self.containers)

    @property
    def url(self) -> str | None:
        return self.environment.url if self.live or self.environment.asleep else None


def _ill(row: ContainerRow) -> str:
    if row.failing:
        return row.failing
    if row.health in ("unhealthy", "gone"):
        return f"is {row.health}"
    if not row.running:
        return "ran out of memory" if row.out_of_memory else f"exited with {row.exit_code}"
    return ""


async def places(session: AsyncSession, which: ColumnElement[bool], limit: int = 200) -> list[Place]:
    """The environments of which `which` is true; those with names of their own before previews."""
    wanted = select(Environment, Repository).join(
        Repository, col(Repository.id) == col(Environment.repository_id)
    )
    order = (col(Environment.pull_number).is_not(None), col(Repository.full_name), col(Environment.id))
    rows = (await session.exec(wanted.where(which).order_by(*order).limit(limit))).all()
    ids = [place.id for place, _ in rows]
    live = await _live(session, ids)
    containers = await _containers(session, [release.id for release in live.values()])
    theirs = select(Lock).where(holds()).order_by(col(Lock.id))
    locks = (await session.exec(theirs)).all()
    return [
        Place(
            place,
            owner,
            release := live.get(place.id),
            [
                row
                for row in containers
                if release and (row.release_id, row.worker) == (release.id, release.worker)
            ],
            [one for one in locks if one.repository_id == owner.id and one.environment in ("", place.name)],
            await tcp_ports.told(session, release) if len(rows) == 1 else {},
        )
        for place, owner in rows
    ]


async def _live(session: AsyncSession, ids: Sequence[int | None]) -> dict[int | None, Release]:
    serving = select(Release).where(
        col(Release.state) == ReleaseState.LIVE, col(Release.environment_id).in_(ids)
    )
    rows = (await session.exec(serving.options(defer(_SETTINGS), defer(_LINES)))).all()
    return {release.environment_id: release for release in rows}


async def _containers(session: AsyncSession, releases: Sequence[int | None]) -> Sequence[ContainerRow]:
    theirs = select(ContainerRow).where(col(ContainerRow.release_id).in_(releases))
    return (await session.exec(theirs.order_by(col(ContainerRow.name)))).all()


async def history(session: AsyncSession, environment: int) -> Sequence[Release]:
    """The releases of an environment that are kept, the newest first."""
    mine = select(Release).where(Release.environment_id == environment).order_by(col(Release.id).desc())
    return (await session.exec(mine.limit(100))).all()


@dataclass(frozen=True)
class Brought:
    """A release that a run made, where, and what was live there before it."""

    release: Release
    environment: Environment
    before: Release | None


async def brought(session: AsyncSession, run: int) -> list[Brought]:
    """What a run changed of what runs where."""
    mine = select(Release, Environment).join(Environment, col(Environment.id) == col(Release.environment_id))
    rows = await session.exec(
        mine.where(Release.run_id == run)
        .options(defer(_SETTINGS), defer(_LINES))
        .order_by(col(Release.id))
        .limit(100)
    )
    return [Brought(release, place, await _before(session, release)) for release, place in rows.all()]


async def _before(session: AsyncSession, release: Release) -> Release | None:
    earlier = select(Release).where(
        Release.environment_id == release.environment_id,
        col(Release.id) < release.id,
        col(Release.live_at).is_not(None),
    )
    newest = earlier.options(defer(_SETTINGS), defer(_LINES)).order_by(col(Release.id).desc()).limit(1)
    return (await session.exec(newest)).first()
