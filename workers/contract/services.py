"""The services of an environment, as a worker is told of them and tells of them."""

from __future__ import annotations

from typing import Any, Literal

from config.services import Service
from workers.contract.backups import Source
from workers.contract.limits import Limits
from workers.contract.words import Message, Value

_TIMEOUT = 120.0  # seconds to become healthy in, where the file says nothing


class Healthcheck(Value):
    """A command that the engine runs in a container instead of the image's own; none at all if empty."""

    command: list[str]
    interval: float  # seconds
    patience: float = 5  # seconds that one run may last; its interval, where that is longer


class ServiceSpec(Value):
    """One service: a container that stays while its own settings do."""

    name: str  # by which it is reached
    image: str  # as the file says it
    pinned: str = ""  # the same by its digest, as at its first start; empty before
    command: list[str] | None = None
    env: dict[str, str] = {}  # what is secret comes with the grant's credentials
    generated: list[str] = []  # the names of those
    volumes: dict[str, str] = {}  # the engine's volume ▸ path in the container
    healthcheck: Healthcheck | None = None
    timeout: float  # seconds to become healthy in
    limits: Limits
    user: str | None = None
    grace: float  # seconds between SIGTERM and SIGKILL when it is stopped
    port: int | None = None  # where it listens, if it is reached from outside of its environment
    seed: list[str] = []  # run once in the release's image, to fill it
    seeded: bool = False  # whether that was done
    source: Source | None = None  # what it is filled from before anything of the release has it

    @classmethod
    def told(cls, whose: str, name: str, said: Service, **kept: Any) -> ServiceSpec:
        """As the file says it, of the place `whose`; with what is `kept` of it since its first start."""
        check, limits = said.healthcheck, said.limits
        # No name of a part has a dot, so no two of these are the same.
        volumes = {
            f"blacktree-{whose}.{name}.{volume}": path for volume, path in sorted(said.volumes.items())
        }
        return cls(
            name=name,
            image=said.image,
            command=said.command,
            env=said.env,
            generated=sorted(said.generate),
            volumes=volumes,
            healthcheck=Healthcheck(command=check.command, interval=check.interval) if check else None,
            timeout=check.timeout if check else _TIMEOUT,
            limits=Limits(memory=limits.memory_bytes, cpus=limits.cpus, pids=limits.pids),
            user=said.user,
            grace=said.grace,
            port=said.exposed,
            seed=(said.seed.command if said.seed else None) or [],
            **kept,
        )


class Services(Value):
    """What an environment needs and no commit builds."""

    place: str  # whose they are, by what never changes: instance, repository's number, environment
    wanted: list[ServiceSpec] = []
    needed: list[str] = []  # further ones, which the release that serves still has
    stay: bool = False  # whether what is there is left as it is, whatever its settings
    reserved: list[str] = []  # HOST/PREFIX of images that no service has, but for `permitted`
    permitted: list[str] = []  # patterns (re) of HOST/PATH
    shared: list[str] = []  # likewise


class ServiceNews(Message):
    """A service is about to start from this image, was filled, or is gone."""

    kind: Literal["service_news"] = "service_news"
    job: str
    attempt: int
    service: str
    image: str = ""  # by its digest; empty where it was started before
    fresh: bool = False  # it has no data yet
    seeded: bool = False
    gone: bool = False  # its container was removed


class Noted(Message):
    """The bot keeps it."""

    kind: Literal["noted"] = "noted"


class ServiceState(Value):
    """A service's container on a worker. Exit code and memory are those of its last end."""

    place: str
    service: str
    name: str  # of the container
    running: bool
    restarts: int
    exit_code: int = 0
    out_of_memory: bool = False
    health: str = ""  # of its health check: starting, healthy, unhealthy; empty without one
    last_lines: str = ""  # what it printed before it ended, masked
    address: str = ""  # IP:PORT, where it is reached from outside of its environment
