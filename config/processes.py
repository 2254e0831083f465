"""The processes of an environment: what the file says of each, and what each takes from its environment."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import Field, model_validator

from config.errors import nearest
from config.fields import Command, Domain, EnvName, Name, RoutePath, Spelled, Value
from config.habits import Mapped
from config.parts import Health, Limits, Part

if TYPE_CHECKING:
    from config.repository import Environment, Repository
    from config.services import Service

_TCP = "tcp/"
PREVIEW = "preview"  # the environment that is a pattern for many
WEB = "web"  # the process of an environment that names none, and the one that its address leads to
_NEEDS_A_PORT = ("http", "tcp")
_WHOLE_PATH = ""
Exposed = Annotated[
    str,
    Spelled(
        r"tcp/([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])",
        "must be tcp/PORT, such as tcp/5432",
    ),
]
_OWN = r"\{(pr|environment)\}"  # what tells one preview from another
Shared = TypeVar("Shared", bound=Part)
Misfit = tuple[tuple[str | int, ...], str]


class Process(Part):
    """A named way in which a release runs. What is left out is its environment's."""

    image: Name | None = Field(None, description="which of the images; the environment's if left out")
    port: int | None = Field(None, ge=1, le=65535, description="where it listens; nowhere if left out")
    domain: Domain | None = Field(None, description="host name, as the environment's; that one if left out")
    path: RoutePath | None = Field(None, description="what begins with it reaches this process")
    replicas: int | None = Field(None, ge=1, le=100, description="how many containers")
    command: Command | None = Field(None, max_length=64, description="the image's own if left out")
    env: Mapped[EnvName, Value] = Field({}, max_length=256, description="variables besides the environment's")
    limits: Limits | None = Field(None, description="what one container may use")
    health: Health | None = Field(None, description="when it counts as healthy")
    expose: Exposed | None = Field(
        None, description="tcp/PORT: a port of the instance's leads there; it speaks no HTTP"
    )
    overlap: bool = Field(True, description="whether it runs beside its predecessor until the switch")
    grace: float | None = Field(None, ge=0, le=600, description="seconds between SIGTERM and SIGKILL")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"command": value} if isinstance(value, list | str) else value


@dataclass(frozen=True)
class Meant:
    """A process with all that it takes from its environment."""

    name: str
    image: str
    port: int | None  # if it is served: None for the lowest that the image exposes
    served: bool  # whether visitors reach it
    domain: str | None  # None: the instance's template
    path: str  # empty for all paths
    replicas: int
    command: list[str] | None
    env: dict[str, str]
    limits: Limits
    health: Health
    overlap: bool
    grace: float
    expose: int | None  # the TCP port that it listens at, where one of the instance's leads there

    @property
    def listens(self) -> bool:
        """Whether it has a port, said or exposed."""
        return self.served or self.port is not None

    @property
    def settings(self) -> dict[str, Any]:
        """As a release keeps it."""
        return {
            **vars(self),
            "limits": {**self.limits.model_dump(), "memory": self.limits.memory_bytes},
            "health": self.health.model_dump(),
        }


def processes(environment: Environment, main: str) -> list[Meant]:
    """Pure: the processes that an environment names; `main` is its own image."""
    return [_meant(name, process, environment, main) for name, process in environment.processes.items()]


def _meant(name: str, said: Process, place: Environment, main: str) -> Meant:
    served = is_served(name, said)
    own = said.image is None or said.image == main
    exposed = port_of(said.expose)
    return Meant(
        name=name,
        image=said.image or main,
        port=exposed or (place.port if said.port is None and name == WEB else said.port),
        served=served,
        domain=said.domain or domain_of(place) if served else None,
        path=(said.path or _WHOLE_PATH).rstrip("/"),
        replicas=place.replicas if said.replicas is None else said.replicas,
        command=place.command if said.command is None and own else said.command,
        env={**place.env, **said.env},
        limits=_over(place.limits, said.limits),
        health=_health(said, place, listens=served or said.port is not None or exposed is not None, own=own),
        overlap=said.overlap,
        grace=place.grace if said.grace is None else said.grace,
        expose=exposed,
    )


def port_of(expose: str | None) -> int | None:
    """Pure: the port that `expose` names."""
    return None if expose is None else int(expose.removeprefix(_TCP))


def is_served(name: str, said: Process) -> bool:
    """Pure: whether visitors reach a process."""
    return name == WEB or said.domain is not None or said.path is not None


def domain_of(place: Environment) -> str | None:
    """Pure: the host name of an environment: its own, else its `web` process's."""
    web = place.processes.get(WEB)
    return place.domain or (web.domain if web else None)


def _health(said: Process, place: Environment, *, listens: bool, own: bool) -> Health:
    """What listens is asked as its environment is; what does not has to stay up, unless it says more."""
    whole = _over(place.health, said.health)
    if said.health is not None and "kind" in said.health.model_fields_set:
        return whole
    # A HEALTHCHECK or command knows how its image serves: nothing of another one, or of what only works.
    if said.expose is not None:  # what speaks something else is not asked a GET
        return whole.model_copy(update={"kind": "tcp", "command": None})
    fits = {"http": listens, "tcp": listens, "image": listens and own, "command": listens and own, "up": True}
    if fits[whole.kind]:
        return whole
    return whole.model_copy(update={"kind": "http" if listens else "up", "command": None})


def _over(theirs: Shared, said: Shared | None) -> Shared:
    """What a process says, over what its environment does."""
    if said is None:
        return theirs
    update = {key: getattr(said, key) for key in said.model_fields_set}
    if isinstance(said, Health) and update.get("kind") not in (None, "command"):
        update |= {"command": None}
    return theirs.model_copy(update=update)


def misfits(config: Repository) -> Iterator[Misfit]:
    """What of the processes does not fit together, each as (where, sentence)."""
    for name, place in config.environments.items():
        where = ("environments", name, "processes")
        if place.processes and place.target == "swarm":
            yield where, "a swarm's service has one process: leave `target` or `processes` out"
        for key, process in place.processes.items():
            if process.image is not None and process.image not in config.images:
                said = f"there is no image {process.image}.{nearest(process.image, config.images)}"
                yield (*where, key, "image"), said
        meant = processes(place, config.image_of(place))
        for one in meant:
            yield from _of_one(one, (*where, one.name))
            yield from _exposed(one, place, (*where, one.name))
        yield from _addresses(meant, where)
        yield from _domains(name, place, where)


def _of_one(one: Meant, where: tuple[str, ...]) -> Iterator[Misfit]:
    if not one.listens and one.health.kind in _NEEDS_A_PORT:
        said = f"{one.health.kind} asks a port: write `port`, or `kind: up`, or a `command`"
        yield (*where, "health", "kind"), said
    if one.served and not one.overlap:
        yield (*where, "overlap"), "visitors reach it, so it serves until its successor does: leave it out"


def _exposed(one: Meant, place: Environment, where: tuple[str, ...]) -> Iterator[Misfit]:
    said, where = place.processes[one.name], (*where, "expose")
    if one.expose is None:
        return
    if one.served:
        yield where, "visitors reach it by HTTP: give the TCP port to a process of its own"
    if not one.overlap:
        yield where, "its port serves until its successor does: leave `overlap` out"
    if said.port not in (None, one.expose):
        yield where, f"it listens at {one.expose}: leave `port` out"
    if place.target == "swarm":
        yield where, "a TCP port leads to containers only, not to a swarm's service: leave one of the two out"
    if place.host_network:
        yield where, "on the host's network its port is the host's already: leave one of the two out"


def _addresses(meant: list[Meant], where: tuple[str, ...]) -> Iterator[Misfit]:
    """Each address leads to one process."""
    seen: dict[tuple[str | None, str], str] = {}
    for one in meant:
        address = (one.domain, one.path.lower())
        if one.served and address in seen:
            what = f"{one.path or 'every path'} is {seen[address]}'s already"
            yield (*where, one.name), f"{what}: give it a `path` or `domain` of its own"
        elif one.served:
            seen[address] = one.name


def _domains(name: str, place: Environment, where: tuple[str, ...]) -> Iterator[Misfit]:
    for key, process in place.processes.items():
        if process.domain and (said := domain_misfit(name, process.domain)):
            yield (*where, key, "domain"), said


def domain_misfit(environment: str, domain: str) -> str:
    """Pure: why an environment of that name can't have a host name; empty if it can."""
    if environment == PREVIEW and not re.search(_OWN, domain):
        return "must have {pr} or {environment}: each preview needs its own"
    if environment != PREVIEW and "{pr}" in domain:
        return f"only {PREVIEW} has a {{pr}}"
    return ""


def unroutable(config: Repository) -> Iterator[tuple[str, str]]:
    """What asks for a proxy where there is none, each as (key, sentence)."""
    for name, place in config.environments.items():
        for one in processes(place, config.image_of(place)):
            if (one.served and one.name != WEB) or one.path:
                yield (
                    f"environments.{name}.processes.{one.name}",
                    "this instance has no proxy (PROXY=none) that could tell visitors apart by host or path:"
                    f" only `{WEB}` may have them, without a `path`",
                )


def exposing(config: Repository) -> Iterator[tuple[str, str]]:
    """What asks for a TCP port where the instance gives none, each as (key, sentence)."""
    for name, place in config.environments.items():
        said: dict[str, Mapping[str, Process | Service]]
        said = {"processes": place.processes, "services": place.services}
        for kind, its in said.items():
            for key, one in its.items():
                if one.expose is not None:
                    yield (
                        f"environments.{name}.{kind}.{key}.expose",
                        "this instance gives no TCP ports: its administrator has TCP_PORTS for that",
                    )
