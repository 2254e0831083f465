"""Passes TCP connections on: a process of its own, so that whatever goes through holds up no bot.

It is told on its standard input, a line of JSON each time: {"PORT": ["IP:PORT", ...]}, all there are. It
answers with the ports at which it could not listen. Where a port leads is looked up at each connection: so a
switch is one line, no connection meets it halfway, and those that are open stay with whom they are. It ends
with its input.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import resource
import socket
import sys
from collections import Counter
from collections.abc import Mapping, Sequence

import uvloop

_EACH, _MOST = 1024, 4096  # connections of a port, and of all
_SPARE = 1024  # files beside those of connections: its ports
_FILES = 2 * _MOST + _SPARE  # two for each connection
_BLOCK = 64 * 1024  # bytes at once; of a connection whose other side is slow some 330 KB are held, measured
_CONNECT = 5.0  # seconds
_IDLE, _AGAIN, _TIMES = 60, 15, 4  # seconds of silence, and then seconds and times until a side is given up


class Relay:
    """Listens at `host`."""

    def __init__(self, host: str, each: int = _EACH, most: int = _MOST) -> None:
        self._host = host or None
        self._each, self._most = each, most
        self._leads: dict[int, Sequence[str]] = {}
        self._servers: dict[int, asyncio.Server] = {}
        self._turn = itertools.count()
        self._open: Counter[int] = Counter()
        self._at_work: set[asyncio.Task[None] | None] = set()

    async def lead(self, leads: Mapping[int, Sequence[str]]) -> dict[int, str]:
        """Have ports lead there, and no others anywhere; at which it can't listen, and why."""
        self._leads = dict(leads)
        for port in self._servers.keys() - leads.keys():
            self._servers.pop(port).close()
        failed = {}
        for port in leads.keys() - self._servers.keys():
            try:
                self._servers[port] = await self._listening(port)
            except OSError as error:
                failed[port] = error.strerror or str(error)
        return failed

    async def _listening(self, port: int) -> asyncio.Server:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # Once one side has no more to say, nothing else knows its task, and it would be garbage.
            # https://docs.python.org/3/library/asyncio-task.html#asyncio.create_task
            task = asyncio.current_task()
            self._at_work.add(task)
            try:
                await self._serve(port, reader, writer)
            finally:
                self._at_work.discard(task)

        return await asyncio.start_server(serve, self._host, port, limit=_BLOCK)

    def close(self) -> None:
        for server in self._servers.values():
            server.close()

    async def _serve(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[port] += 1
        try:
            if self._open[port] <= self._each and self._open.total() <= self._most:
                await self._joined(port, reader, writer)
        finally:
            self._open[port] -= 1
            writer.transport.abort()

    async def _joined(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found = await self._connected(port)
        if found is None:
            return
        its_reader, its_writer = found
        try:
            for one in (writer, its_writer):
                _kept_alive(one)
            # Whichever side breaks ends both; one that only has no more to say does not.
            async with asyncio.TaskGroup() as both:
                both.create_task(_copied(reader, its_writer))
                both.create_task(_copied(its_reader, writer))
            for one in (writer, its_writer):
                one.close()
                await one.wait_closed()
        except* (OSError, EOFError):
            pass
        finally:
            its_writer.transport.abort()

    async def _connected(self, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """One of its containers after the other, and again: one may go just now, and another be there."""
        for _ in range(2):
            there = self._leads.get(port, ())
            begin = next(self._turn)
            for place in range(len(there)):
                host, _, number = there[(begin + place) % len(there)].rpartition(":")
                with contextlib.suppress(OSError, TimeoutError):
                    async with asyncio.timeout(_CONNECT):
                        return await asyncio.open_connection(host.strip("[]"), int(number), limit=_BLOCK)
        return None


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_BLOCK):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


def _kept_alive(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPIDLE, _IDLE), (socket.TCP_KEEPINTVL, _AGAIN), (socket.TCP_KEEPCNT, _TIMES),
        (socket.TCP_NODELAY, 1),
    ):  # fmt: skip
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


def at_once(files: int) -> int:
    """Pure: how many connections may be open where so many files may be."""
    return _MOST if files >= _FILES else max(1, (files - min(_SPARE, files // 4)) // 2)


async def main(host: str) -> None:
    """Until the end of the input."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = min(_FILES, hard) if hard > 0 else _FILES
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    relay, loop = Relay(host, most=at_once(files)), asyncio.get_running_loop()
    told = asyncio.StreamReader(limit=16 * 1024 * 1024)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(told), sys.stdin)
    while line := await told.readline():
        leads = {int(port): there for port, there in json.loads(line).items()}
        failed = await relay.lead(leads)
        os.write(1, json.dumps(failed).encode() + b"\n")
    os._exit(0)  # what is open ends as it would: the kernel closes it


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
