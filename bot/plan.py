"""Pure: what follows from an event and a repository's file. No store, no network."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from config.repository import PREVIEW, Environment, Image, Repository
from config.tags import Names, image_tags
from workers.contract.messages import Kind

_PREVIEW = re.compile(r"pr-(\d+)")
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
    pool: str | None = None  # the instance's if None
    attempts: int | None = None  # the instance's if None


def push(
    config: Repository, branch: str, default_branch: str, sha: str, touched: Collection[str] | None = None
) -> list[PlannedJob]:
    """The jobs of a push to `branch`: none if no environment wants it.

    `touched` are the files that it changed, None if they are not known: then all may have.
    """
    reached = {
        name: environment
        for name, environment in _named(config).items()
        if environment.takes_push(branch, default_branch)
    }
    return _build_and_deploy(
        config, _changed(config, reached, touched), {}, Names(sha, branch, branch=branch)
    )


def tag(config: Repository, name: str, sha: str) -> list[PlannedJob]:
    """The jobs of a git tag."""
    reached = {key: place for key, place in _named(config).items() if place.takes_tag(name)}
    return _build_and_deploy(config, reached, {}, Names(sha, name, tag=name))


def release(config: Repository, name: str, sha: str) -> list[PlannedJob]:
    """The jobs of a release that was published under a tag."""
    reached = {key: place for key, place in _named(config).items() if place.takes_release(name)}
    return _build_and_deploy(config, reached, {}, Names(sha, name, tag=name))


def preview(
    config: Repository, number: int, sha: str, touched: Collection[str] | None = None
) -> list[PlannedJob]:
    """The jobs of a pull request's head: none if the repository has no previews."""
    if PREVIEW not in config.environments:
        return []
    name = preview_name(number)
    reached = _changed(config, {name: config.environments[PREVIEW]}, touched)
    return _build_and_deploy(config, reached, {name: PREVIEW}, Names(sha, name, pr=number))


def deploy(
    config: Repository, environment: str, sha: str, ref_name: str, pull: int | None
) -> list[PlannedJob]:
    """The jobs that deploy to one environment, whatever else reaches it."""
    reached = {environment: config.environments[environment]}
    return _build_and_deploy(config, reached, {}, Names(sha, ref_name, branch=ref_name, pr=pull))


def build(
    config: Repository, names: Names, image: str | None = None, *, fresh: bool = False
) -> list[PlannedJob]:
    """The jobs that build all images, or one, and deploy nothing; `fresh` ones use nothing of before."""
    wanted = list(config.images) if image is None else [image]
    own = names.pr is not None
    return [_build(config, name, names, preview=own, fresh=fresh) for name in wanted]


def merge_group(config: Repository, sha: str) -> list[PlannedJob]:
    """The jobs of a merge queue's commit: it is built, so that what is required is said of it."""
    images = {config.image_of(environment) for environment in config.environments.values()}
    names = Names(sha, f"queue-{sha[:12]}")
    return [_build(config, name, names) for name in config.images if name in images]


def stop_preview(number: int) -> list[PlannedJob]:
    """The one job of a pull request that was closed. It has no status: its commit is history."""
    return [stop(preview_name(number), volumes=True)]


def stop(environment: str, *, volumes: bool = False, sleeps: bool = False) -> PlannedJob:
    """The job that removes what an environment runs, its `volumes` too; one that `sleeps` is woken again."""
    spec = {"volumes": volumes, "sleeps": sleeps}
    return PlannedJob(Kind.STOP, environment, context="", environment=environment, spec=spec)


def preview_name(number: int) -> str:
    return f"pr-{number}"


def preview_of(environment: str) -> int | None:
    """The pull request whose preview an environment of this name is: none in a file may have such a name."""
    found = _PREVIEW.fullmatch(environment)
    return int(found[1]) if found else None


def is_preview(environment: str) -> bool:
    return preview_of(environment) is not None


def has_paths(config: Repository) -> bool:
    """Whether it matters which files a change touches."""
    return any(image.paths for image in config.images.values())


def build_context(config: Repository, image: str) -> str:
    return "blacktree/build" if len(config.images) == 1 else f"blacktree/build ({image})"


def deploy_context(shown: str) -> str:
    return f"blacktree/deploy ({shown})"


def _named(config: Repository) -> dict[str, Environment]:
    return {name: place for name, place in config.environments.items() if name != PREVIEW}


def _changed(
    config: Repository, reached: Mapping[str, Environment], touched: Collection[str] | None
) -> dict[str, Environment]:
    """The environments whose image a change touches."""
    if touched is None:
        return dict(reached)
    return {
        name: place
        for name, place in reached.items()
        if config.images[config.image_of(place)].touched(touched)
    }


def _build_and_deploy(
    config: Repository, reached: Mapping[str, Environment], shown: dict[str, str], names: Names
) -> list[PlannedJob]:
    images = list(dict.fromkeys(config.image_of(environment) for environment in reached.values()))
    builds = [_build(config, image, names, preview=bool(shown)) for image in images]
    deploys = [
        PlannedJob(
            Kind.DEPLOY,
            name=name,
            environment=name,
            context=deploy_context(shown.get(name, name)),
            needs=(images.index(config.image_of(environment)),),
            spec=_deploy_spec(environment) | ({"queues": True} if config.concurrency == "queue" else {}),
            pool=config.pool,
            attempts=_attempts(config),
        )
        for name, environment in reached.items()
    ]
    return [_told(config, job) for job in builds + deploys]


def _told(config: Repository, job: PlannedJob) -> PlannedJob:
    """The job, with what GitHub is not to be told of it."""
    told = config.notifications
    muted = [name for name in ("comment", "deployments") if not getattr(told, name)]
    return dataclasses.replace(
        job, context=job.context if told.statuses else "", spec={**job.spec, "muted": muted}
    )


def _deploy_spec(environment: Environment) -> dict[str, Any]:
    limits = {**environment.limits.model_dump(), "memory": environment.limits.memory_bytes}
    return environment.model_dump(mode="json") | {"limits": limits, "ttl_seconds": environment.ttl_seconds}


def _build(
    config: Repository, image: str, names: Names, *, preview: bool = False, fresh: bool = False
) -> PlannedJob:
    """A build; with `preview` its secrets are those of previews: whoever opens a pull request wrote it."""
    return PlannedJob(
        Kind.BUILD,
        name=image,
        context=build_context(config, image),
        spec={
            **config.images[image].model_dump(mode="json"),
            "checkout": config.checkout.model_dump(mode="json"),
            "tags": _tags(config.images[image], names),
            "only": len(config.images) == 1,
            "preview": preview,
            "version": names.tag or names.branch or names.ref,
            **({"fresh": True} if fresh else {}),
        },
        pool=config.pool,
        attempts=_attempts(config),
    )


def _tags(image: Image, names: Names) -> list[str]:
    return image_tags(image.tags, names) if image.tags else tags(names.sha, names.ref)


def tags(sha: str, name: str) -> list[str]:
    """The tags of an image: the SHA, and the branch or preview as far as a tag can spell it."""
    return [sha, _NOT_IN_TAG.sub("-", name).lstrip("-.")[:128] or "branch"]


def _attempts(config: Repository) -> int | None:
    return None if config.retries is None else config.retries + 1
