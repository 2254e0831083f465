"""Orders for a builder, and what is left of them on this machine."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
from docker.errors import ImageNotFound
from docker.models.images import Image

from workers.contract.messages import RegistryLogin
from workers.engine.builder import Builder, BuildOrder, Built
from workers.engine.login import places


@dataclass
class Workshop:
    """One builder, and a context to build in."""

    builder: Builder
    folder: Path
    prefix: str  # of the builder's temporary names
    client: docker.DockerClient
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tag = f"{self.prefix}image:{secrets.token_hex(4)}"
        self.context = self.folder / "context"
        self.scratch = self.folder / "scratch"
        self.folder.mkdir()
        self.context.mkdir()
        self.scratch.mkdir()

    async def build(self, dockerfile: str, logins: Sequence[RegistryLogin] = (), **more: Any) -> Built:
        """The order's fields that are not given are its defaults."""
        (self.context / "Dockerfile").write_text(dockerfile)
        fields: dict[str, Any] = {"tag": self.tag, "target": None, "args": {}, "labels": {}, **more}
        order = BuildOrder(
            context=self.context, dockerfile=self.context / "Dockerfile", scratch=self.scratch, **fields
        )
        self.log.clear()
        return await self.builder.build(order, logins, self.log.append)

    @property
    def said(self) -> str:
        return "".join(self.log)

    def image(self) -> Image | None:
        try:
            return self.client.images.get(self.tag)
        except ImageNotFound:
            return None

    def left(self) -> list[str]:
        """Folders and control groups of the builder."""
        groups = Path("/sys/fs/cgroup").glob(f"*/{self.prefix}*")
        return [str(path) for path in (*places(os.environ).glob(f"{self.prefix}*"), *groups)]

    def close(self) -> None:
        """Remove the images that were made."""
        for image in self.client.images.list(f"{self.prefix}image"):
            self.client.images.remove(str(image.id), force=True)
