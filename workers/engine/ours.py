"""Which of an engine's containers are ours: see workers/engine/labels.py. It blocks."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import docker
from docker.errors import ImageNotFound

from workers.engine import containers
from workers.engine.labels import NAMES


class Ours:
    """Tells containers that we have made from those whose images only say so.

    Images never change, so each is asked once.
    """

    def __init__(self) -> None:
        self._claiming: dict[str, bool] = {}  # ids of images ▸ whether they say what only we may say

    def has(self, client: docker.DockerClient, row: Mapping[str, Any]) -> bool:
        """Whether a container, as the engine lists it, is ours if its labels say that it is."""
        if not any(name.lstrip("/").startswith(NAMES) for name in row.get("Names") or ()):
            return False
        image = row["ImageID"]
        if image not in self._claiming:
            with contextlib.suppress(ImageNotFound):
                self._claiming[image] = bool(containers.image(client.images.get(image).attrs).claims)
        return not self._claiming.get(image, False)
