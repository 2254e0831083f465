"""A proxy in front of an HTTP part, that fails as it is told and remembers what was asked."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from tests.parts.waiting import free_port

_CHUNK = 64 * 1024
_TLS = b"\x16"  # the first byte of a handshake


@dataclass
class Asked:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    sent: int = 0  # bytes of its body that went on


@dataclass
class Fault:
    """What happens to the next `times` requests that fit."""

    method: str
    path: str  # a regular expression
    times: int
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    cut_after: int = 0  # bytes of the request's body, after which both connections are cut


class Faults:
    """Serves on `port` whatever 127.0.0.1:`upstream` does."""

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.port = free_port()
        self.asked: list[Asked] = []
        self.replaced: tuple[bytes, bytes] | None = None  # in answers; as long as what it replaces
        self.gate = asyncio.Event()  # while clear, answers to `gated` wait
        self.gate.set()
        self.gated = ""
        self.at_gate = asyncio.Event()
        self._faults: list[Fault] = []
        self._serving: set[asyncio.Task[None]] = set()

    def fail(self, method: str, path: str, times: int = 1, status: int = 503, **more: object) -> None:
        self._faults.append(Fault(method, path, times, status, **more))  # type: ignore[arg-type]

    def cut(self, method: str, path: str, after: int) -> None:
        self._faults.append(Fault(method, path, 1, cut_after=after))

    def count(self, method: str, path: str = "") -> int:
        return len([one for one in self.asked if one.method == method and re.search(path, one.path)])

    @property
    def unspent(self) -> list[Fault]:
        """Faults that did not happen as often as they should."""
        return [fault for fault in self._faults if fault.times]

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Faults]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        try:
            yield self
        finally:
            server.close()
            for task in self._serving:
                task.cancel()
            await asyncio.gather(*self._serving, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                first = await reader.readexactly(1)
                if first != _TLS:  # engines try that first
                    await self._request(reader, writer, first + await reader.readuntil(b"\r\n\r\n"))
        finally:
            writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        asked = _read(head)
        self.asked.append(asked)
        fault = self._fault(asked)
        if fault and fault.status:
            await reader.readexactly(int(asked.headers.get("content-length", 0)))
            writer.write(_answer(fault))
            await writer.drain()
        else:
            await self._forward(reader, writer, head, asked, fault)

    def _fault(self, asked: Asked) -> Fault | None:
        for fault in self.unspent:
            if fault.method == asked.method and re.search(fault.path, asked.path):
                fault.times -= 1
                return fault
        return None

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        head: bytes,
        asked: Asked,
        fault: Fault | None,
    ) -> None:
        there, to_there = await asyncio.open_connection("127.0.0.1", self.upstream)
        # One request for each connection: what follows its head is its body, however that is coded.
        to_there.write(re.sub(rb"(?i)\r\nconnection:[^\r]*", b"", head)[:-2] + b"Connection: close\r\n\r\n")

        async def send() -> None:
            while chunk := await reader.read(_CHUNK):
                asked.sent += len(chunk)
                if fault and asked.sent > fault.cut_after:
                    writer.transport.abort()
                    to_there.transport.abort()
                    return
                to_there.write(chunk)
                await to_there.drain()

        sending = asyncio.create_task(send())
        try:
            answer = bytearray()
            while chunk := await there.read(_CHUNK):
                answer += chunk
            if self.gated and re.search(self.gated, f"{asked.method} {asked.path}"):
                self.at_gate.set()
                await self.gate.wait()
            writer.write(answer.replace(*self.replaced) if self.replaced else answer)
            await writer.drain()
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            to_there.close()


def _read(head: bytes) -> Asked:
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ", 2)
    pairs = (line.partition(":") for line in lines if line)
    return Asked(method, path, {name.lower(): value.strip() for name, _, value in pairs})


def _answer(fault: Fault) -> bytes:
    headers = {"Content-Length": str(len(fault.body)), "Connection": "close", **fault.headers}
    lines = [f"HTTP/1.1 {fault.status} Fault", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + f"\r\n\r\n{fault.body}").encode()
