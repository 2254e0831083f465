"""The Docker engine that answers: the tests share it with the machine, and clean up by label."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import docker
from docker.errors import APIError, NotFound
from docker.models.containers import Container
from docker.models.images import Image
from docker.models.networks import Network
from docker.models.volumes import Volume

from tests.parts.part import PartMissing

_MACHINE = Path(__file__).parent.parent / "machine"
BASE_IMAGE = "blacktree-test/base:latest"
_REMOVAL = 30.0  # seconds


class Engine:
    """The engine at DOCKER_HOST or the default socket; where none answers, one is started for the machine."""

    client: docker.DockerClient

    def __enter__(self) -> Self:
        _run("engine", "start")
        self.client = docker.from_env(timeout=180)  # for one answer
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()

    def base_image(self, name: str = BASE_IMAGE) -> str:
        """A small image with a shell and busybox' tools, packed on this machine; returns its name."""
        _run("baseimage", name)
        return name

    def containers(self, label: str) -> list[Container]:
        """Running or not; `label` is "name" or "name=value", here and below."""
        return self.client.containers.list(all=True, ignore_removed=True, filters={"label": label})

    def images(self, label: str) -> list[Image]:
        return self.client.images.list(filters={"label": label})

    def networks(self, label: str) -> list[Network]:
        return self.client.networks.list(filters={"label": label})

    def volumes(self, label: str) -> list[Volume]:
        return self.client.volumes.list(filters={"label": label})

    def remove(self, label: str) -> None:
        """Whatever carries the label, running or not; what is gone already is no matter."""
        doomed: list[tuple[Any, dict[str, bool]]] = [
            *((one, {"force": True, "v": True}) for one in self.containers(label)),
            *((one, {"force": True}) for one in self.images(label)),
            *((one, {}) for one in self.networks(label)),
            *((one, {"force": True}) for one in self.volumes(label)),
        ]
        for one, how in doomed:
            _remove(one, how)


def _remove(one: Any, how: dict[str, bool]) -> None:
    """Again and again while somebody else removes it, or what uses it, at this very moment."""
    deadline = time.monotonic() + _REMOVAL
    while True:
        try:
            one.remove(**how)
        except NotFound:
            return
        except APIError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


def _run(script: str, *arguments: str) -> None:
    done = subprocess.run(
        [_MACHINE / script, *arguments], check=False, capture_output=True, text=True, timeout=300
    )
    if done.returncode != 0:
        raise PartMissing(f"tests/machine/{script} {' '.join(arguments)}: {done.stderr.strip()}")
