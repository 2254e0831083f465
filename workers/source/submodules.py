"""What a repository says about its submodules. It is hostile input: only http and https come out of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from workers.contract.failure import Failure, user

_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_PLAIN = re.compile(r"[\x21-\x7e]{1,2000}")
_SCP = re.compile(r"(?:[A-Za-z0-9._-]+@)?([A-Za-z0-9._-]+):(?!//)(.+)")  # git@github.com:acme/lib.git
_LINK = re.compile(r"160000 commit ([0-9a-f]+)\t(.+)", re.DOTALL)
# What .gitmodules is asked for.
KEYS = r"^submodule\..*\.(path|url|update)$"


@dataclass(frozen=True)
class Submodule:
    """An entry of .gitmodules."""

    path: str
    url: str


def parse(listing: str) -> list[Submodule]:
    """The entries in what `git config -z --get-regexp KEYS` lists, but for those that git would leave out."""
    entries: dict[str, dict[str, str]] = {}
    for pair in listing.split("\0"):
        key, _, value = pair.partition("\n")
        name, _, what = key.rpartition(".")
        entries.setdefault(name, {})[what] = value
    return [
        Submodule(entry["path"], entry["url"])
        for entry in entries.values()
        if _is_inside(entry.get("path", "")) and entry.get("url") and entry.get("update") != "none"
    ]


def _is_inside(path: str) -> bool:
    pure = PurePosixPath(path)
    return 0 < len(path) < 4096 and str(pure) not in (".", "/") and path[0] != "/" and ".." not in pure.parts


def links(listing: str) -> dict[str, str]:
    """Path ▸ commit of the submodules in what `git ls-tree -z` lists."""
    found = (_LINK.fullmatch(entry) for entry in listing.split("\0"))
    return {link[2]: link[1] for link in found if link}


def resolve(base: str, url: str) -> str:
    """Where the submodule with `url` is fetched from, in a repository fetched from `base`. Raises Failure.

    What is on the host of `base` is fetched the way of `base`, whichever way .gitmodules names.
    """
    if not _PLAIN.fullmatch(url):
        raise _refused(url)
    if url.startswith(("./", "../")):
        return _relative(base, url)
    scp = _SCP.fullmatch(url)
    if scp and scp[1].lower() == urlsplit(base).hostname:
        return _root(base) + "/" + scp[2].lstrip("/")
    try:
        there = urlsplit(url)
        name = there.hostname
    except ValueError:
        raise _refused(url) from None
    if there.scheme in ("ssh", "git+ssh", "git") and name == urlsplit(base).hostname:
        return _root(base) + there.path
    host = there.netloc.rpartition("@")[2]
    if there.scheme not in ("http", "https") or not _HOST.fullmatch(host):
        raise _refused(url)
    start = f"{there.scheme}://{host}"
    if start.lower() == _root(base).lower():
        start = _root(base)
    return start + there.path


def _relative(base: str, url: str) -> str:
    """As `git submodule` reads it: each ../ goes up from the repository, not from the folder it is in."""
    path = urlsplit(base).path.rstrip("/")
    rest = url
    while rest.startswith(("./", "../")):
        step, _, rest = rest.partition("/")
        if step == ".." and not path:
            raise _refused(url)
        if step == "..":
            path = path.rpartition("/")[0]
    return f"{_root(base)}{path}/{rest}"


def _root(base: str) -> str:
    where = urlsplit(base)
    return f"{where.scheme}://{where.netloc.rpartition('@')[2]}"


def _refused(url: str) -> Failure:
    return user(
        "submodule_url",
        f"A submodule is at {url[:200]!r}: submodules are fetched by http or https only, or from the host of"
        " the repository",
    )
