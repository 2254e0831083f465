"""Where backups lie: the port, and which of its kinds a URL means. All of it blocks: it is for threads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from workers.backup.folder import FolderDepot
from workers.backup.s3 import S3Depot
from workers.contract.backups import Depot as Told
from workers.contract.messages import Credentials


class Writing(Protocol):
    """A backup that is being written: nobody takes it for one before `keep`."""

    def write(self, piece: bytes) -> None:
        """Some more of it. Raises Failure."""

    def keep(self) -> None:
        """It is whole, and there under its name. Raises Failure."""

    def drop(self) -> None:
        """It never was. Raises Failure where something may be left, which the next one removes."""


class Depot(Protocol):
    """Keeps backups by their names."""

    def writing(self, name: str) -> Writing:
        """Begin one, and drop what others of its service left that were killed. Raises Failure."""

    def read(self, name: str) -> Iterator[bytes]:
        """One in pieces. Raises Failure."""

    def remove(self, name: str) -> None:
        """One that may not be there. Raises Failure."""


def depot(told: Told, credentials: Credentials) -> Depot:
    """Where `told` says. Raises Failure."""
    if told.url.startswith("s3://"):
        return S3Depot(told, credentials)
    return FolderDepot(Path(told.url))
