"""A repository's `.blacktree.yml`: what is built, and what runs where.

A repository with only a Dockerfile needs none: the defaults build it, run its default branch as
`production` and each pull request as a preview.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from config.durations import seconds
from config.errors import ConfigError, nearest, sentences
from config.globs import glob

FILE = ".blacktree.yml"
MOST_BYTES = 65_536
_MOST_BRACKETS = 2000  # nested ones take a parser seconds
PREVIEW = "preview"
_PULL = re.compile(r"pr-\d+")

_SIZE = re.compile(r"^(\d+)([kmg]?)b?$", re.IGNORECASE)
# https://docs.docker.com/engine/containers/resource_constraints/
_LEAST_MEMORY = 6 * 1024**2
_UNIT = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


def _inside(path: str) -> str:
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or "\0" in path:
        raise ValueError("must stay inside the repository: a relative path without '..'")
    return path


def _size(text: str) -> str:
    if not (match := _SIZE.match(text)):
        raise ValueError("must be a size such as 512m or 2g")
    if _bytes(match) < _LEAST_MEMORY:
        raise ValueError("must be at least 6m: Docker gives a container no less")
    return text


def _bytes(size: re.Match[str]) -> int:
    return int(size[1]) * _UNIT[size[2].lower()]


Inside = Annotated[str, Field(min_length=1, max_length=512), AfterValidator(_inside)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")]
Size = Annotated[str, AfterValidator(_size)]


def _cron(text: str) -> str:
    from apscheduler.triggers.cron import CronTrigger  # only a bot has it

    try:
        CronTrigger.from_crontab(text, timezone="UTC")
    except ValueError as error:
        raise ValueError(f"must be five fields of cron: {error}") from None
    return text


def _span(text: str) -> str:
    seconds(text)
    return text


def _placeholders(text: str, known: Iterable[str]) -> str:
    for name in re.findall(r"\{([^{}]*)\}", text):
        if name not in known:
            raise ValueError(f"there is no {{{name}}}. Known are {', '.join(known)}")
    if re.sub(r"\{[a-z_]+\}", "", text).strip(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
    ):
        raise ValueError("has characters that can't be there")
    return text


def _tag_template(text: str) -> str:
    return _placeholders(text, TAG_PARTS)


def _domain(text: str) -> str:
    return _placeholders(text, ("pr", "repository", "environment", "branch"))


def _absolute(path: str) -> str:
    if not path.startswith("/") or ".." in PurePosixPath(path).parts or path == "/":
        raise ValueError("must be an absolute path in the container")
    return path


TAG_PARTS = ("branch", "tag", "version", "major", "minor", "sha", "short_sha", "pr")
Word = Annotated[str, Field(min_length=1, max_length=1024)]
Glob = Annotated[str, Field(min_length=1, max_length=255)]
TagTemplate = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_tag_template)]
Domain = Annotated[str, Field(min_length=1, max_length=253), AfterValidator(_domain)]
MountPath = Annotated[str, Field(max_length=512), AfterValidator(_absolute)]
Span = Annotated[str, AfterValidator(_span)]
Cron = Annotated[str, Field(max_length=100), AfterValidator(_cron)]
Platform = Annotated[str, Field(pattern=r"^[a-z0-9]+/[a-z0-9]+(/[a-z0-9]+)?$", max_length=64)]
PoolName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$")]
Login = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,38}(\[bot\])?$")]
EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Test(_Part):
    """A command that is run in the built image; its exit code decides."""

    command: list[Word] = Field(min_length=1, max_length=64)
    network: bool = Field(False, description="whether it may reach other hosts")
    timeout: int = Field(600, ge=1, le=86_400, description="seconds that it may last")


class Image(_Part):
    """One image to build."""

    context: Inside = Field(".", description="folder that is sent to the builder")
    dockerfile: Inside = Field("Dockerfile", description="relative to the repository")
    target: str | None = Field(None, max_length=128, description="stage to stop at")
    args: dict[EnvName, str] = Field({}, max_length=64, description="build arguments")
    timeout: int = Field(1800, ge=1, le=86_400, description="seconds that the build may last")
    platforms: list[Platform] = Field([], max_length=8, description="such as linux/arm64; the engine's own")
    paths: list[Glob] = Field([], max_length=64, description="globs: built only where one of them changed")
    test: Test | None = Field(None, description="command run in the built image; a list will do")
    tags: list[TagTemplate] = Field([], max_length=16, description="templates of its tags")
    registries: list[Word] = Field([], max_length=8, description="prefixes to push to besides REGISTRY")
    secrets: list[EnvName] = Field([], max_length=32, description="names of build secrets")

    @field_validator("test", mode="before")
    @classmethod
    def _short_test(cls, value: Any) -> Any:
        return {"command": value} if isinstance(value, list) else value

    def touched(self, files: Iterable[str]) -> bool:
        """Whether one of `files` is among `paths`; without paths every change touches it."""
        return not self.paths or any(glob(pattern, file) for file in files for pattern in self.paths)


class Health(_Part):
    """When a new release counts as healthy, seen from outside the container."""

    path: str = Field("/", pattern=r"^/", max_length=512, description="an HTTP GET of it answers below 500")
    timeout: int = Field(60, ge=1, le=3600, description="seconds to become healthy in")
    interval: float = Field(0.5, ge=0.1, le=60, description="seconds between two probes")


class Limits(_Part):
    """What one container may use."""

    memory: Size = "512m"
    cpus: float = Field(1.0, gt=0, le=256)
    pids: int = Field(512, ge=1, le=65_536)

    @property
    def memory_bytes(self) -> int:
        match = _SIZE.match(self.memory)
        assert match is not None, "validated"  # noqa: S101
        return _bytes(match)


class Gates(_Part):
    """What must be the case before a deploy."""

    review: bool = Field(False, description="a review approves of the very commit")
    checks: bool | list[Word] = Field(
        False, description="the required checks have succeeded, or those listed"
    )
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

    comment: bool = True
    statuses: bool = True
    deployments: bool = True


class Environment(_Part):
    """A place that the repository runs in; `preview` is the pattern for each pull request's own."""

    branch: str | None = Field(None, max_length=255, description="whose pushes reach it; the default branch")
    image: Name | None = Field(None, description="which of the images; the only one if left out")
    port: int | None = Field(None, ge=1, le=65535, description="the first exposed one if left out")
    command: list[str] | None = Field(None, max_length=64)
    env: dict[EnvName, str] = Field({}, max_length=256)
    health: Health = Health()
    limits: Limits = Limits()
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
    replicas: int = Field(1, ge=1, le=100)
    secrets: list[EnvName] = Field([], max_length=256, description="names of secrets that it gets")
    volumes: dict[Name, MountPath] = Field({}, max_length=32, description="named volumes and their paths")
    ttl: Span = Field("72h", description="how long a preview stays after its last push")
    drafts: bool = Field(True, description="whether drafts have previews")
    labels: list[Word] = Field([], max_length=32, description="a preview only with one of these labels")
    gates: Gates = Gates()
    deployers: list[Login] = Field([], max_length=256, description="who may deploy; else who may write")
    host_mounts: list[Word] = Field([], max_length=32, description="for trusted repositories only")
    privileged: bool = Field(False, description="for trusted repositories only")
    host_network: bool = Field(False, description="for trusted repositories only")

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

    images: dict[Name, Image] = Field({"app": Image()}, min_length=1, max_length=32)
    environments: dict[Name, Environment] = Field(
        {"production": Environment(), PREVIEW: Environment()}, max_length=32
    )

    pool: PoolName | None = Field(None, description="of workers; the instance's if left out")
    fork_pool: PoolName | None = Field(None, description="of workers that run approved forks")
    retries: int | None = Field(None, ge=0, le=10, description="further tries when the fault is ours")
    concurrency: Literal["supersede", "queue"] = Field(
        "supersede", description="what a newer commit of a ref does to older runs"
    )
    schedules: list[Schedule] = Field([], max_length=32)
    notifications: Notifications = Notifications()

    @model_validator(mode="after")
    def _environments_exist(self) -> Repository:
        for name, environment in self.environments.items():
            if (after := environment.gates.after) is not None and after not in self.environments:
                raise ValueError(
                    f"environments.{name}.gates.after: there is no environment {after}."
                    f"{nearest(after, self.environments)}"
                )
            seen = [name]
            while (after := self.environments[seen[-1]].gates.after) in self.environments and after:
                if after in seen:
                    raise ValueError(f"environments.{name}.gates.after: goes round in a circle")
                seen.append(after)
        for index, schedule in enumerate(self.schedules):
            if schedule.environment not in self.environments or schedule.environment == PREVIEW:
                raise ValueError(
                    f"schedules.{index}.environment: there is no environment {schedule.environment}."
                    f"{nearest(schedule.environment, self.environments)}"
                )
        return self

    @model_validator(mode="after")
    def _images_exist(self) -> Repository:
        for name, environment in self.environments.items():
            if _PULL.fullmatch(name):
                raise ValueError(f"environments.{name}: such names are those of pull requests' previews")
            if environment.image is None and len(self.images) > 1:
                raise ValueError(f"environments.{name}.image: say which of {', '.join(self.images)} it runs")
            if environment.image is not None and environment.image not in self.images:
                raise ValueError(
                    f"environments.{name}.image: there is no image {environment.image}."
                    f"{nearest(environment.image, self.images)}"
                )
        return self

    def image_of(self, environment: Environment) -> str:
        return environment.image or next(iter(self.images))


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


def forbidden(config: Repository, trusted: bool) -> list[str]:
    """What an untrusted repository asks for and must not have."""
    if trusted:
        return []
    asked = ("host_mounts", "privileged", "host_network")
    return [
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
    if text is None:
        return Repository()
    if len(text.encode()) > MOST_BYTES:
        raise ConfigError(f"{FILE}: is over {MOST_BYTES} bytes")
    if text.count("[") + text.count("{") > _MOST_BRACKETS:
        raise ConfigError(f"{FILE}: has over {_MOST_BRACKETS} brackets")
    try:
        data = YAML(typ="rt").load(io.StringIO(text))
    except (YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "unreadable"
        raise ConfigError(f"{FILE}{line}: is not YAML: {problem}") from None
    if data is None:
        return Repository()
    if not isinstance(data, dict):
        raise ConfigError(f"{FILE}:1: must be a mapping with the keys {', '.join(Repository.model_fields)}")
    try:
        return Repository.model_validate(data)
    except ValidationError as error:
        raise ConfigError("\n".join(_fault(data, *item) for item in sentences(error))) from None


def _fault(data: Any, where: tuple[str | int, ...], sentence: str) -> str:
    keys = [part for part in where if part != "[key]"]
    if sentence == "Extra inputs are not permitted":
        sentence = f"there is no such key.{nearest(str(keys[-1]), _known(keys[:-1]))}"
    line = _line(data, keys)
    return f"{FILE}{f':{line}' if line else ''}: {'.'.join(map(str, keys)) or 'file'}: {sentence}"


def _known(keys: list[str | int]) -> list[str]:
    """The valid keys of the part at `keys`: every second level is a name that people choose."""
    models: dict[tuple[str, ...], type[_Part]] = {
        (): Repository,
        ("images",): Image,
        ("environments",): Environment,
        ("environments", "health"): Health,
        ("environments", "limits"): Limits,
    }
    path = tuple(str(key) for index, key in enumerate(keys) if index != 1)
    return list(models[path].model_fields) if path in models else []


def _line(data: Any, keys: list[str | int]) -> int | None:
    """The line (from 1) of the deepest of `keys` that the file has."""
    line = None
    for key in keys:
        try:
            line = (data.lc.key(key) if key in data else data.lc.item(key))[0] + 1
            data = data[key]
        except (AttributeError, KeyError, IndexError, TypeError):
            break
    return line
