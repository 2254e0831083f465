"""The addresses of all upstreams as files that Caddy reads at each request, switched all at once.

FOLDER/current ─▶ 17-3f2a/        one link, renamed into place
FOLDER/17-3f2a/environment-5.0    the address of environment 5's first replica, such as 10.0.0.7:32801
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from bot.routing.caddy_config import slot
from bot.routing.proxy import Route, dialed

_KEPT = 3  # a request that is on its way may still read what was current a moment ago


class Addresses:
    """A folder of them. It blocks: ask from a thread. Raises OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._current = folder / "current"

    def read(self) -> dict[str, str]:
        """What is current: each slot's address."""
        try:
            return {file.name: file.read_text() for file in self._current.iterdir()}
        except FileNotFoundError:
            return {}

    def write(self, addresses: Mapping[str, str]) -> None:
        """Make these current, in one step; does nothing if they are already."""
        if self.read() == addresses:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        folder = self._folder / self._next()
        folder.mkdir()
        for name, address in addresses.items():
            (folder / name).write_text(address)
        self._share(folder)
        link = self._folder / f"{folder.name}.link"
        os.symlink(folder.name, link)
        link.replace(self._current)
        self._clean()

    def _share(self, folder: Path) -> None:
        """Who may read the folder of all may read this one, whatever the umask: Caddy may be another user."""
        mode = stat.S_IMODE(self._folder.stat().st_mode) & 0o755
        for file in folder.iterdir():
            file.chmod(mode & 0o644)
        folder.chmod(mode)

    def _next(self) -> str:
        newest = max((_number(folder) for folder in self._snapshots()), default=0)
        return f"{newest + 1}-{secrets.token_hex(2)}"

    def _clean(self) -> None:
        current = os.readlink(self._current)
        for folder in sorted(self._snapshots(), key=_number)[:-_KEPT]:
            if folder.name != current:
                shutil.rmtree(folder, ignore_errors=True)

    def _snapshots(self) -> list[Path]:
        return [entry for entry in self._folder.iterdir() if entry.is_dir() and not entry.is_symlink()]


def _number(folder: Path) -> int:
    number = folder.name.partition("-")[0]
    return int(number) if number.isdigit() else 0


def slots(routes: Iterable[Route]) -> dict[str, str]:
    """Pure: the addresses of these routes. Raises ProxyDown for what is none."""
    return {
        slot(route.id, place): dialed(address)
        for route in routes
        for place, address in enumerate(route.upstreams)
    }


def bridging(present: Mapping[str, str], routes: Iterable[Route]) -> dict[str, str]:
    """Pure: the addresses for these routes, of which none is missing to a configuration with more of them.

    Where a route loses replicas, what was the address of one that goes is the first one's.
    """
    known = {route.id: route.upstreams[0] for route in routes if route.upstreams}
    left = {name: known.get(name.rpartition(".")[0], address) for name, address in present.items()}
    return left | slots(routes)
