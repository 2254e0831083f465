"""Environments as visitors find them: which release they reach, by which name or port, or which page."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import case
from sqlmodel import col, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.store.tables import Environment, Pull, Release, ReleaseState, Repository, Run
from config.errors import ConfigError

_NOT_IN_HOST = re.compile(r"[^a-z0-9-]+")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?")
_PART = re.compile(r"\{([a-z_]*)\}")
# https://www.rfc-editor.org/rfc/rfc1035#section-2.3.4
_MOST_LABEL = 63
_MOST_NAME = 253
_HASH = 8


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
        return f"environment-{self.environment.id}"

    @property
    def name(self) -> str:
        return f"{self.environment.name} of {self.repository.full_name}"

    def setting(self, key: str) -> Any:
        """What the release's .blacktree.yml says, None where it says nothing."""
        return self.release.settings.get(key)

    def host(self, domain: str) -> str | None:
        """Its host name: its own, or by the instance's template `domain`. Raises ConfigError."""
        template = self.setting("domain") or domain
        if not template:
            return None
        owner, _, name = self.repository.full_name.partition("/")
        return host_name(
            template,
            {
                "environment": self.environment.name,
                "repository": name,
                "owner": owner,
                "branch": self.branch,
                "pr": str(self.environment.pull_number or ""),
            },
        )


def environment_id(route: str) -> int | None:
    """Whose route it is; None if it is nobody's."""
    number = route.removeprefix("environment-")
    return int(number) if number != route and number.isdecimal() and len(number) < 10 else None


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


def host_name(template: str, parts: dict[str, str]) -> str:
    """Pure: a host name from a template. Raises ConfigError on one that gives none."""

    def part(found: re.Match[str]) -> str:
        if found[1] not in parts:
            raise ConfigError(f"DOMAIN: {template!r}: unknown part {found[1]!r}")
        return _label(parts[found[1]])

    name = _PART.sub(part, template).lower().rstrip(".")
    labels = [_fitted(label) for label in name.split(".")]
    if not all(map(_LABEL.fullmatch, labels)) or len(".".join(labels)) > _MOST_NAME:
        raise ConfigError(f"DOMAIN: {template!r} gives no host name here, but {name!r}")
    return ".".join(labels)


def _label(text: str) -> str:
    return _NOT_IN_HOST.sub("-", text.lower()).strip("-")


def _fitted(label: str) -> str:
    """A label as DNS takes it; one that had to be cut stays one of a kind."""
    if len(label) <= _MOST_LABEL:
        return label
    unique = hashlib.sha256(label.encode()).hexdigest()[:_HASH]
    return f"{label[: _MOST_LABEL - _HASH - 1].rstrip('-')}-{unique}"


def owner_of(host: str, domain: str, others: Iterable[Place]) -> Place | None:
    """Which of these has this host name."""
    for place in others:
        try:
            if place.host(domain) == host:
                return place
        except ConfigError:
            continue  # it has no name, so it has not this one either
    return None
