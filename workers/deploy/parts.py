"""A release by its processes: each as if the release had it alone."""

from __future__ import annotations

from dataclasses import dataclass, replace

from config.processes import WEB
from workers.attempt import Attempt
from workers.contract.messages import DeploySpec
from workers.deploy.pull import port_of, pulled
from workers.engine.engine import Container, Image
from workers.tools import Tools


@dataclass(frozen=True)
class Part:
    """One process: `spec` says of it what it says of a release that has no other."""

    spec: DeploySpec
    name: str = WEB
    served: bool = True  # whether visitors reach it
    overlap: bool = True
    port: int | None = None  # where it listens, once its image is known

    @property
    def several(self) -> bool:
        """Whether its release has named processes, of which people are to be told apart."""
        return bool(self.spec.processes)


@dataclass(frozen=True)
class Started:
    """A container of a process. `place` counts its replicas, from 1."""

    part: Part
    container: Container
    place: int


def parts(spec: DeploySpec) -> list[Part]:
    """Pure: the processes of a release."""
    return [
        Part(
            spec.model_copy(
                update={
                    "image": one.image,
                    "port": one.port,
                    "command": one.command,
                    "env": one.env,
                    "limits": one.limits,
                    "probe": one.probe,
                    "replicas": one.replicas,
                    "grace": one.grace,
                    "host_port": spec.host_port if one.name == WEB else None,
                }
            ),
            one.name,
            one.served,
            one.overlap,
        )
        for one in spec.processes
    ] or [Part(spec)]


async def all_pulled(attempt: Attempt, spec: DeploySpec, tools: Tools) -> list[Part]:
    """The processes, with their images on this worker, and that of commands that run once. Raises Failure."""
    images: dict[str, Image] = {}  # several processes may run in one

    async def had(one: DeploySpec) -> Image:
        if one.image not in images:
            images[one.image] = await pulled(attempt, one, tools)
        return images[one.image]

    if spec.release_command or _seeds(spec):
        await had(spec)
    return [
        replace(part, port=port_of(part.spec, await had(part.spec), needed=part.served))
        for part in parts(spec)
    ]


def _seeds(spec: DeploySpec) -> bool:
    return spec.services is not None and any(one.seed for one in spec.services.wanted)


def reached(started: list[Started]) -> dict[str, list[str]]:
    """Pure: where the proxy reaches each process that visitors do."""
    found: dict[str, list[str]] = {}
    for one in started:
        if one.part.served:
            found.setdefault(one.part.name, []).append(one.container.address or "")
    return found
