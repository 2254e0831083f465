"""What runs images, and what makes them: the two ports behind which Docker stands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from workers.contract.messages import Limits, RegistryLogin
from workers.engine.services import Swarm

PREFIX = "io.blacktree."


def prefixed(labels: Mapping[str, str]) -> dict[str, str]:
    """Labels as the engine knows them, so that they are nobody else's."""
    return {PREFIX + name: value for name, value in labels.items()}


class EngineDown(Exception):
    """The engine does not answer. Its text says which, and why."""


@dataclass(frozen=True)
class Image:
    """An image in the engine's own store."""

    id: str
    size: int  # bytes
    ports: tuple[int, ...]  # exposed ones over TCP, lowest first
    digests: tuple[str, ...]  # NAME@sha256:…
    healthcheck: bool = False  # whether it has one of its own


@dataclass(frozen=True)
class StoredImage:
    """An image that Blacktree built, here or elsewhere, as the engine keeps it."""

    id: str
    references: tuple[str, ...]  # NAME:TAG
    digests: tuple[str, ...]  # NAME@sha256:…
    size: int  # bytes, those included that it shares with others
    labels: Mapping[str, str] = field(repr=False)
    used: datetime  # when it was tagged last, else when it was made
    busy: bool  # whether a container has it, running or not


@dataclass(frozen=True)
class ContainerSpec:
    """A container to start."""

    name: str
    image: str
    command: Sequence[str] | None
    env: Mapping[str, str] = field(repr=False)
    limits: Limits
    port: int
    address: str  # of this machine, where the port is published
    network: str
    labels: Mapping[str, str]
    alias: str = ""  # its name on its networks
    networks: Sequence[str] = ()  # further ones
    published: int | None = None  # the port of `address`; a free one if None
    volumes: Mapping[str, str] = field(default_factory=dict)  # the engine's volume ▸ path
    mounts: Sequence[str] = ()  # HOST:CONTAINER[:ro]
    user: str | None = None
    read_only: bool = False
    privileged: bool = False
    host_network: bool = False  # instead of all networks: the port is the container's own


@dataclass(frozen=True)
class Container:
    """A container as the engine sees it now."""

    id: str
    name: str
    labels: Mapping[str, str] = field(repr=False)
    status: str  # created, running, restarting, exited, …
    restarts: int
    exit_code: int
    out_of_memory: bool
    address: str | None  # IP:PORT as published
    health: str = ""  # of its HEALTHCHECK: starting, healthy, unhealthy; empty without one
    health_said: str = ""  # what that printed last
    secrets: tuple[str, ...] = field(default=(), repr=False)  # values of its secret variables

    @property
    def running(self) -> bool:
        return self.status == "running"


@dataclass(frozen=True)
class Happening:
    """Something that happened to a container, told by the engine as it happens."""

    container: str
    what: str  # start, die, oom, health_status
    exit_code: int | None = None  # of die


@dataclass(frozen=True)
class Command:
    """A command that is run once in an image, in a container that is gone afterwards."""

    name: str  # of the container
    image: str
    command: Sequence[str]
    limits: Limits
    labels: Mapping[str, str]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    network: str | None = None  # None: it reaches nothing
    networks: Sequence[str] = ()  # further ones
    volumes: Mapping[str, str] = field(default_factory=dict)  # the engine's volume ▸ path
    mounts: Sequence[str] = ()  # HOST:CONTAINER[:ro]
    user: str | None = None
    read_only: bool = False
    privileged: bool = False


class Engine(Protocol):
    """Runs containers. Each method raises EngineDown when the engine does not answer in time."""

    @property
    def swarm(self) -> Swarm:
        """What it manages beside its own containers."""

    async def about(self) -> str:
        """What it is, for people."""

    async def image(self, reference: str) -> Image | None:
        """The image of that tag, digest or id."""

    async def tag(self, image: str, reference: str) -> None:
        """Let `reference` (NAME:TAG) name that image."""

    async def untag(self, reference: str) -> None:
        """Remove a tag, and the image with its last one. Nothing happens if there is none."""

    async def tags(self, prefix: str) -> list[str]:
        """References whose tag starts with `prefix`."""

    async def start(self, spec: ContainerSpec) -> Container:
        """Start a container that is not restarted yet; it is gone again if this fails."""

    async def run(self, command: Command, output: Callable[[str], None]) -> int:
        """Run a command to its end and give its exit code. Cancelled, it is killed and removed first."""

    async def commands(self) -> list[Container]:
        """The containers of this worker's commands, those that a killed worker left included."""

    async def keep(self, container: str, policy: str) -> None:
        """From now on restart it when it ends: unless-stopped, on-failure or no."""

    async def stop(self, container: str, grace: float) -> None:
        """End it (SIGTERM, `grace` seconds later SIGKILL), but keep it."""

    async def again(self, container: str) -> None:
        """Start one that was stopped. Raises Failure if it cannot."""

    async def rename(self, container: str, name: str) -> None:
        """Give it another name."""

    async def container(self, container: str) -> Container | None:
        """The container of that id."""

    async def containers(self, labels: Mapping[str, str]) -> list[Container]:
        """Those with all of `labels`, running or not."""

    async def last_lines(self, container: str, lines: int) -> str:
        """The end of what it printed."""

    def following(
        self, container: str, output: Callable[[str], None], last: float = 0.1
    ) -> AbstractAsyncContextManager[None]:
        """Inside, what the container prints is given to `output`; at the end, for `last` seconds more."""

    async def remove(self, container: str, grace: float) -> None:
        """Stop it (SIGTERM, `grace` seconds later SIGKILL) and remove it with its volumes."""

    async def remove_network(self, name: str) -> None:
        """Remove it if no container is on it, running or not."""

    async def networks(self, labels: Mapping[str, str]) -> list[str]:
        """Names of those with all of `labels`."""

    async def root(self) -> Path | None:
        """The folder of its data, where that is on this machine."""

    async def images(self) -> list[StoredImage]:
        """Those that Blacktree built, without the layers that only they are made of."""

    async def note_use(self, image: StoredImage) -> None:
        """Let now be when it was used last."""

    async def remove_image(self, image: str) -> None:
        """Remove the image of that id with all its names, unless a container or another image needs it."""

    async def prune_cache(self, keep: int) -> int:
        """Remove layers of builds, least recently used first, down to `keep` bytes; how many bytes went."""

    async def make_volumes(self, names: Iterable[str], labels: Mapping[str, str]) -> list[str]:
        """Make those that are not there; which these were."""

    async def volumes(self, labels: Mapping[str, str]) -> list[str]:
        """Names of those with all of `labels`."""

    async def remove_volume(self, name: str) -> bool:
        """With all that is in it; whether it is gone: one that is in use stays."""

    async def watch(self, noticed: Callable[[Happening], None]) -> None:
        """Tell what happens to any container, as it happens, until cancelled or the engine is gone."""

    def close(self) -> None:
        """Let go of its connections; the next call makes new ones."""


@dataclass(frozen=True)
class BuildOrder:
    """One image to build."""

    context: Path
    dockerfile: Path
    tag: str
    target: str | None
    args: Mapping[str, str]
    labels: Mapping[str, str]
    scratch: Path  # for temporary files
    platforms: Sequence[str] = ()  # the engine's own if empty
    push_to: str | None = None  # NAME:TAG in a registry, where an image for several platforms goes at once
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    ssh_key: str | None = field(default=None, repr=False)  # for --mount=type=ssh
    memory: int | None = None  # bytes; the builder's own limit if None
    cpus: float | None = None
    cache: Sequence[str] = ()  # references in a registry whose layers may be used
    keep_cache: bool = False  # whether the image carries what others need to use its layers
    pull: bool = False  # whether base images are asked for anew
    fresh: bool = False  # whether cached layers are left alone
    epoch: int | None = None  # SOURCE_DATE_EPOCH, in seconds since 1970
    namespace: str = ""  # of cache mounts: what one repository kept there is not another's


@dataclass(frozen=True)
class Built:
    """What a build says of itself."""

    layers: int = 0
    cached: int = 0  # layers of those that came from the cache
    digest: str | None = None  # in the registry, where the builder pushed it itself (several platforms)


class Builder(Protocol):
    """Makes and moves images, in child processes that can be killed at any moment.

    Each method raises workers.failure.Failure.
    """

    description: str  # for people
    limits: str  # what one build may use, for people, or why that is not enforced

    async def build(
        self, order: BuildOrder, logins: Sequence[RegistryLogin], output: Callable[[str], None]
    ) -> Built:
        """Build into the engine's store; an image for several platforms goes right to its registry."""

    async def push(
        self, reference: str, logins: Sequence[RegistryLogin], output: Callable[[str], None]
    ) -> str | None:
        """Push NAME:TAG; the digest that the registry reported."""

    async def pull(
        self, reference: str, logins: Sequence[RegistryLogin], output: Callable[[str], None]
    ) -> None:
        """Pull NAME:TAG or NAME@DIGEST."""
