"""The `services` of an environment in `.blacktree.yml`: databases, caches, whatever no commit builds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from config.errors import nearest
from config.fields import Command, Cron, EnvName, MountPath, Name, Spelled, User, Value
from config.habits import SWITCHES, Listed, Mapped
from config.parts import Limits, Part
from config.processes import PREVIEW, Exposed, port_of

if TYPE_CHECKING:
    from config.repository import Environment

Misfit = tuple[tuple[str | int, ...], str]

_PULL = re.compile(r"pr-\d+")
# A name in braces is replaced; doubled braces stand for themselves.
_PLACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
# https://pkg.go.dev/github.com/distribution/reference
_PATH = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*"
_IMAGE = (
    rf"([A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{{1,5}})?/)?{_PATH}(:\w[\w.-]{{0,127}})?(@sha256:[0-9a-f]{{64}})?"
)
ImageName = Annotated[
    str,
    Field(max_length=512),
    Spelled(_IMAGE, "must be an image in a registry, such as postgres:17 or ghcr.io/acme/search:2"),
]


class Healthcheck(Part):
    """A command in the service's container whose exit code says whether it is healthy."""

    command: Command = Field(min_length=1, max_length=64, description="program and arguments; no shell")
    interval: float = Field(5, ge=0.1, le=3600, description="seconds between two of them")
    timeout: int = Field(120, ge=1, le=3600, description="seconds to become healthy in")


_WORDS: TypeAdapter[list[str]] = TypeAdapter(Annotated[Command, Field(min_length=1, max_length=64)])


def _scrub(value: Any) -> Any:
    """A command, or that there is none to run."""
    if isinstance(value, str):
        value = SWITCHES.get(value.lower(), value)
    if value is False:
        return value
    try:
        return _WORDS.validate_python(value)
    except ValidationError:
        told = "must be a command (no shell reads it), or false where the data may be in previews as it is"
        raise ValueError(told) from None


Scrub = Annotated[bool | list[str], BeforeValidator(_scrub)]


class Backup(Part):
    """How a service's data is brought to safety, and put back; both commands run in its container."""

    cron: Cron | None = Field(None, description="five fields, in UTC; only by hand if left out")
    command: Command = Field(min_length=1, max_length=64, description="prints the backup")
    restore: Command | None = Field(
        None, min_length=1, max_length=64, description="reads a backup on its standard input"
    )
    keep: int = Field(14, ge=1, le=1000, description="backups that are kept")


class Seed(Part):
    """What fills a preview's new service: a command in the release's image, or a backup; a list will do."""

    model_config = ConfigDict(serialize_by_alias=True)

    command: Command | None = Field(
        None, min_length=1, max_length=64, description="runs once in a preview's first release"
    )
    source: Name | None = Field(
        None, alias="from", description="the environment whose last backup is restored instead"
    )
    scrub: Scrub | None = Field(None, description="runs in the service afterwards; false for none")


class Service(Part):
    """What an environment needs and no commit builds; an image alone will do."""

    image: ImageName = Field(
        description="in a registry, or one of `images`; kept at its digest from its first start on"
    )
    command: Command | None = Field(None, max_length=64, description="the image's own if left out")
    env: Mapped[EnvName, Value] = Field({}, max_length=256, description="variables of its container")
    volumes: Mapped[Name, MountPath] = Field({}, max_length=32, description="named volumes and their paths")
    generate: Listed[EnvName] = Field(
        [], max_length=32, description="variables that get a secret, made once for each environment"
    )
    provides: Mapped[EnvName, Value] = Field(
        {}, max_length=32, description="variables for the environment's containers, with {NAME} of its own"
    )
    healthcheck: Healthcheck | None = Field(
        None, description="the image's own, or that it listens, if left out; a list will do"
    )
    limits: Limits = Field(Limits(), description="what its container may use")
    expose: Exposed | None = Field(
        None, description="tcp/PORT: a port of the instance's leads there, from outside of the environment"
    )
    user: User | None = Field(None, description="the image's if left out")
    grace: float = Field(30, ge=0, le=600, description="seconds between SIGTERM and SIGKILL")
    seed: Seed | None = Field(None, description="what fills a preview's new service; a list will do")
    backup: Backup | None = Field(None, description="when and how its data is brought to safety")
    update: Cron | None = Field(
        None, description="when its tag is asked for anew, in UTC; only by /update if left out"
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        """An image alone is a service, a list or text a health check."""
        value = {"image": value} if isinstance(value, str) else value
        if isinstance(value, dict) and isinstance(value.get("healthcheck"), list | str):
            value = {**value, "healthcheck": {"command": value["healthcheck"]}}
        if isinstance(value, dict) and isinstance(value.get("seed"), list | str):
            value = {**value, "seed": {"command": value["seed"]}}
        return value

    @property
    def exposed(self) -> int | None:
        """The port that it listens at, where one of the instance's leads there."""
        return port_of(self.expose)


def filled(template: str, values: Mapping[str, str]) -> str:
    """A value of `provides`, with what stands in braces replaced. Raises KeyError for what has no value."""

    def of(found: re.Match[str]) -> str:
        return found[0][0] if found[1] is None else values[found[1]]

    return _PLACES.sub(of, template)


def provided(services: Mapping[str, Service], known: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """The variables of the environment's containers, from the services' own variables and secrets."""
    return {
        variable: filled(template, {**service.env, **known.get(name, {})})
        for name, service in services.items()
        for variable, template in service.provides.items()
    }


def misfits(environments: Mapping[str, Environment]) -> Iterator[Misfit]:
    """What of services does not fit together, each as (where, sentence)."""
    for name, environment in environments.items():
        where = ("environments", name, "services")
        for why in unreached(environment):
            yield where, why
        given = Counter(variable for one in environment.services.values() for variable in one.provides)
        taken = {"the environment's env": environment.env, "the environment's secrets": environment.secrets}
        taken |= {f"the env of process {one}": said.env for one, said in environment.processes.items()}
        for key, service in environment.services.items():
            here = (*where, key)
            if key in environments or _PULL.fullmatch(key):
                yield here, "is the name that an environment's own containers have: name it otherwise"
            if key in _names(name, environment.processes):
                yield here, "is the name that a process is reached by: name one of the two otherwise"
            if service.seed and name != PREVIEW:
                yield (*here, "seed"), f"fills what is made anew for each pull request: only in {PREVIEW}"
            if service.backup and name == PREVIEW:
                yield (*here, "backup"), f"a {PREVIEW} ends with its pull request: only for what stays"
            if service.seed:
                yield from _seed((*here, "seed"), key, service.seed, environments)
            yield from _of(here, service)
            for variable in service.provides:
                also = next((part for part in taken if variable in taken[part]), "")
                also = also or ("another service" if given[variable] > 1 else "")
                if also:
                    yield (*here, "provides", variable), f"{also} says it as well: leave one of them out"


def unreached(place: Environment) -> Iterator[str]:
    """Why nothing of an environment would reach its services. A preview's are its commit's own, and its
    `target` is the default branch's: each file fits in itself."""
    if place.services and place.host_network:
        yield "are reached on the environment's own network, which host_network leaves out"
    if place.services and place.target == "swarm":
        yield "run beside containers, not on a swarm: leave out `target: swarm`"


def _seed(
    where: tuple[str, ...], key: str, seed: Seed, environments: Mapping[str, Environment]
) -> Iterator[Misfit]:
    source = seed.source
    if source is None:
        if seed.command is None:
            yield where, "says neither a command nor `from`, whose backup it is: write one of them"
        if seed.scrub is not None:
            yield (*where, "scrub"), "is for what comes from a backup: write `from` too, or leave it out"
        return
    if seed.command is not None:
        yield (*where, "command"), "and `from` both fill it: leave one of them out"
    if seed.scrub is None:
        yield (
            (*where, "scrub"),
            f"is missing: say which command in the service's container makes the data of {source} fit for"
            " previews, or `scrub: false` if it may be there as it is",
        )
    others = [name for name in environments if name != PREVIEW]
    there = environments[source].services if source in others else None
    if there is None:
        yield (*where, "from"), f"there is no environment {source} to take it from.{nearest(source, others)}"
    elif key not in there or (backup := there[key].backup) is None:
        yield (*where, "from"), f"{source} has no service {key} with a `backup`"
    elif backup.restore is None:
        yield (*where, "from"), f"the `backup` of {key} in {source} has no `restore`, which puts it in"


def _names(environment: str, processes: Collection[str]) -> set[str]:
    """By which the processes are found on the environment's network (workers/deploy/deploy.py)."""
    return {*processes, *(f"{environment}-{process}" for process in processes)}


def _of(where: tuple[str, ...], service: Service) -> Iterator[Misfit]:
    known = [*service.generate, *service.env]
    for index, variable in enumerate(service.generate):
        if known.count(variable) > 1:
            yield (*where, "generate", index), f"{variable} is there twice: leave one of them out"
    for variable, template in service.provides.items():
        for found in _PLACES.finditer(template):
            if found[1] is None and len(found[0]) == 1:
                yield (*where, "provides", variable), f"a {found[0]} stands alone: write {found[0] * 2}"
            elif found[1] is not None and found[1] not in known:
                names = f" Known are {', '.join(known)}." if known else " Name it in `generate` or `env`."
                told = f"there is no {{{found[1]}}}.{names}{nearest(found[1], known)}"
                yield (*where, "provides", variable), told
    places = list(service.volumes.values())
    if twice := [one for one in places if places.count(one) > 1]:
        yield (*where, "volumes"), f"two of them are at {twice[0]}"
