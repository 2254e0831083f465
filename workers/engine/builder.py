"""What makes and moves images: the port behind which BuildKit and the classic builder stand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from workers.contract.messages import RegistryLogin


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
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)  # by predefined argument
    trust: str = field(default="", repr=False)  # whose layers and cache mounts it may use, and no other's
    kin: Sequence[str] = ()  # images of that trust, for a builder that knows layers by their images alone
    stranger: bool = False  # whether nothing of the machine's own logins is for it


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
    heredocs: bool  # whether it knows them in a Dockerfile that names no frontend
    frontends: bool  # whether it leaves the reading to the frontend that a Dockerfile names
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
