"""What runs services over many machines: the port behind which Docker Swarm stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from workers.contract.messages import Limits, RegistryLogin


@dataclass(frozen=True)
class ServiceSpec:
    """A service as it is to be."""

    name: str
    image: str
    command: Sequence[str] | None
    env: Mapping[str, str]
    secrets: Mapping[str, str] = field(repr=False)  # files of /run/secrets
    limits: Limits
    replicas: int
    port: int
    published: int | None  # a port that Swarm chooses, and keeps, if None
    network: str
    networks: Sequence[str]  # further ones
    labels: Mapping[str, str]  # of the service
    task_labels: Mapping[str, str]  # of its containers
    place: Mapping[str, str]  # labels of what else it needs: networks, secrets, volumes
    alias: str
    volumes: Mapping[str, str]
    mounts: Sequence[str]
    user: str | None
    read_only: bool
    restart: str
    grace: float  # seconds
    monitor: float  # seconds that Swarm watches each new task for


@dataclass(frozen=True)
class Task:
    """One try of Swarm's to run one replica."""

    id: str
    slot: int
    release: str
    state: str  # new, pending, preparing, running, complete, failed, rejected, shutdown, …
    wanted: str  # the state that Swarm wants of it
    error: str
    exit_code: int
    host: str  # IP of its node; empty for the engine's own
    port: int | None  # there, if it has one of its own
    node: str

    @property
    def running(self) -> bool:
        return self.state == "running" and self.wanted == "running"

    @property
    def broken(self) -> bool:
        """Whether it ended by itself."""
        return self.state in ("failed", "rejected", "complete")


@dataclass(frozen=True)
class Service:
    """A service as Swarm sees it now."""

    name: str
    labels: Mapping[str, str] = field(repr=False)
    replicas: int
    update: str  # updating, completed, paused, rollback_started, …; empty before the first
    update_said: str
    previous: str | None  # the release that Swarm would roll back to
    port: int | None  # published on every node
    tasks: Sequence[Task]  # newest first


class Swarm(Protocol):
    """Runs services. Each method raises EngineDown when the engine does not answer in time."""

    async def manager(self) -> bool:
        """Whether this engine may make services."""

    async def networks(self, spec: ServiceSpec) -> None:
        """Make those of a service that are not there."""

    async def apply(self, spec: ServiceSpec, logins: Sequence[RegistryLogin]) -> None:
        """Make the service, or have Swarm roll it over to this. Raises Failure."""

    async def service(self, name: str) -> Service | None:
        """The service of that name."""

    async def services(self, labels: Mapping[str, str]) -> list[Service]:
        """Those with all of `labels`; none where this engine is no manager."""

    async def back(self, name: str) -> None:
        """Have Swarm roll it back to what it was before its last change."""

    async def tidy(self, name: str) -> None:
        """Drop its secrets that neither it needs, nor what it would be rolled back to."""

    async def remove(self, name: str, networks: Iterable[str] = ()) -> None:
        """It, its tasks, its secrets and its networks, as far as nothing else uses them."""
