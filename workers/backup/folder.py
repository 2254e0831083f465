"""Backups in a folder, which all workers that take or restore them have at the same path."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from workers.contract.failure import Failure, final

_PIECE = 1024 * 1024  # bytes that are read at once
_PART = ".part"  # the end of a name that is none yet


class FolderDepot:
    """Below `root`, which has to be there: where a disk is not mounted, nothing is written in its place."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def writing(self, name: str) -> FileWriting:
        if not self._root.is_dir():
            raise final(
                "no_depot",
                f"SERVICE_BACKUPS: there is no folder {self._root} on this worker: make it, or mount it",
            )
        file = self._file(name)
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in file.parent.glob(f"*{_PART}"):
            left.unlink(missing_ok=True)
        return FileWriting(file)

    def read(self, name: str) -> Iterator[bytes]:
        try:
            with self._file(name).open("rb") as file:
                while piece := file.read(_PIECE):
                    yield piece
        except FileNotFoundError:
            raise missing(name, f"{self._root} of this worker") from None

    def remove(self, name: str) -> None:
        self._file(name).unlink(missing_ok=True)

    def _file(self, name: str) -> Path:
        file = self._root / name
        if ".." in file.parts or file == self._root or not file.is_relative_to(self._root):
            raise final("bad_name", f"{name} is no backup's name")
        return file


class FileWriting:
    """A file that gets its name when it is whole, and on the disk."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._part = file.with_name(file.name + _PART)
        self._out = os.fdopen(os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")

    def write(self, piece: bytes) -> None:
        self._out.write(piece)

    def keep(self) -> None:
        self._out.flush()
        os.fsync(self._out.fileno())
        self._out.close()
        self._part.rename(self._file)
        folder = os.open(self._file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def drop(self) -> None:
        with contextlib.suppress(OSError):  # a full disk: what it still has goes nowhere
            self._out.close()
        for file in (self._part, self._file):
            file.unlink(missing_ok=True)


def missing(name: str, where: str) -> Failure:
    """A backup that the bot knows of is not there: nobody can restore it, now or later."""
    return final("backup_missing", f"The backup {name} is not in {where} any more: restore another one")
