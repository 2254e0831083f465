"""A repository's `.blacktree.yml`: what is built, and what runs where.

A repository with only a Dockerfile needs none: the defaults build it, run its default branch as
`production` and each pull request as a preview.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from config.channels import Channel
from config.durations import seconds
from config.elsewhere import Origin, Template
from config.faults import read
from config.fields import (
    Branch,
    Checks,
    Command,
    Cron,
    Domain,
    EnvName,
    Glob,
    HeaderName,
    HeaderValue,
    HostMount,
    Inside,
    Label,
    Login,
    MountPath,
    Name,
    Platform,
    PoolName,
    Registry,
    Size,
    Span,
    Sparse,
    Stage,
    TagTemplate,
    User,
    Value,
    Word,
    size_bytes,
)
from config.fitting import misfits
from config.globs import globs
from config.habits import Listed, Mapped
from config.log_drains import Logs
from config.parts import Health, Limits
from config.parts import Part as _Part
from config.processes import PREVIEW, Process, processes
from config.services import Backup, Seed, Service
from config.tasks import Task
from config.yaml import FILE, MOST_BYTES

__all__ = [
    "FILE",
    "MOST_BYTES",
    "PREVIEW",
    "QUEUE",
    "Backup",
    "BuildLimits",
    "Checkout",
    "Environment",
    "Freeze",
    "Gates",
    "Health",
    "Image",
    "Limits",
    "Logs",
    "Notifications",
    "Process",
    "Repository",
    "Schedule",
    "Seed",
    "Service",
    "Task",
    "Test",
    "forbidden",
    "parse",
]

# https://docs.github.com/repositories/configuring-branches-and-merges-in-your-repository: merge queues.
QUEUE = "gh-readonly-queue/"
_MOST_COMPARING = 50_000  # microseconds


class Test(_Part):
    """A command that is run in the built image; its exit code decides."""

    command: Command = Field(min_length=1, max_length=64, description="program and arguments; no shell")
    network: bool = Field(False, description="whether it may reach other hosts")
    timeout: int = Field(600, ge=1, le=86_400, description="seconds that it may last")


class Checkout(_Part):
    """How a commit is fetched."""

    depth: int = Field(1, ge=1, le=1_000_000, description="commits of history")
    submodules: bool = Field(False, description="whether submodules are fetched, recursively")
    lfs: bool = Field(False, description="whether files in Git LFS are fetched")
    sparse: Listed[Sparse] = Field([], max_length=64, description="only these paths, as sparse-checkout's")


class BuildLimits(_Part):
    """What one build may use, within the worker's own limits."""

    memory: Size | None = Field(None, description="a size such as 4g")
    cpus: float | None = Field(None, gt=0, le=256, description="processors, also parts of one")

    @property
    def memory_bytes(self) -> int | None:
        return None if self.memory is None else size_bytes(self.memory)


class Image(_Part):
    """One image to build, or to wait for where it is built elsewhere."""

    model_config = ConfigDict(serialize_by_alias=True)

    source: Origin | None = Field(
        None, alias="from", description="built elsewhere, and found there, such as ghcr.io/acme/app"
    )
    tag: Listed[Template] = Field(
        [], max_length=8, description="of `from`: templates, of which the first with a value counts; {sha}"
    )
    check: Word | None = Field(None, description="of `from`: the check at GitHub that makes it")
    follow: Cron | None = Field(
        None, description="of `from` with a tag that is moved: when it is looked for anew, in UTC"
    )

    context: Inside = Field(".", description="folder that is sent to the builder")
    dockerfile: Inside = Field("Dockerfile", description="relative to the repository")
    target: Stage | None = Field(None, description="stage to stop at")
    args: Mapped[EnvName, Value] = Field({}, max_length=64, description="build arguments")
    timeout: int = Field(1800, ge=1, le=86_400, description="seconds that it may last, or is waited for")
    platforms: Listed[Platform] = Field([], max_length=8, description="such as linux/arm64; the engine's own")
    paths: Listed[Glob] = Field([], max_length=64, description="globs: built only where one of them changed")
    runs_on: Listed[Label] = Field([], max_length=4, description="labels that its worker must have")
    test: Test | None = Field(None, description="command run in the built image; a list will do")
    tags: Listed[TagTemplate] = Field([], max_length=16, description="templates of its tags")
    registries: Listed[Registry] = Field([], max_length=8, description="prefixes to push to besides REGISTRY")
    secrets: Listed[EnvName] = Field([], max_length=32, description="names of build secrets")
    ssh: EnvName | None = Field(None, description="name of the secret that holds a key for --mount=type=ssh")
    cache: bool = Field(True, description="whether layers are taken from and kept in the registry")
    pull: bool = Field(False, description="whether base images are asked for anew at each build")
    limits: BuildLimits = Field(BuildLimits(), description="what the build may use")

    @field_validator("test", mode="before")
    @classmethod
    def _short_test(cls, value: Any) -> Any:
        return {"command": value} if isinstance(value, list | str) else value

    def touched(self, files: Collection[str]) -> bool:
        """Whether one of `files` is among `paths`; without paths, or of too many files, every change is."""
        paths = globs(tuple(self.paths))
        return not self.paths or paths.cost(files) > _MOST_COMPARING or any(map(paths.fits, files))


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
    branch: Branch | None = Field(None, description="the default branch if left out")


class Notifications(_Part):
    """What GitHub is told, and who else."""

    comment: bool = Field(True, description="the one living comment on a pull request")
    statuses: bool = Field(True, description="a commit status for each image and environment")
    deployments: bool = Field(True, description="GitHub's deployments")
    channels: Mapped[Name, Channel] = Field(
        {}, max_length=8, description="who else is told of what goes wrong, by name"
    )


class Freeze(_Part):
    """A time in which nothing is deployed; a rollback always may."""

    cron: Cron = Field(description="when it begins: five fields, in UTC")
    lasts: Span = Field(description="a time such as 12h")
    reason: Word = Field("a freeze window", description="told to whoever waits")


class Environment(_Part):
    """A place that the repository runs in; `preview` is the pattern for each pull request's own."""

    branch: Branch | None = Field(None, description="whose pushes reach it; the default branch")
    image: Name | None = Field(None, description="which of the images; the only one if left out")
    port: int | None = Field(None, ge=1, le=65535, description="the first exposed one if left out")
    command: Command | None = Field(None, max_length=64, description="the image's own if left out")
    env: Mapped[EnvName, Value] = Field({}, max_length=256, description="variables of the container")
    health: Health = Field(Health(), description="when a release counts as healthy")
    limits: Limits = Field(Limits(), description="what one container may use")
    on: Listed[Literal["push", "tag", "release", "command", "pull_request"]] | None = Field(
        None, max_length=5, description="what reaches it: push, and tag where tags are given, if left out"
    )
    branches: Listed[Glob] = Field([], max_length=32, description="globs of branches whose pushes reach it")
    tags: Listed[Glob] = Field([], max_length=32, description="globs of git tags that reach it")
    domain: Domain | None = Field(
        None, description="host name, with {pr} {repository} {environment} {branch}"
    )
    stability: int = Field(10, ge=0, le=3600, description="seconds without a restart after the switch")
    release_command: Command | None = Field(None, max_length=64, description="runs before the switch")
    replicas: int = Field(1, ge=1, le=100, description="how many containers")
    secrets: Listed[EnvName] = Field([], max_length=256, description="names of secrets that it gets")
    volumes: Mapped[Name, MountPath] = Field({}, max_length=32, description="named volumes and their paths")
    services: Mapped[Name, Service] = Field(
        {}, max_length=16, description="databases and caches that it reaches by their names"
    )
    ttl: Span = Field("72h", description="how long a preview stays after its last push")
    drafts: bool = Field(True, description="whether drafts have previews")
    labels: Listed[Word] = Field([], max_length=32, description="a preview only with one of these labels")
    gates: Gates = Field(Gates(), description="what must be the case before a deploy")
    deployers: Listed[Login] = Field([], max_length=256, description="who may deploy; else who may write")
    host_mounts: Listed[HostMount] = Field([], max_length=32, description="for trusted repositories only")
    privileged: bool = Field(False, description="for trusted repositories only")
    host_network: bool = Field(False, description="for trusted repositories only")
    target: Literal["containers", "swarm"] = Field("containers", description="what runs it")
    runs_on: Listed[Label] = Field([], max_length=4, description="labels that its worker must have")
    networks: Listed[Name] = Field(
        [], max_length=8, description="shared with environments that name them too"
    )
    user: User | None = Field(None, description="the image's if left out")
    read_only: bool = Field(False, description="whether the root file system is read-only")
    restart: Literal["unless-stopped", "on-failure", "no"] = Field(
        "unless-stopped", description="what Docker does when a container ends"
    )
    grace: float = Field(10, ge=0, le=600, description="seconds between SIGTERM and SIGKILL")
    drain: float | None = Field(
        None, ge=0, le=3600, description="seconds that an old release serves on; the instance's if left out"
    )
    release_timeout: int = Field(600, ge=1, le=86_400, description="seconds for the release command")
    headers: Mapped[HeaderName, HeaderValue] = Field({}, max_length=32, description="added to every answer")
    auth: Mapped[Login, EnvName] = Field(
        {}, max_length=32, description="users of basic auth, and the secret with each one's password"
    )
    freeze: Listed[Freeze] = Field([], max_length=32, description="times in which nothing is deployed")
    keep: int = Field(10, ge=1, le=1000, description="releases that are kept to go back to")
    bases: Listed[Glob] = Field([], max_length=32, description="a preview only for pull requests into these")
    most: int = Field(20, ge=1, le=1000, description="previews at once; the oldest one is stopped for a new")
    sleep: Span | None = Field(None, description="without a request for so long, a preview sleeps")
    logs: Logs | None = Field(None, description="where its output goes too; as for all if left out")

    processes: Mapped[Name, Process] = Field(
        {}, max_length=16, description="several ways in which it runs, by name; `web` alone if left out"
    )
    tasks: Mapped[Name, Task] = Field(
        {}, max_length=32, description="commands that run once in the live release: on a schedule, or by /run"
    )

    @property
    def ttl_seconds(self) -> int:
        return seconds(self.ttl)

    def reached_by(self, cause: str) -> bool:
        """Whether `on` names this cause, or is left out and it is one of the usual."""
        return cause in (self.on if self.on is not None else ["push", *(["tag"] if self.tags else [])])

    def takes_push(self, branch: str, default_branch: str) -> bool:
        """Whether a push to `branch` reaches it; a merge queue's never does: it is not merged yet."""
        if not self.reached_by("push") or branch.startswith(QUEUE):
            return False
        if self.branches:
            return _fits(self.branches, branch) or branch == self.branch
        # An environment of tags alone has no branch.
        return branch == (self.branch or (default_branch if self.on or not self.tags else None))

    def takes_tag(self, tag: str) -> bool:
        return self.reached_by("tag") and _fits(self.tags or ["**"], tag)

    def takes_release(self, tag: str) -> bool:
        return self.reached_by("release") and _fits(self.tags or ["**"], tag)


class Repository(_Part):
    """The whole file."""

    images: Mapped[Name, Image] = Field(
        {"app": Image()}, min_length=1, max_length=32, description="what is built, by its name"
    )
    environments: Mapped[Name, Environment] = Field(
        {"production": Environment(), PREVIEW: Environment()},
        max_length=32,
        description="what runs where, by its name; `preview` is the pattern for pull requests",
    )
    checkout: Checkout = Field(Checkout(), description="how a commit is fetched")
    pool: PoolName | None = Field(None, description="of workers; the instance's if left out")
    fork_pool: PoolName | None = Field(None, description="of workers that run approved forks")
    jobs: int | None = Field(None, ge=1, le=1000, description="at once; the instance's limit holds too")
    retries: int | None = Field(None, ge=0, le=10, description="further tries when the fault is ours")
    concurrency: Literal["supersede", "queue"] = Field(
        "supersede", description="what a newer commit of a ref does to older runs"
    )
    schedules: Listed[Schedule] = Field([], max_length=32, description="deploys at set times")
    notifications: Notifications = Field(Notifications(), description="what GitHub is told, and who else")
    logs: Logs = Field(Logs(), description="what becomes of what containers print")

    @model_validator(mode="after")
    def _fits_together(self) -> Repository:
        if faults := misfits(self):
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
        """The environment's own image, of its release command too; if left out, its first process's."""
        named = (process.image for process in environment.processes.values())
        return environment.image or next(filter(None, named), None) or next(iter(self.images))

    def logs_of(self, environment: Environment) -> Logs:
        """What becomes of an environment's output: its own word goes before the file's."""
        return self.logs if environment.logs is None else environment.logs

    def images_of(self, environment: Environment) -> list[str]:
        """All the images that an environment runs, its own first, its services' last."""
        main = self.image_of(environment)
        serving = self.own_services(environment).values()
        return list(dict.fromkeys([main, *(one.image for one in processes(environment, main)), *serving]))

    def own_services(self, environment: Environment) -> dict[str, str]:
        """The services that run an image of the repository's, and which."""
        return {
            name: service.image
            for name, service in environment.services.items()
            if service.image in self.images
        }


def _fits(patterns: Iterable[str], name: str) -> bool:
    return globs(tuple(patterns)).fits(name)


def forbidden(config: Repository, trusted: bool, pushes: Sequence[str] = ()) -> list[str]:
    """What a repository asks for and must not have: `pushes` are the prefixes that it may push to."""
    asked = () if trusted else ("host_mounts", "privileged", "host_network")
    return [
        f"{FILE}: images.{name}.registries: {prefix} is no registry that may be pushed to: "
        "name one of PUSH_REGISTRIES exactly as the instance's administrator has it there"
        for name, image in config.images.items()
        for prefix in image.registries
        if prefix not in pushes  # below one of them, names of two repositories could meet
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
