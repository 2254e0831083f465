"""A command in a container that somebody watches while it runs."""

from __future__ import annotations

from typing import Protocol

from workers.contract.shells import Printed


class Watched(Protocol):
    """It is about to run, or runs, or has ended. Each method raises EngineDown."""

    @property
    def session(self) -> str:
        """By which an engine ends what is left of it."""

    async def read(self) -> Printed | None:
        """What it prints next; None at its end."""

    async def write(self, data: bytes) -> None:
        """Waits until it took that, or the kernel for it. What nobody reads any more is lost."""

    def eof(self) -> None:
        """Its input has ended. A terminal has no such end: whoever types it says so."""

    async def resize(self, rows: int, columns: int) -> None:
        """Tell it how large its terminal is; one that has just ended does not hear it."""

    async def code(self) -> int | None:
        """How it ended, once nothing is read any more; None where its container is gone."""

    async def close(self) -> None:
        """Nothing of it is left in the container, whatever it did, and nothing here."""
