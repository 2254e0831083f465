"""Word between processes on one PostgreSQL, which passes it on: LISTEN and NOTIFY."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg
import structlog

from bot.store.changes import Changes
from bot.store.word import AGAIN, begin

_CHANNEL = "blacktree_changes"
_THERE = 0.02  # seconds in which what has come is read
_TOGETHER = 0.005  # seconds in which changes are told together

log = structlog.get_logger()


class PostgresWord:
    """By NOTIFY, on connections of its own: a transaction that notifies holds up all others that do."""

    def __init__(self, connect: Callable[[], dict[str, Any]]) -> None:
        """`connect` gives the arguments of a connection."""
        self._connect = connect
        self._me = secrets.token_hex(4)

    async def hear(self, changes: Changes, hears: asyncio.Event) -> None:
        while True:
            try:
                async with await self._connected() as connection:
                    await connection.execute(f"LISTEN {_CHANNEL}")
                    begin(changes, hears)
                    while True:
                        await _readable(connection.fileno())
                        async for notice in connection.notifies(timeout=_THERE):
                            sender, _, tables = notice.payload.partition(" ")
                            if sender != self._me:
                                changes.hear(tables.split())
            except (psycopg.Error, OSError) as error:
                hears.set()
                log.warning("others' changes are not heard", error=str(error), seconds=AGAIN)
            await asyncio.sleep(AGAIN)

    async def say(self, changes: Changes) -> None:
        while True:
            await changes.unsaid_any.wait()
            try:
                async with await self._connected() as connection:
                    while True:
                        await changes.unsaid_any.wait()
                        await asyncio.sleep(_TOGETHER)
                        await self._said(connection, changes)
            except (psycopg.Error, OSError) as error:
                log.warning("others do not hear of changes", error=str(error), seconds=AGAIN)
            await asyncio.sleep(AGAIN)

    async def farewell(self, changes: Changes) -> None:
        if changes.unsaid:
            with suppress(psycopg.Error, OSError):
                async with await self._connected() as connection:
                    await self._said(connection, changes)

    async def _said(self, connection: psycopg.AsyncConnection, changes: Changes) -> None:
        tables = sorted(changes.unsaid)
        changes.said(tables)  # what is changed from here on is news again
        try:
            await connection.execute("SELECT pg_notify(%s, %s)", (_CHANNEL, " ".join([self._me, *tables])))
        except BaseException:
            changes.unsay(tables)
            raise

    async def _connected(self) -> psycopg.AsyncConnection:
        return await psycopg.AsyncConnection.connect(**self._connect(), autocommit=True)


async def _readable(file: int) -> None:
    """Wait until something has come. psycopg would look ten times a second whether it is told to stop."""
    loop, come = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(file, come.set)
    try:
        await come.wait()
    finally:
        loop.remove_reader(file)
