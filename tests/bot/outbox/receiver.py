"""Whoever is told: a real HTTP server on the loopback, which keeps what it gets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

SECONDS = 120.0  # a courier imports apprise, which takes a busy machine long


@dataclass
class Got:
    """A request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """Answers `statuses` one after the other, then 200; nothing, while `silent`."""

    port: int = 0
    got: list[Got] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    silent: bool = False
    came: asyncio.Condition = field(default_factory=asyncio.Condition)
    lines: list[asyncio.StreamWriter] = field(default_factory=list)

    @classmethod
    @asynccontextmanager
    async def listening(cls) -> AsyncIterator[Receiver]:
        made = cls()
        server = await asyncio.start_server(made._answer, "127.0.0.1", 0)
        made.port = server.sockets[0].getsockname()[1]
        try:
            yield made
        finally:
            server.close()
            for line in made.lines:
                line.close()
                with suppress(ConnectionError):
                    await line.wait_closed()

    async def has(self, many: int) -> list[Got]:
        """What came, once there is so much of it."""
        async with asyncio.timeout(SECONDS), self.came:
            await self.came.wait_for(lambda: len(self.got) >= many)
        return self.got

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.lines.append(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.split("\r\n")
            named = (line.partition(": ") for line in lines if line)
            headers = {name.lower(): value for name, _, value in named}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            status = self.statuses.pop(0) if self.statuses else 200
            async with self.came:
                self.got.append(Got(first.split(" ")[1], headers, body))
                self.came.notify_all()
            if not self.silent:
                writer.write(
                    f"HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode()
                )
                await writer.drain()
                writer.close()


async def until(true: Callable[[], Any]) -> Any:
    """Wait for a condition, whose value is given."""
    async with asyncio.timeout(SECONDS):
        while not (found := await true()):  # noqa: ASYNC110 (what is waited for is in the store)
            await asyncio.sleep(0.05)
    return found
