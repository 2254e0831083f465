"""The sample's base image, which demos that run at the same time share: the last one removes it.

Only an image that a demo pulled or made is removed; a note says which one that is.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import IO

from tests.demo.waiting import until

BASE = "busybox:stable"
_TURN = 300.0  # seconds for another demo to make it


class BaseImage:
    """This demo's part in it. What is asked of it is asked inside `turn`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._note = folder / "demo-base.image"
        self._turn = (folder / "demo-base.turn").open("ab")
        self._users = (folder / "demo-base.users").open("ab")

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Inside, no other demo makes or removes it."""

        async def taken() -> bool:
            return _locked(self._turn, fcntl.LOCK_EX)

        await until(taken, f"another demo to be done with {BASE}", _TURN)
        try:
            yield
        finally:
            fcntl.flock(self._turn, fcntl.LOCK_UN)

    def join(self) -> None:
        """It is used, until `leave` or the end of this process."""
        _locked(self._users, fcntl.LOCK_SH)

    def leave(self) -> bool:
        """It is used no longer; whether that was the last one."""
        last = _locked(self._users, fcntl.LOCK_EX)
        fcntl.flock(self._users, fcntl.LOCK_UN)
        return last

    @property
    def made(self) -> str:
        """The id of the image that demos made, or nothing."""
        return self._note.read_text() if self._note.exists() else ""

    @made.setter
    def made(self, image: str) -> None:
        if image:
            self._note.write_text(image)
        else:
            self._note.unlink(missing_ok=True)

    def close(self) -> None:
        self._turn.close()
        self._users.close()


def cache(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder that tests/machine uses too."""
    return Path(environ.get("BLACKTREE_TEST_CACHE") or Path.home() / ".cache" / "blacktree")


def _locked(file: IO[bytes], how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
