"""The files of mirrors, and of the git folders that borrow from them. It all blocks: it runs in threads."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

# Objects of Git LFS ▸ inode, size and time of the file that was read, and was right.
Sound = dict[str, tuple[int, int, int]]

COMMITS = "refs/commits"  # where a mirror has a ref for each commit
_NAMES = 32  # characters of a mirror's name
_GONE = "gone-"  # what the names of mirrors that are being removed start with
_OTHER_DISK = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP)


def name(url: str) -> str:
    return hashlib.sha256(_bare(url).encode()).hexdigest()[:_NAMES]


def names(folder: Path) -> list[str]:
    """The mirrors, the longest unused first."""
    if not folder.is_dir():
        return []
    for path in folder.glob(_GONE + "*"):  # by a worker that was killed
        _delete(path)
    mirrors = [path for path in folder.iterdir() if len(path.name) == _NAMES]
    return [path.name for path in sorted(mirrors, key=_last_use)]


def _last_use(mirror: Path) -> float:
    try:
        return (mirror / "origin").stat().st_mtime
    except OSError:
        return 0.0


def sizes(folder: Path) -> dict[str, int]:
    """Name ▸ bytes on the disk, the longest unused first."""
    return {name: sum(_blocks(folder / name)) for name in names(folder)}


def _blocks(mirror: Path) -> Iterator[int]:
    for folder, _, files in os.walk(mirror):
        for file in files:
            with contextlib.suppress(FileNotFoundError):
                yield (Path(folder) / file).lstat().st_blocks * 512


def url(mirror: Path) -> str:
    try:
        return (mirror / "origin").read_text(errors="replace")
    except OSError:
        return mirror.name


def packs(mirror: Path) -> int:
    return len(list((mirror / "objects" / "pack").glob("*.pack")))


def _bare(url: str) -> str:
    where = urlsplit(url)
    return where._replace(netloc=where.netloc.rpartition("@")[2]).geturl()


def sweep(mirror: Path) -> None:
    """Remove what a killed git left: locks, temporary files, packs without their index."""
    for folder, folders, files in os.walk(mirror):
        place = Path(folder)
        if place == mirror / "lfs":
            for unfinished in {"tmp", "incomplete", "logs"} & set(folders):
                shutil.rmtree(place / unfinished, ignore_errors=True)
            folders.clear()
        for file in files:
            half = {".pack": ".idx", ".idx": ".pack"}.get(Path(file).suffix)
            if (
                file.endswith((".lock", ".keep"))
                or file.startswith(("tmp_", ".tmp-"))
                or file == "gc.pid"
                or (half and file.removesuffix(Path(file).suffix) + half not in files)
            ):
                (place / file).unlink(missing_ok=True)


def stamp(mirror: Path, ref: str, url: str) -> None:
    """This commit was used now."""
    (mirror / "origin").write_text(_bare(url))
    with contextlib.suppress(FileNotFoundError):
        os.utime(mirror / ref)


def empty(folder: Path) -> None:
    """The folder is there, with nothing in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    folder.chmod(0o755)  # whatever the umask: a context's own folder may go into an image


def link(mirror: Path, git: Path) -> None:
    """The objects of `mirror` are in `git` too; copied where the two are on different disks."""
    for folder, _, files in os.walk(mirror / "objects"):
        there = git / Path(folder).relative_to(mirror)
        there.mkdir(exist_ok=True)
        for file in files:
            try:
                os.link(Path(folder) / file, there / file)
            except OSError as error:
                if error.errno not in _OTHER_DISK:
                    raise
                shutil.copyfile(Path(folder) / file, there / file)
    with contextlib.suppress(FileNotFoundError):
        shutil.copyfile(mirror / "shallow", git / "shallow")


def discard(mirror: Path) -> None:
    """At once for whoever looks: a mirror is whole, or is not there."""
    gone = mirror.with_name(_GONE + uuid4().hex)
    with contextlib.suppress(FileNotFoundError):
        mirror.rename(gone)
        _delete(gone)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def forget_commits(mirror: Path, kept: int) -> list[str]:
    """The commits that were used last; the others' refs are removed."""
    refs = sorted((mirror / COMMITS).iterdir(), key=lambda ref: ref.stat().st_mtime, reverse=True)
    for old in refs[kept:]:
        old.unlink()
    return [ref.name for ref in refs[:kept]]


def forget_lfs(lfs: Path, used: set[str], sound: Sound) -> None:
    for path in lfs.glob("objects/*/*/*"):
        if path.name not in used:
            path.unlink()
            sound.pop(path.name, None)


def remove_corrupt(lfs: Path, objects: set[str], sound: Sound) -> None:
    """Of these objects, remove those that are not what their names say; each is read once, and noted."""
    for oid in objects:
        path = lfs / "objects" / oid[:2] / oid[2:4] / oid
        if not path.is_file():
            continue
        about = path.stat()
        as_it_is = (about.st_ino, about.st_size, about.st_mtime_ns)
        if sound.get(oid) != as_it_is:
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256")
            if content.hexdigest() == oid:
                sound[oid] = as_it_is
            else:
                path.unlink()
