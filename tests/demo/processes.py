"""Processes that belong to a folder: it is named in their command line or their environment."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path


def using(folder: Path) -> dict[int, str]:
    """Number and command line of each, this one left out."""
    found = {}
    needle = os.fsencode(folder)
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            command = (place / "cmdline").read_bytes()
            if int(place.name) != os.getpid() and needle in command + (place / "environ").read_bytes():
                found[int(place.name)] = command.replace(b"\0", b" ").decode(errors="replace").strip()
    return found


def kill(numbers: dict[int, str]) -> None:
    for number in numbers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
