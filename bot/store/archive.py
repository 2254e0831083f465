"""A backup's file: a gzipped tar, written and read as a stream, that says of itself whether it is whole.

manifest.json            which Blacktree made it, of what, and when
tables/<table>/<n>.jsonl rows, a JSON object in each line
logs/<job>/<attempt>.log, and .times
secret.key
end.json                 how many came before, and their checksum
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from config.errors import ConfigError

MANIFEST, END, KEY = "manifest.json", "end.json", "secret.key"
FORMAT = 1
_LEVEL = 5  # of gzip: 6 takes a third longer for 2 % less
_BLOCK = 256 * 1024  # bytes
_MOST = 64 * 1024  # bytes of a manifest
_TORN = "ends in the middle: it was not written to its end, or not copied whole"


class Manifest(BaseModel):
    """What a backup says of itself, first of all."""

    model_config = ConfigDict(frozen=True)

    format: int = FORMAT
    version: str  # of Blacktree
    revision: str  # of the tables
    created_at: datetime
    database: str
    instance: str


class Damaged(ConfigError):
    """The file is no backup, or not whole."""


class _Reads(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


class Writer:
    """Writes one member after the other to `out`."""

    def __init__(self, out: IO[bytes], manifest: Manifest) -> None:
        self._gzip = gzip.GzipFile(fileobj=out, mode="wb", compresslevel=_LEVEL, mtime=0)
        self._tar = tarfile.open(fileobj=self._gzip, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        self._sum = hashlib.sha256()
        self._count = 0
        self._at = int(manifest.created_at.timestamp())
        self.bytes(MANIFEST, manifest.model_dump_json(indent=2).encode())

    def bytes(self, name: str, content: bytes) -> None:
        """Add a member."""
        self.file(name, io.BytesIO(content), len(content))

    def file(self, name: str, content: _Reads, size: int) -> None:
        """Add a member of exactly `size` bytes, whatever happens to the file meanwhile."""
        member = tarfile.TarInfo(name)
        member.size, member.mode, member.mtime = size, 0o600, self._at
        self._sum.update(_title(member))
        self._tar.addfile(member, _Summed(content, self._sum, size))  # type: ignore[arg-type]  # it only reads
        self._tar.members.clear()  # type: ignore[attr-defined]  # or it would remember them all
        self._count += 1

    def close(self) -> None:
        """Say that this was all."""
        end = {"members": self._count, "sha256": self._sum.hexdigest()}
        self.bytes(END, json.dumps(end).encode())
        self._tar.close()
        self._gzip.close()


class _Summed:
    """Reads `size` bytes and sums them up; a file that became shorter ends in line feeds."""

    def __init__(self, content: _Reads, into: Any, size: int) -> None:
        self._content, self._sum, self._left = content, into, size

    def read(self, size: int) -> bytes:
        size = min(size, self._left)
        part = self._content.read(size).ljust(size, b"\n")
        self._left -= size
        self._sum.update(part)
        return part


def _title(member: tarfile.TarInfo) -> bytes:
    return f"{member.name}\0{member.size}\0".encode()


def manifest(file: IO[bytes], named: str) -> Manifest:
    """What the backup in `file`, whose name is `named`, says of itself.

    Raises Damaged, and ConfigError for one of a newer version.
    """
    try:
        name, content = next(_members(file))
        said = json.loads(content.read(_MOST)) if name == MANIFEST else None
        if isinstance(said, dict) and isinstance(given := said.get("format"), int) and given > FORMAT:
            raise ConfigError(f"{named}: is a backup by a newer Blacktree ({said.get('version')}): use that")
        return Manifest.model_validate(said)
    except (StopIteration, *_BROKEN, ValidationError) as error:
        raise Damaged(f"{named}: is no backup of Blacktree's, or not even the start of one") from error


def check(file: IO[bytes], named: str) -> None:
    """Read all of it. Raises Damaged where it is not as it was written."""
    summed, count, name, end = hashlib.sha256(), 0, "", None
    try:
        for name, content in _members(file):
            if name == END:
                end = json.loads(content.read(_MOST))
                continue
            count += 1
            summed.update(content.title)
            while part := content.read(_BLOCK):
                summed.update(part)
    except EOFError as error:
        raise Damaged(f"{named}: {_TORN}") from error
    except _BROKEN as error:
        raise Damaged(f"{named}: is damaged{f' after {name}' if name else ''}: {error}") from error
    if end is None:
        raise Damaged(f"{named}: {_TORN}")
    if end != {"members": count, "sha256": summed.hexdigest()}:
        raise Damaged(f"{named}: is damaged: what it holds is not what its checksum was made of")


def members(file: IO[bytes]) -> Iterator[tuple[str, Member]]:
    """Each member of a file that was checked, with its content, which is read before the next comes."""
    yield from ((name, content) for name, content in _members(file) if name not in (MANIFEST, END))


class Member:
    """A member's content."""

    def __init__(self, member: tarfile.TarInfo, content: IO[bytes]) -> None:
        self.title = _title(member)
        self.read = content.read

    def into(self, file: Path) -> None:
        """Write it to a file, which is there whole or not at all."""
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = file.with_name(f"{file.name}.restoring")
        with draft.open("wb") as out:
            while part := self.read(_BLOCK):
                out.write(part)
        draft.replace(file)


_BROKEN = (OSError, EOFError, zlib.error, tarfile.TarError, ValueError)


def _members(file: IO[bytes]) -> Iterator[tuple[str, Member]]:
    file.seek(0)
    with gzip.GzipFile(fileobj=file) as plain, tarfile.open(fileobj=plain, mode="r|") as tar:
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]
            content = tar.extractfile(member)
            if content is None:
                raise tarfile.TarError(f"{member.name} is no file")
            yield member.name, Member(member, content)
        while plain.read(_BLOCK):  # to its end, where gzip has a checksum too
            pass
