"""Word between the processes on one store of what each has changed: none waits for a poll to see it.

PostgreSQL passes it on (LISTEN, NOTIFY); a SQLite file has a counter that is cheap to look at.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing, suppress
from typing import Protocol

import structlog

from bot.store.changes import Changes

_LOOK = 0.5  # seconds between two looks at a file's counter
AGAIN = 2.0  # seconds until what was cut is tried again

log = structlog.get_logger()


class Word(Protocol):
    """How this process hears of others' changes, and they of its own."""

    async def hear(self, changes: Changes, hears: asyncio.Event) -> None:
        """Until cancelled: tell `changes` what others change, from when on it `hears`."""

    async def say(self, changes: Changes) -> None:
        """Until cancelled: tell others what `changes` has."""

    async def farewell(self, changes: Changes) -> None:
        """Tell what nobody was told yet."""


class FileWord:
    """By the counter of the SQLite file `database`, which each commit of another connection moves."""

    def __init__(self, database: str) -> None:
        self._database = database

    async def hear(self, changes: Changes, hears: asyncio.Event) -> None:
        while True:
            with suppress(sqlite3.Error):
                await self._look(changes, hears)
            await asyncio.sleep(AGAIN)

    async def say(self, changes: Changes) -> None:
        """The commit has said it."""

    async def farewell(self, changes: Changes) -> None:
        """The commit has said it."""

    async def _look(self, changes: Changes, hears: asyncio.Event) -> None:
        with closing(sqlite3.connect(self._database, timeout=0, check_same_thread=False)) as connection:
            last = _version(connection)
            begin(changes, hears)
            while True:
                await asyncio.sleep(_LOOK)
                if (here := await _looked(connection)) != last:
                    last = here
                    changes.anything()


async def _looked(connection: sqlite3.Connection) -> int:
    """Whoever is cancelled meanwhile waits for the thread: to close a connection under it is a crash."""
    looking = asyncio.create_task(asyncio.to_thread(_version, connection))
    try:
        return await asyncio.shield(looking)
    finally:
        await asyncio.wait({looking})


def _version(connection: sqlite3.Connection) -> int:
    """https://www.sqlite.org/pragma.html#pragma_data_version."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def begin(changes: Changes, hears: asyncio.Event) -> None:
    """From here on all is heard. What was said while nobody could hear it may be anything."""
    if hears.is_set():
        changes.anything()
    hears.set()
