"""The relay of TCP ports as a child of the bot, told where they lead whenever that changes.

Each bot has one: ports are open on the machine of each. It ends with its bot, and what goes through it too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from bot.store import tcp_ports
from bot.store.database import Store, heard
from bot.store.tables import Release, TcpPort

_POLL = 5.0  # seconds: how soon a port that something else had is listened at
_ANSWER, _STOP = 30.0, 5.0  # seconds

log = structlog.get_logger()


@dataclass(frozen=True)
class TcpRelays:
    """`host`: the address that is listened at, empty for all."""

    store: Store
    host: str

    async def run(self) -> None:
        """Until cancelled, or the child ends."""
        failed: dict[str, str] = {}
        with self.store.changes(Release, TcpPort) as changed:
            async with _child(self.host) as child:
                while True:
                    changed.clear()
                    async with self.store.reading() as session:
                        leads = await tcp_ports.leading(session)
                    before, failed = failed, await _told(child, leads)
                    for port, why in failed.items():
                        if before.get(port) != why:
                            log.error("a TCP port is not listened at", port=port, why=why)
                    await heard(changed, _POLL)


async def _told(child: asyncio.subprocess.Process, leads: dict[int, list[str]]) -> dict[str, str]:
    """Raises ConnectionError where it is gone."""
    assert child.stdin is not None and child.stdout is not None, "they are pipes"  # noqa: S101, PT018
    child.stdin.write(json.dumps(leads).encode() + b"\n")
    async with asyncio.timeout(_ANSWER):
        await child.stdin.drain()
        line = await child.stdout.readline()
    if not line:
        raise ConnectionResetError("the relay of TCP ports has ended")
    found: dict[str, str] = json.loads(line)
    return found


@asynccontextmanager
async def _child(host: str) -> AsyncIterator[asyncio.subprocess.Process]:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bot.routing.tcp_relay",
        host,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={},  # it needs nothing of what the bot knows
        start_new_session=True,
    )
    try:
        yield child
    finally:
        assert child.stdin is not None, "it is a pipe"  # noqa: S101
        child.stdin.close()
        try:
            async with asyncio.timeout(_STOP):
                await child.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
