"""Pure: what follows from an event and a repository's file. No store, no network."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from config.repository import PREVIEW, Environment, Repository
from workers.contract.messages import Kind

_NOT_IN_TAG = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class PlannedJob:
    """A job that is to be. `needs` are the places of others in the plan."""

    kind: Kind
    name: str
    context: str
    environment: str | None = None
    needs: tuple[int, ...] = ()
    spec: dict[str, Any] = field(default_factory=dict)


def push(config: Repository, branch: str, default_branch: str, sha: str) -> list[PlannedJob]:
    """The jobs of a push to `branch`: none if no environment wants it."""
    reached = {
        name: environment
        for name, environment in config.environments.items()
        if name != PREVIEW and (environment.branch or default_branch) == branch
    }
    return _build_and_deploy(config, reached, {}, tags(sha, branch))


def preview(config: Repository, number: int, sha: str) -> list[PlannedJob]:
    """The jobs of a pull request's head: none if the repository has no previews."""
    if PREVIEW not in config.environments:
        return []
    name = preview_name(number)
    shown = {name: PREVIEW}
    return _build_and_deploy(config, {name: config.environments[PREVIEW]}, shown, tags(sha, name))


def stop_preview(number: int) -> list[PlannedJob]:
    """The one job of a pull request that was closed. It has no status: its commit is history."""
    name = preview_name(number)
    return [PlannedJob(Kind.STOP, name, context="", environment=name)]


def preview_name(number: int) -> str:
    return f"pr-{number}"


def tags(sha: str, name: str) -> list[str]:
    """The tags of an image: the SHA, and the branch or preview as far as a tag can spell it."""
    return [sha, _NOT_IN_TAG.sub("-", name).lstrip("-.")[:128] or "branch"]


def _build_and_deploy(
    config: Repository, reached: dict[str, Environment], shown: dict[str, str], tags: list[str]
) -> list[PlannedJob]:
    if not reached:
        return []
    images = list(dict.fromkeys(config.image_of(environment) for environment in reached.values()))
    builds = [
        PlannedJob(
            Kind.BUILD,
            name=image,
            context="blacktree/build" if len(config.images) == 1 else f"blacktree/build ({image})",
            spec={
                **config.images[image].model_dump(mode="json"),
                "tags": tags,
                "only": len(config.images) == 1,
            },
        )
        for image in images
    ]
    deploys = [
        PlannedJob(
            Kind.DEPLOY,
            name=name,
            environment=name,
            context=f"blacktree/deploy ({shown.get(name, name)})",
            needs=(images.index(config.image_of(environment)),),
            spec=environment.model_dump(mode="json")
            | {"limits": {**environment.limits.model_dump(), "memory": environment.limits.memory_bytes}},
        )
        for name, environment in reached.items()
    ]
    return builds + deploys
