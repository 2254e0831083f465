"""Pure: what follows from an event and a repository's file. No store, no network."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from bot.jobs.services import OWN
from config import elsewhere
from config.errors import ConfigError
from config.processes import processes
from config.repository import FILE, PREVIEW, Environment, Image, Repository
from config.services import unreached
from config.tags import USUAL, Names, image_tags
from workers.contract.messages import Kind

_PREVIEW = re.compile(r"pr-(\d+)")


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
    at_once: int | None = None  # jobs that its repository may have run; 0 for any number, None if unknown


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
        config,
        _changed(config, reached, touched),
        {},
        Names(sha, branch, branch=branch, default_branch=default_branch),
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
    """The jobs of a pull request's head: none if the repository has no previews.

    Raises ConfigError where the head's file and the default branch's, which each fit, do not fit together.
    """
    if PREVIEW not in config.environments:
        return []
    name, place = preview_name(number), config.environments[PREVIEW]
    if why := next(unreached(place), None):
        raise ConfigError(
            f"{FILE}: environments.{PREVIEW}.services: {why} (the default branch's file says that)"
        )
    reached = _changed(config, {name: place}, touched)
    return _build_and_deploy(config, reached, {name: PREVIEW}, Names(sha, name, pr=number))


def deploy(
    config: Repository,
    environment: str,
    sha: str,
    ref_name: str,
    pull: int | None,
    default_branch: str | None = None,
) -> list[PlannedJob]:
    """The jobs that deploy to one environment, whatever else reaches it."""
    reached = {environment: config.environments[environment]}
    names = Names(sha, ref_name, branch=ref_name, pr=pull, default_branch=default_branch)
    jobs = _build_and_deploy(config, reached, {}, names)
    return jobs if pull is None else [_of_head(job, environment) for job in jobs]


def _of_head(job: PlannedJob, environment: str) -> PlannedJob:
    """A pull request's build with this environment's secrets, which no other's may use."""
    if job.kind is not Kind.BUILD:
        return job
    return dataclasses.replace(job, spec={**job.spec, "environment": environment})


def build(
    config: Repository, names: Names, image: str | None = None, *, fresh: bool = False
) -> list[PlannedJob]:
    """The jobs that build all images, or one, and deploy nothing; `fresh` ones use nothing of before."""
    wanted = list(config.images) if image is None else [image]
    own = names.pr is not None
    return [_build(config, name, names, preview=own, fresh=fresh) for name in wanted]


def followed(config: Repository, image: str, names: Names, environments: list[str]) -> PlannedJob:
    """The job that asks what a tag is, of an image that these environments run. No commit is told of it."""
    job = _build(config, image, names)
    return dataclasses.replace(
        job, context="", spec={**job.spec, "follows": environments, "muted": ["comment"]}
    )


def merge_group(config: Repository, sha: str) -> list[PlannedJob]:
    """The jobs of a merge queue's commit: it is built, so that what is required is said of it.

    What pull requests wrote is not merged yet: it has the secrets of previews.
    """
    images = {
        image for environment in config.environments.values() for image in config.images_of(environment)
    }
    names = Names(sha, f"queue-{sha}", queued=True)
    return [_build(config, name, names, preview=True) for name in config.images if name in images]


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
    """The environments of which a change touches an image."""
    if touched is None:
        return dict(reached)
    return {
        name: place
        for name, place in reached.items()
        if any(config.images[image].touched(touched) for image in config.images_of(place))
    }


def _build_and_deploy(
    config: Repository, reached: Mapping[str, Environment], shown: dict[str, str], names: Names
) -> list[PlannedJob]:
    runs = {name: config.images_of(environment) for name, environment in reached.items()}
    images = list(dict.fromkeys(itertools.chain.from_iterable(runs.values())))
    builds = [_build(config, image, names, preview=bool(shown)) for image in images]
    deploys = [
        PlannedJob(
            Kind.DEPLOY,
            name=name,
            environment=name,
            context=deploy_context(shown.get(name, name)),
            needs=tuple(images.index(image) for image in runs[name]),
            spec=_deploy_spec(config, environment, runs[name][0])
            | {"logs": config.logs_of(environment).model_dump(mode="json")}
            | ({"queues": True} if config.concurrency == "queue" else {}),
            pool=config.pool,
            attempts=_attempts(config),
            at_once=config.jobs or 0,
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


def _deploy_spec(config: Repository, environment: Environment, image: str) -> dict[str, Any]:
    """What the file says; of its processes too, each with what it takes from its environment."""
    limits = {**environment.limits.model_dump(), "memory": environment.limits.memory_bytes}
    meant = processes(environment, image)
    several: dict[str, Any] = (
        {"image": image, "processes": {one.name: one.settings for one in meant}} if meant else {}
    )
    if own := config.own_services(environment):
        several = {**several, "image": image, OWN: own}
    if any(config.images[one].source for one in config.images_of(environment)):
        several = {**several, "pulls": True}
    told = {"limits": limits, "ttl_seconds": environment.ttl_seconds, **several}
    return environment.model_dump(mode="json") | told


def _build(
    config: Repository, image: str, names: Names, *, preview: bool = False, fresh: bool = False
) -> PlannedJob:
    """A build; with `preview` its secrets are those of previews: whoever opens a pull request wrote it.

    Of an image that is built elsewhere: a wait for it.
    """
    found = config.images[image]
    awaited = {"awaits": awaits(found, names), "held": elsewhere.moving(found, names)} if found.source else {}
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
            **awaited,
        },
        pool=config.pool,
        attempts=_attempts(config),
        at_once=config.jobs or 0,
    )


def awaits(image: Image, names: Names) -> str:
    """The name with its tag of an image that is built elsewhere."""
    return f"{image.source}:{elsewhere.tag(image, names)}"


def _tags(image: Image, names: Names) -> list[str]:
    if image.tags or not names.queued:
        return image_tags(image.tags or USUAL, names)
    return [names.sha, names.ref]


def _attempts(config: Repository) -> int | None:
    return None if config.retries is None else config.retries + 1
