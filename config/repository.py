"""A repository's `.blacktree.yml`: what is built, and what runs where.

A repository with only a Dockerfile needs none: the defaults build it, run its default branch as
`production` and each pull request as a preview.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from config.durations import seconds
from config.errors import nearest
from config.fields import (
    Argument,
    Checks,
    Cron,
    Domain,
    EnvName,
    Glob,
    HeaderName,
    Inside,
    Login,
    MountPath,
    Name,
    Platform,
    PoolName,
    Registry,
    Size,
    Span,
    Sparse,
    TagTemplate,
    Value,
    Word,
    size_bytes,
)
from config.globs import glob
from config.yaml import FILE, MOST_BYTES, read

__all__ = [
    "FILE",
    "MOST_BYTES",
    "PREVIEW",
    "BuildLimits",
    "Checkout",
    "Environment",
    "Freeze",
    "Gates",
    "Health",
    "Image",
    "Limits",
    "Notifications",
    "Repository",
    "Schedule",
    "Test",
    "forbidden",
    "merged_for_fork",
    "parse",
]

PREVIEW = "preview"
_PULL = re.compile(r"pr-\d+")
_OWN = r"\{(pr|environment)\}"  # what tells one preview from another
_Fault = tuple[tuple[str | int, ...], str]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Test(_Part):
    """A command that is run in the built image; its exit code decides."""

    command: list[Argument] = Field(
        min_length=1, max_length=64, description="program and arguments; no shell"
    )
    network: bool = Field(False, description="whether it may reach other hosts")
    timeout: int = Field(600, ge=1, le=86_400, description="seconds that it may last")


class Checkout(_Part):
    """How a commit is fetched."""

    depth: int = Field(1, ge=1, le=1_000_000, description="commits of history")
    submodules: bool = Field(False, description="whether submodules are fetched, recursively")
    lfs: bool = Field(False, description="whether files in Git LFS are fetched")
    sparse: list[Sparse] = Field([], max_length=64, description="only these paths, as sparse-checkout's")


class BuildLimits(_Part):
    """What one build may use, within the worker's own limits."""

    memory: Size | None = Field(None, description="a size such as 4g")
    cpus: float | None = Field(None, gt=0, le=256, description="processors, also parts of one")

    @property
    def memory_bytes(self) -> int | None:
        return None if self.memory is None else size_bytes(self.memory)


class Image(_Part):
    """One image to build."""

    context: Inside = Field(".", description="folder that is sent to the builder")
    dockerfile: Inside = Field("Dockerfile", description="relative to the repository")
    target: str | None = Field(None, max_length=128, description="stage to stop at")
    args: dict[EnvName, Value] = Field({}, max_length=64, description="build arguments")
    timeout: int = Field(1800, ge=1, le=86_400, description="seconds that the build may last")
    platforms: list[Platform] = Field([], max_length=8, description="such as linux/arm64; the engine's own")
    paths: list[Glob] = Field([], max_length=64, description="globs: built only where one of them changed")
    test: Test | None = Field(None, description="command run in the built image; a list will do")
    tags: list[TagTemplate] = Field([], max_length=16, description="templates of its tags")
    registries: list[Registry] = Field([], max_length=8, description="prefixes to push to besides REGISTRY")
    secrets: list[EnvName] = Field([], max_length=32, description="names of build secrets")
    ssh: EnvName | None = Field(None, description="name of the secret that holds a key for --mount=type=ssh")
    cache: bool = Field(True, description="whether layers are taken from and kept in the registry")
    pull: bool = Field(False, description="whether base images are asked for anew at each build")
    limits: BuildLimits = Field(BuildLimits(), description="what the build may use")

    @field_validator("test", mode="before")
    @classmethod
    def _short_test(cls, value: Any) -> Any:
        return {"command": value} if isinstance(value, list) else value

    def touched(self, files: Iterable[str]) -> bool:
        """Whether one of `files` is among `paths`; without paths every change touches it."""
        return not self.paths or any(glob(pattern, file) for file in files for pattern in self.paths)


class Health(_Part):
    """When a new release counts as healthy, seen from outside the container."""

    kind: Literal["http", "tcp", "image"] = Field(
        "http", description="a GET, a connection, or the image's own HEALTHCHECK"
    )
    path: str = Field("/", pattern=r"^/", max_length=512, description="an HTTP GET of it answers below 500")
    status: int | None = Field(None, ge=100, le=599, description="what it answers instead of any below 500")
    timeout: int = Field(60, ge=1, le=3600, description="seconds to become healthy in")
    interval: float = Field(0.5, ge=0.1, le=60, description="seconds between two probes")


class Limits(_Part):
    """What one container may use."""

    memory: Size = Field("512m", description="a size such as 512m or 2g")
    cpus: float = Field(1.0, gt=0, le=256, description="processors, also parts of one")
    pids: int = Field(512, ge=1, le=65_536, description="processes and threads")

    @property
    def memory_bytes(self) -> int:
        return size_bytes(self.memory)


class Gates(_Part):
    """What must be the case before a deploy."""

    review: bool = Field(False, description="a review approves of the very commit")
    checks: Checks = Field(False, description="the required checks have succeeded, or those listed")
    up_to_date: Literal["off", "warn", "require", "update"] = Field(
        "off", description="whether the base branch must be in it"
    )
    after: Name | None = Field(None, description="an environment that must run the same commit or tree")
    approval: bool = Field(False, description="somebody else said /approve for the commit")
    confirm: bool = Field(False, description="a reaction by whoever gave the command")
    unlock_on_merge: bool = Field(False, description="whether a merge frees its pull request's lock")


class Schedule(_Part):
    """A time at which a branch is built and deployed."""

    cron: Cron = Field(description="five fields, in UTC")
    environment: Name = Field(description="what is deployed")
    branch: str | None = Field(None, max_length=255, description="the default branch if left out")


class Notifications(_Part):
    """What GitHub is told."""

    comment: bool = Field(True, description="the one living comment on a pull request")
    statuses: bool = Field(True, description="a commit status for each image and environment")
    deployments: bool = Field(True, description="GitHub's deployments")


class Freeze(_Part):
    """A time in which nothing is deployed; a rollback always may."""

    cron: Cron = Field(description="when it begins: five fields, in UTC")
    lasts: Span = Field(description="a time such as 12h")
    reason: Word = Field("a freeze window", description="told to whoever waits")


class Environment(_Part):
    """A place that the repository runs in; `preview` is the pattern for each pull request's own."""

    branch: str | None = Field(None, max_length=255, description="whose pushes reach it; the default branch")
    image: Name | None = Field(None, description="which of the images; the only one if left out")
    port: int | None = Field(None, ge=1, le=65535, description="the first exposed one if left out")
    command: list[Argument] | None = Field(None, max_length=64, description="the image's own if left out")
    env: dict[EnvName, Value] = Field({}, max_length=256, description="variables of the container")
    health: Health = Field(Health(), description="when a release counts as healthy")
    limits: Limits = Field(Limits(), description="what one container may use")
    on: list[Literal["push", "tag", "release", "command", "pull_request"]] | None = Field(
        None, max_length=5, description="what reaches it: push, and tag where tags are given, if left out"
    )
    branches: list[Glob] = Field([], max_length=32, description="globs of branches whose pushes reach it")
    tags: list[Glob] = Field([], max_length=32, description="globs of git tags that reach it")
    domain: Domain | None = Field(
        None, description="host name, with {pr} {repository} {environment} {branch}"
    )
    stability: int = Field(10, ge=0, le=3600, description="seconds without a restart after the switch")
    release_command: list[Word] | None = Field(None, max_length=64, description="runs before the switch")
    replicas: int = Field(1, ge=1, le=100, description="how many containers")
    secrets: list[EnvName] = Field([], max_length=256, description="names of secrets that it gets")
    volumes: dict[Name, MountPath] = Field({}, max_length=32, description="named volumes and their paths")
    ttl: Span = Field("72h", description="how long a preview stays after its last push")
    drafts: bool = Field(True, description="whether drafts have previews")
    labels: list[Word] = Field([], max_length=32, description="a preview only with one of these labels")
    gates: Gates = Field(Gates(), description="what must be the case before a deploy")
    deployers: list[Login] = Field([], max_length=256, description="who may deploy; else who may write")
    host_mounts: list[Word] = Field([], max_length=32, description="for trusted repositories only")
    privileged: bool = Field(False, description="for trusted repositories only")
    host_network: bool = Field(False, description="for trusted repositories only")
    target: Literal["containers", "swarm"] = Field("containers", description="what runs it")
    networks: list[Name] = Field([], max_length=8, description="shared with environments that name them too")
    user: str | None = Field(None, pattern=r"^[A-Za-z0-9_.:-]{1,64}$", description="the image's if left out")
    read_only: bool = Field(False, description="whether the root file system is read-only")
    restart: Literal["unless-stopped", "on-failure", "no"] = Field(
        "unless-stopped", description="what Docker does when a container ends"
    )
    grace: float = Field(10, ge=0, le=600, description="seconds between SIGTERM and SIGKILL")
    drain: float | None = Field(
        None, ge=0, le=3600, description="seconds that an old release serves on; the instance's if left out"
    )
    release_timeout: int = Field(600, ge=1, le=86_400, description="seconds for the release command")
    headers: dict[HeaderName, Value] = Field({}, max_length=32, description="added to every answer")
    auth: dict[Login, EnvName] = Field(
        {}, max_length=32, description="users of basic auth, and the secret with each one's password"
    )
    freeze: list[Freeze] = Field([], max_length=32, description="times in which nothing is deployed")
    keep: int = Field(10, ge=1, le=1000, description="releases that are kept to go back to")
    bases: list[Glob] = Field([], max_length=32, description="a preview only for pull requests into these")
    most: int = Field(20, ge=1, le=1000, description="previews at once; the oldest one is stopped for a new")
    sleep: Span | None = Field(None, description="without a request for so long, a preview sleeps")

    @property
    def sleep_seconds(self) -> int | None:
        return None if self.sleep is None else seconds(self.sleep)

    @property
    def ttl_seconds(self) -> int:
        return seconds(self.ttl)

    def reached_by(self, cause: str) -> bool:
        """Whether `on` names this cause, or is left out and it is one of the usual."""
        return cause in (self.on if self.on is not None else ["push", *(["tag"] if self.tags else [])])

    def takes_push(self, branch: str, default_branch: str) -> bool:
        """Whether a push to `branch` reaches it."""
        if not self.reached_by("push"):
            return False
        if self.branches:
            return any(glob(pattern, branch) for pattern in self.branches) or branch == self.branch
        # An environment of tags alone has no branch.
        return branch == (self.branch or (default_branch if self.on or not self.tags else None))

    def takes_tag(self, tag: str) -> bool:
        return self.reached_by("tag") and any(glob(pattern, tag) for pattern in self.tags or ["**"])

    def takes_release(self, tag: str) -> bool:
        return self.reached_by("release") and any(glob(pattern, tag) for pattern in self.tags or ["**"])


class Repository(_Part):
    """The whole file."""

    images: dict[Name, Image] = Field(
        {"app": Image()}, min_length=1, max_length=32, description="what is built, by its name"
    )
    environments: dict[Name, Environment] = Field(
        {"production": Environment(), PREVIEW: Environment()},
        max_length=32,
        description="what runs where, by its name; `preview` is the pattern for pull requests",
    )
    checkout: Checkout = Field(Checkout(), description="how a commit is fetched")
    pool: PoolName | None = Field(None, description="of workers; the instance's if left out")
    fork_pool: PoolName | None = Field(None, description="of workers that run approved forks")
    retries: int | None = Field(None, ge=0, le=10, description="further tries when the fault is ours")
    concurrency: Literal["supersede", "queue"] = Field(
        "supersede", description="what a newer commit of a ref does to older runs"
    )
    schedules: list[Schedule] = Field([], max_length=32, description="deploys at set times")
    notifications: Notifications = Field(Notifications(), description="what GitHub is told")

    @model_validator(mode="after")
    def _fits_together(self) -> Repository:
        faults = [*_images(self), *_environments(self), *_schedules(self)]
        if faults:
            raise ValidationError.from_exception_data(
                "Repository",
                [
                    InitErrorDetails(
                        type=PydanticCustomError("misfit", "{told}", {"told": told}), loc=where, input=None
                    )
                    for where, told in faults
                ],
            )
        return self

    def image_of(self, environment: Environment) -> str:
        return environment.image or next(iter(self.images))


def _images(config: Repository) -> Iterator[_Fault]:
    for name, environment in config.environments.items():
        where = ("environments", name, "image")
        if environment.image is None and len(config.images) > 1:
            yield where, f"say which of {', '.join(config.images)} it runs"
        elif environment.image is not None and environment.image not in config.images:
            yield where, f"there is no image {environment.image}.{nearest(environment.image, config.images)}"


def _environments(config: Repository) -> Iterator[_Fault]:
    for name, environment in config.environments.items():
        where, on = ("environments", name), environment.on or []
        if _PULL.fullmatch(name):
            yield where, "such names are those of pull requests' previews"
        if name == PREVIEW and {*on} - {"pull_request", "command"}:
            yield (*where, "on"), "a preview is reached by pull_request and command only"
        if name != PREVIEW and "pull_request" in on:
            yield (*where, "on"), f"pull_request reaches {PREVIEW} only"
        if name == PREVIEW and environment.domain and not re.search(_OWN, environment.domain):
            yield (*where, "domain"), "must have {pr} or {environment}: each preview needs its own"
        if name != PREVIEW and "{pr}" in (environment.domain or ""):
            yield (*where, "domain"), f"only {PREVIEW} has a {{pr}}"
        yield from _order(config, name)


def _order(config: Repository, name: str) -> Iterator[_Fault]:
    """What is wrong with the environment that `name` comes after."""
    where, after = ("environments", name, "gates", "after"), config.environments[name].gates.after
    others = [other for other in config.environments if other not in (name, PREVIEW)]
    if after is None:
        return
    if name == PREVIEW:
        yield where, "a preview comes after none: leave it out"
    elif after == PREVIEW:
        yield where, f"{PREVIEW} is a pattern for many, not one environment"
    elif after not in config.environments:
        yield where, f"there is no environment {after}.{nearest(after, others)}"
    else:
        seen = [name]
        while after is not None and after in config.environments and after not in seen:
            seen.append(after)
            after = config.environments[after].gates.after
        if after in seen:
            yield where, f"goes round in a circle: {', '.join(seen)}, {after}"


def _schedules(config: Repository) -> Iterator[_Fault]:
    places = [name for name in config.environments if name != PREVIEW]
    for index, schedule in enumerate(config.schedules):
        where = ("schedules", index, "environment")
        if schedule.environment == PREVIEW:
            yield where, f"{PREVIEW} is a pattern for many, not one environment"
        elif schedule.environment not in places:
            yield (
                where,
                f"there is no environment {schedule.environment}.{nearest(schedule.environment, places)}",
            )


def merged_for_fork(base: Repository, head: Repository) -> Repository:
    """What an approved fork's commit is run as: how it builds is its own, what it may do is the base's."""
    own = {"context", "dockerfile", "target", "args", "test", "paths"}
    images = {
        name: image.model_copy(update={key: getattr(head.images[name], key) for key in own})
        if name in head.images
        else image
        for name, image in base.images.items()
    }
    return base.model_copy(update={"images": images})


def forbidden(config: Repository, trusted: bool, pushes: Sequence[str] = ()) -> list[str]:
    """What a repository asks for and must not have: `pushes` are the prefixes that it may push to."""
    asked = () if trusted else ("host_mounts", "privileged", "host_network")
    return [
        f"{FILE}: images.{name}.registries: {prefix} is no registry that may be pushed to: "
        "the instance's administrator names those in PUSH_REGISTRIES"
        for name, image in config.images.items()
        for prefix in image.registries
        if not any(prefix == push or prefix.startswith(f"{push}/") for push in pushes)
    ] + [
        f"{FILE}: environments.{name}.{key}: only for repositories that the instance trusts: "
        "its administrator names them in TRUSTED_REPOSITORIES"
        for name, environment in config.environments.items()
        for key in asked
        if getattr(environment, key)
    ]


def parse(text: str | None) -> Repository:
    """The file's model; the defaults where there is no file (None).

    Raises ConfigError with a line `.blacktree.yml:LINE: KEY: what is wrong` for each fault.
    """
    return Repository() if text is None else read(text, Repository)
