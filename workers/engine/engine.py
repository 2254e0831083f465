"""What runs images: the port behind which Docker stands."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from config.outages import Outside
from workers.contract.messages import Limits
from workers.contract.services import Healthcheck
from workers.engine.listening import Listener
from workers.engine.printed import PrintedLine
from workers.engine.services import Swarm
from workers.engine.used import Used
from workers.engine.watched import Watched

PREFIX = "io.blacktree."


def prefixed(labels: Mapping[str, str]) -> dict[str, str]:
    """Labels as the engine knows them, so that they are nobody else's."""
    return {PREFIX + name: value for name, value in labels.items()}


class EngineDown(Outside):
    """The engine does not answer. Its text says which, and why."""


class EngineRefused(EngineDown):
    """The engine will not have us, or cannot be there: waiting does not help."""


@dataclass(frozen=True)
class Image:
    """An image in the engine's own store."""

    id: str
    size: int  # bytes
    ports: tuple[int, ...]  # exposed ones over TCP, lowest first
    digests: tuple[str, ...]  # NAME@sha256:…
    healthcheck: bool = False  # whether it has one of its own
    claims: tuple[str, ...] = ()  # labels that only Blacktree sets, and only on containers


# The name, before an instance's, of the tag that an image has which was not here before it was pulled.
PULLED = "blacktree-pulled"


@dataclass(frozen=True)
class StoredImage:
    """An image that Blacktree built, here or elsewhere, or pulled for a service, as the engine keeps it."""

    id: str
    references: tuple[str, ...]  # NAME:TAG
    digests: tuple[str, ...]  # NAME@sha256:…
    size: int  # bytes, those included that it shares with others
    labels: Mapping[str, str] = field(repr=False)
    used: datetime  # when it was tagged last, else when it was made
    busy: bool  # whether a container has it, running or not


@dataclass(frozen=True)
class Bridge:
    """A network of the engine's whose containers are on this machine."""

    interface: str
    subnets: tuple[str, ...]
    gateways: tuple[str, ...]
    default: bool = False  # of builds, and of what has no network of its own


@dataclass(frozen=True)
class ContainerSpec:
    """A container to start."""

    name: str
    image: str
    command: Sequence[str] | None
    env: Mapping[str, str] = field(repr=False)
    limits: Limits
    port: int | None  # None: it listens nowhere, or nobody but its neighbours reaches it
    address: str  # of this machine, where the port is published
    network: str
    labels: Mapping[str, str]
    alias: str = ""  # its name on its networks
    own_alias: str = ""  # another one, on its own network only
    networks: Sequence[str] = ()  # further ones
    published: int | None = None  # the port of `address`; a free one if None
    volumes: Mapping[str, str] = field(default_factory=dict)  # the engine's volume ▸ path
    mounts: Sequence[str] = ()  # HOST:CONTAINER[:ro]
    user: str | None = None
    read_only: bool = False
    privileged: bool = False
    host_network: bool = False  # instead of all networks: the port is the container's own
    room: int = 1  # containers that its own network must hold
    healthcheck: Healthcheck | None = None  # instead of the image's own


@dataclass(frozen=True)
class Container:
    """A container as the engine sees it now."""

    id: str
    name: str
    labels: Mapping[str, str] = field(repr=False)  # ours only, as we set them
    status: str  # created, running, restarting, exited, …
    restarts: int
    exit_code: int
    out_of_memory: bool
    address: str | None  # IP:PORT as published
    health: str = ""  # of its HEALTHCHECK: starting, healthy, unhealthy; empty without one
    health_said: str = ""  # what that printed last
    secrets: tuple[str, ...] = field(default=(), repr=False)  # values of its secret variables
    networks: tuple[str, ...] = ()  # that it is on, by name

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
    entrypoint: bool = False  # whether the image's own comes before it, as before a process's command
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    network: str | None = None  # None: it reaches nothing
    networks: Sequence[str] = ()  # further ones
    volumes: Mapping[str, str] = field(default_factory=dict)  # the engine's volume ▸ path
    mounts: Sequence[str] = ()  # HOST:CONTAINER[:ro]
    user: str | None = None
    read_only: bool = False
    privileged: bool = False
    room: int = 1  # containers that its own network must hold


@dataclass(frozen=True)
class Ended:
    """How a command in a container ended, and the last of what it said that nobody took."""

    code: int
    said: str


class Engine(Protocol):
    """Runs containers. Each method raises EngineDown when the engine does not answer in time."""

    @property
    def swarm(self) -> Swarm:
        """What it manages beside its own containers."""

    async def about(self) -> str:
        """What it is, for people."""

    async def architecture(self) -> str:
        """What it runs without emulation, as platforms name it: amd64."""

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

    async def said_by(self, container: str, command: Sequence[str], take: Callable[[bytes], None]) -> Ended:
        """Run a command in a container that runs, and give what it prints to `take`, in a thread.

        Cancelled, or where `take` raises, the command is gone first. Raises Failure.
        """

    async def fed(self, container: str, command: Sequence[str], pieces: Iterable[bytes]) -> Ended:
        """Likewise one that reads `pieces` on its standard input, which ends only where they do."""

    async def shell(
        self, container: str, command: Sequence[str], *, tty: bool, term: str, rows: int, columns: int
    ) -> Watched:
        """Begin a command that somebody watches, which is theirs to close. Raises Failure."""

    async def end_session(self, container: str, session: str) -> None:
        """End what is left of such a one, by its `session`."""

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

    async def join(self, container: str, network: str, alias: str, room: int, worker: str) -> None:
        """Let it be on that network of the worker's too, made for `room` containers if it is not there."""

    async def leave(self, container: str, network: str) -> None:
        """Let it be on that network no more."""

    async def container(self, container: str) -> Container | None:
        """The container of that id."""

    async def containers(self, labels: Mapping[str, str]) -> list[Container]:
        """Those of ours with all of `labels`, running or not. What an image says of itself is none."""

    async def listening(self, container: str) -> frozenset[Listener] | None:
        """Where it listens inside; None if it can't be told. It is asked in the container itself."""

    async def last_lines(self, container: str, lines: int) -> str:
        """The end of what it printed."""

    async def printed(self, container: str, since: int, lines: int) -> list[PrintedLine]:
        """Of its last `lines` lines (0: all) those since then (nanoseconds), oldest first.

        As many as one answer has; none of one that is gone.
        """

    async def used(self, container: str) -> Used | None:
        """What it uses; None of one that does not run."""

    def before_removal(self, last: Callable[[str], Awaitable[None]]) -> None:
        """From now on `last` is awaited when a container that was stopped is about to be removed."""

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

    async def bridges(self, worker: str) -> list[Bridge]:
        """Those of builds, of that worker's environments, and of a Swarm's tasks."""

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
