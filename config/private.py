"""What bot and worker keep is for their own user: database, logs, mirrors, keys, and what children write."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from config.checks import Check
from config.settings import Settings

_OTHERS = 0o077


def keep() -> None:
    """Whatever this process and its children make from now on is their user's alone."""
    os.umask(_OTHERS)


def check(settings: Settings) -> Check:
    """Whether what was made before is for its user alone too."""
    found = exposed(settings)
    if not found:
        return Check("data folder", True, f"{settings.data_dir}, for its user alone")
    told = ", ".join(f"{place} is open to others ({mode:o})" for place, mode in found)
    todo = f"chmod -R go= {' '.join(str(place) for place, _ in found)}"
    return Check("data folder", False, told, todo)


def exposed(settings: Settings) -> list[tuple[Path, int]]:
    """What others may enter or read, with its mode: DATA_DIR, and an SQLite file that is elsewhere."""
    database = Path(settings.store_url.removeprefix("sqlite:///")).absolute()
    elsewhere = settings.store_url.startswith("sqlite") and not database.is_relative_to(settings.data_dir)
    files = [database, Path(f"{database}-wal"), Path(f"{database}-shm")] if elsewhere else []
    modes = ((place, _mode(place)) for place in (settings.data_dir, *files))
    return [(place, mode) for place, mode in modes if mode & _OTHERS]


def _mode(place: Path) -> int:
    try:
        return stat.S_IMODE(place.stat().st_mode)
    except OSError:  # nothing that could be open
        return 0
