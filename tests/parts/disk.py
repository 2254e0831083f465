"""A small disk of its own in memory, for a folder that is to be filled up. Needs root."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

_CHUNK = bytes(1024 * 1024)


class Disk:
    """Mounted at `folder` inside its context."""

    def __init__(self, folder: Path, megabytes: int = 256) -> None:
        self.folder = folder
        self._size = f"size={megabytes}m,mode=0700"
        self._ballast = folder / ".ballast"

    def fill(self) -> None:
        """To its last byte."""
        with self._ballast.open("wb", buffering=0) as ballast:
            try:
                while ballast.write(_CHUNK) == len(_CHUNK):
                    pass
            except OSError:
                os.fsync(ballast.fileno())

    def empty(self) -> None:
        """Free what `fill` took."""
        self._ballast.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", self._size, "tmpfs", str(self.folder)], check=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)
