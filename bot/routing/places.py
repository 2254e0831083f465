"""Environments as visitors find them: which release they reach, by which name or port, or which page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import case
from sqlmodel import col, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.routing.ways import Way, route_id, ways
from bot.store.tables import Environment, Pull, Release, ReleaseState, Repository, Run
from config import hosts
from config.errors import ConfigError
from config.processes import WEB


class Page(StrEnum):
    """What visitors see instead of the app."""

    MAINTENANCE = "maintenance"
    ASLEEP = "asleep"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Place:
    """An environment with the release that visitors reach, or reached last."""

    environment: Environment
    repository: Repository
    release: Release
    branch: str

    @property
    def route(self) -> str:
        return route_id(self.environment.id, WEB)

    @property
    def name(self) -> str:
        return f"{self.environment.name} of {self.repository.full_name}"

    @property
    def named(self) -> hosts.Claimant:
        """Itself, as far as names are concerned."""
        return hosts.Claimant(self.repository.full_name, self.environment.name, self.branch)

    def setting(self, key: str) -> Any:
        """What the release's .blacktree.yml says, None where it says nothing."""
        return self.release.settings.get(key)

    @property
    def ways(self) -> list[Way]:
        """How visitors reach it."""
        return ways(self.release.settings)

    def host(self, domain: str) -> str | None:
        """Its first host name: its own, or by the instance's template `domain`. Raises ConfigError."""
        return next((way.host(self, domain) for way in self.ways), None)

    def hosts(self, domain: str) -> set[str]:
        """All its host names. Raises ConfigError."""
        return {host for way in self.ways if (host := way.host(self, domain)) is not None}


def page(environment: Environment) -> Page | None:
    """What visitors see instead of the app, None for the app."""
    if environment.maintenance:
        return Page.MAINTENANCE
    if environment.asleep:
        return Page.ASLEEP
    return Page.STOPPED if environment.stopped else None


async def places(session: AsyncSession) -> list[Place]:
    """All environments that have a name or port now: those that run, and those that may run again."""
    served = or_(col(Release.state) == ReleaseState.LIVE, col(Release.live_at).is_not(None))
    running = or_(col(Release.state) == ReleaseState.LIVE, col(Environment.stopped), col(Environment.asleep))
    newest_first = (
        case((col(Release.state) == ReleaseState.LIVE, 0), else_=1),
        col(Release.live_at).desc(),
        col(Release.id).desc(),
    )
    rows = await session.exec(
        select(Environment, Repository, Release, Run)
        .join(Repository, col(Repository.id) == col(Environment.repository_id))
        .join(Release, col(Release.environment_id) == col(Environment.id))
        .join(Run, col(Run.id) == col(Release.run_id))
        .where(served, running)
        .order_by(col(Environment.id), *newest_first)
    )
    pulls = await _pulls(session)
    found: dict[int | None, Place] = {}
    for environment, repository, release, run in rows.all():
        pull = pulls.get((repository.id, environment.pull_number))
        over = environment.pull_number is not None and not (pull and pull.open)
        if environment.id not in found and (release.state is ReleaseState.LIVE or not over):
            found[environment.id] = Place(environment, repository, release, branch(run, pull))
    return list(found.values())


async def named(session: AsyncSession) -> list[hosts.Claimant]:
    """All environments that there ever were, as far as names are concerned."""
    rows = await session.exec(
        select(Repository.full_name, Environment.name).join(
            Environment, col(Environment.repository_id) == col(Repository.id)
        )
    )
    return [hosts.Claimant(repository, name) for repository, name in rows.all()]


async def place_of(session: AsyncSession, release: Release) -> Place:
    """A release's own place, whether or not visitors reach it."""
    environment = await session.get_one(Environment, release.environment_id)
    repository = await session.get_one(Repository, environment.repository_id)
    run = await session.get_one(Run, release.run_id)
    number = environment.pull_number
    pull = await session.get(Pull, (repository.id, number)) if number is not None else None
    return Place(environment, repository, release, branch(run, pull))


async def _pulls(session: AsyncSession) -> dict[tuple[int, int | None], Pull]:
    """The pull requests of all previews."""
    owned = select(Pull).join(
        Environment,
        (col(Pull.repository_id) == col(Environment.repository_id))
        & (col(Pull.number) == col(Environment.pull_number)),
    )
    return {(pull.repository_id, pull.number): pull for pull in (await session.exec(owned)).all()}


def branch(run: Run, pull: Pull | None) -> str:
    """The branch, or tag, that a run's commit came from."""
    if pull is not None and run.pull_number == pull.number:
        return pull.head_ref
    return run.ref.removeprefix("refs/heads/").removeprefix("refs/tags/")


def owner_of(host: str, domain: str, others: Iterable[Place]) -> Place | None:
    """Which of these has this host name."""
    for place in others:
        try:
            if host in place.hosts(domain):
                return place
        except ConfigError:
            continue  # it has no name, so it has not this one either
    return None
