"""The connection to RabbitMQ that comes back: it is watched, and opened again until it is closed."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self
from urllib.parse import unquote, urlsplit

import structlog
from aio_pika import Connection
from aio_pika.connection import make_url
from aio_pika.exceptions import CONNECTION_EXCEPTIONS, InvalidFrameError, ProbableAuthenticationError

from workers.contract.broker_link import Link
from workers.contract.broker_topology import Topology
from workers.contract.queue import QueueDown

log = structlog.get_logger()

_CONNECT = 10.0  # seconds that one try may take
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 5.0  # seconds between two tries, before jitter
_HEARTBEAT = 15  # seconds; a silent peer is given up after three. https://www.rabbitmq.com/docs/heartbeats
_PORTS = {"amqp": 5672, "amqps": 5671}
_SHAPE = "amqp://USER:PASSWORD@HOST:PORT/VHOST or amqps://…, with special characters as %XX"


class BrokerConnection:
    """Gives the link of now."""

    def __init__(self, url: str, topology: Topology, name: str) -> None:
        self._url = url
        self._topology = topology
        self._name = name
        self.place = place(url)
        self._link: Link | None = None
        self._why = "not connected yet"
        self._up = asyncio.Event()
        self._since = math.inf

    @classmethod
    @asynccontextmanager
    async def opened(cls, url: str, topology: Topology, name: str, wait: float) -> AsyncIterator[Self]:
        """Connected at first, and again after each loss. Raises QueueDown if it cannot in `wait` seconds."""
        connection = cls(url, topology, name)
        link = await connection._first(wait)
        log.info("queue connected", queue=connection.place)
        watching = asyncio.create_task(connection._watch(link), name="queue connection")
        try:
            yield connection
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            if connection._link is not None:
                await connection._link.close()

    @property
    def connected_at(self) -> float:
        """time.monotonic() of the last connect; infinity while there is no connection."""
        return self._since

    def now(self) -> Link:
        """The link, if there is one. Raises QueueDown."""
        if self._link is None or self._link.gone.done():
            raise QueueDown(f"{self.place}: {self._why}")
        return self._link

    async def link(self) -> Link:
        """The link, as soon as there is one."""
        while True:
            await self._up.wait()
            with contextlib.suppress(QueueDown):
                return self.now()

    async def _first(self, wait: float) -> Link:
        deadline = time.monotonic() + wait
        pause = _FIRST_WAIT
        while True:
            try:
                return await self._connect()
            except QueueDown:
                if time.monotonic() + pause > deadline:
                    raise
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_WAIT)

    async def _watch(self, link: Link) -> None:
        while True:
            await asyncio.wait({link.gone})
            lost_at = time.monotonic()
            log.warning("queue lost", queue=self.place, cause=link.cause)
            await link.close()
            link = await self._again()
            log.info("queue reconnected", queue=self.place, seconds=round(time.monotonic() - lost_at, 1))

    async def _again(self) -> Link:
        pause = _FIRST_WAIT
        while True:
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311
            try:
                return await self._connect()
            except QueueDown as error:
                self._why = str(error).removeprefix(f"{self.place}: ")
            except Exception as error:
                log.exception("queue connection broke")
                self._why = type(error).__name__
            pause = min(pause * 2, _LONGEST_WAIT)

    async def _connect(self) -> Link:
        """One try. Raises QueueDown with the cause, and without credentials."""
        connection = Connection(make_url(self._url, heartbeat=_HEARTBEAT, name=self._name))
        link: Link | None = None
        try:
            async with asyncio.timeout(_CONNECT):
                await connection.connect()
                link = Link(connection, self.place, self._topology, self._lost)
                await link.open()
        except BaseException as error:
            await (link.close() if link else connection.close())
            if isinstance(error, (*CONNECTION_EXCEPTIONS, ssl.SSLError)):
                raise QueueDown(f"{self.place}: {_cause(error)}") from None
            raise
        self._link = link
        self._since = time.monotonic()
        self._up.set()
        return link

    def _lost(self) -> None:
        if self._link is not None and self._link.gone.done():
            self._why = self._link.cause
            self._since = math.inf
            self._up.clear()


def place(url: str) -> str:
    """The broker that a URL names, for people: host, port and vhost. Raises QueueDown if it names none."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        host, port = None, 0
    if not host:
        raise QueueDown(f"the queue's address cannot be read: it should be {_SHAPE}") from None
    if ":" in host:
        host = f"[{host}]"
    return f"RabbitMQ at {host}:{port}/{unquote(parts.path[1:])}"


def _cause(error: BaseException) -> str:
    reason = error.__cause__ if isinstance(error.__cause__, OSError) else error
    if isinstance(error, ProbableAuthenticationError):
        return "it refused the user or the password"
    if isinstance(error, InvalidFrameError) and "Connection.OpenOk" in str(error):
        return "there is no such vhost, or the user may not use it"
    if isinstance(reason, TimeoutError):
        return f"no answer in {_CONNECT:g} s"
    if isinstance(reason, ssl.SSLError):
        return f"no TLS: {reason.reason or reason}"
    if isinstance(reason, ConnectionRefusedError) or "Connect call failed" in str(reason):
        return "connection refused"
    return str(error.args[-1]) if error.args else type(error).__name__
