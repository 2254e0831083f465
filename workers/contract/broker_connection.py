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
from dataclasses import dataclass, field
from typing import Self

import structlog
from aio_pika import Connection
from aio_pika.connection import make_url
from aio_pika.exceptions import (
    CONNECTION_EXCEPTIONS,
    IncompatibleProtocolError,
    InvalidFrameError,
    ProbableAuthenticationError,
)

from config.outages import Outside, Waits, answered, told
from workers.contract.broker_address import Certificates, nodes, place
from workers.contract.broker_link import Absent, Link
from workers.contract.broker_topology import Topology
from workers.contract.queue import QueueDown, QueueLow, QueueRefused

log = structlog.get_logger()

_CONNECT = 10.0  # seconds that one try may take
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 5.0  # seconds between two tries, before jitter
_LASTED = 10.0  # seconds after which a connection that is lost again was a good one
_HEARTBEAT = 15  # seconds; a silent peer is given up after three. https://www.rabbitmq.com/docs/heartbeats
_ATTENDED = 3.0  # seconds between two looks whether the broker takes what is sent
_LOW = "it takes nothing: it is low on memory or disk (see there: rabbitmq-diagnostics alarms)"
_ABSENT = (
    "the bot has not been at this queue yet: is `blacktree serve` up, with the same QUEUE_URL and "
    "QUEUE_PREFIX ({})?"
)


_OURS = "maybe it wants another certificate of ours (BLACKTREE_QUEUE_CERTIFICATE)"


@dataclass(frozen=True)
class Login:
    """At the broker, for a URL that names no user."""

    user: str
    password: str = field(repr=False)


class Unopened(QueueRefused):
    """Connected, but let into no vhost. So ends a broker too that is just being stopped."""


class BrokerConnection:
    """Gives the link of now. The bot's end has no `login`, and declares what there is at the broker."""

    def __init__(
        self,
        url: str,
        topology: Topology,
        name: str,
        login: Login | None = None,
        certificates: Certificates | None = None,
        *,
        speaks: bool = True,
    ) -> None:
        """Raises QueueRefused. `name` is for whoever looks at the broker.

        `speaks`: whether things are sent over it, so that it is looked at whether the broker takes them. One
        that does not is never held up by an alarm: https://www.rabbitmq.com/docs/alarms
        """
        self.place = place(url)
        self._nodes = nodes(url)
        random.shuffle(self._nodes)  # so that not all are at the same node
        self._topology = topology
        self._name = name
        self._login = login
        self._certificates = certificates or Certificates()
        self._speaks = speaks
        self._link: Link | None = None
        self._why = "not connected yet"
        self._up = asyncio.Event()
        self._since = math.inf
        self.alarm = False  # whether the broker takes nothing, being low on memory or disk

    @asynccontextmanager
    async def opened(self, wait: float | None) -> AsyncIterator[Self]:
        """Connected at first, and again after each loss. Raises QueueDown if it cannot in `wait` seconds.

        Where `wait` is None nothing is waited for: what is away is connected as soon as it is there. Who is
        refused at first is told so in any case (QueueRefused). Where the bot has never been, a worker waits
        for it for as long as that takes.
        """
        link = await self._first(wait)
        watching = asyncio.create_task(self._watch(link), name="queue connection")
        try:
            yield self
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            if self._link is not None:
                await self._link.close()

    @property
    def connected_at(self) -> float:
        """time.monotonic() since when things pass; infinity while there is no connection, or an alarm."""
        return self._since

    def now(self) -> Link:
        """The link, if there is one over which things pass. Raises QueueDown."""
        if self._link is None or self._link.gone.done():
            raise QueueDown(f"{self.place}: {self._why}")
        if self.alarm:
            raise QueueLow(f"{self._link.place}: {_LOW}")
        return self._link

    async def asked(self) -> str:
        """What is there, for people, and has taken something just now. Raises QueueDown, QueueLow."""
        link = self.now()
        if not (await link.takes() and await link.takes()):
            raise QueueLow(f"{link.place}: {_LOW}")
        return link.place.replace("RabbitMQ", link.software, 1)

    async def link(self) -> Link:
        """The link, as soon as there is one."""
        while True:
            await self._up.wait()
            with contextlib.suppress(QueueDown):
                return self.now()

    async def _first(self, wait: float | None) -> Link | None:
        """The first link; None where there is none yet, and nobody waits for it."""
        deadline, unopened = time.monotonic() + (wait or 0.0), 0

        def away(error: Exception) -> str:
            nonlocal unopened
            if isinstance(error, Absent):
                return _ABSENT.format(self._topology.prefix)
            unopened += isinstance(error, Unopened)
            refused = isinstance(error, QueueRefused) and unopened != 1
            if refused or not isinstance(error, QueueDown) or time.monotonic() >= deadline:
                return ""
            return self._cause(error)

        try:
            link = await answered(Waits("the queue", queue=self.place), self._connect, away)
        except QueueDown as error:
            if wait is not None or isinstance(error, QueueRefused):
                raise
            self._why = self._cause(error)
            return None
        log.info("queue connected", queue=link.place)
        return link

    async def _watch(self, link: Link | None) -> None:
        pause = _FIRST_WAIT
        while True:
            begun = lost_at = time.monotonic()
            if link is not None:
                await self._attend(link)
                lost_at = time.monotonic()
                log.warning("queue lost", queue=link.place, cause=link.cause)
                await link.close()
            pause = min(pause * 2, _LONGEST_WAIT / 2) if lost_at - begun < _LASTED else _FIRST_WAIT
            again = await self._again(pause)
            what = "queue connected" if link is None else "queue reconnected"
            log.info(what, queue=again.place, seconds=round(time.monotonic() - lost_at, 1))
            link = again

    async def _attend(self, link: Link) -> None:
        """Until it has gone. A broker that takes nothing is as good as away, for whoever sends something."""
        while not link.gone.done():
            if not self._speaks or await link.takes():
                await asyncio.wait({link.gone}, timeout=_ATTENDED if self._speaks else None)
                continue
            begun = time.monotonic()
            self.alarm, self._since = True, math.inf
            self._up.clear()
            log.warning("queue takes nothing", queue=link.place, why=_LOW)
            await link.taking()
            self.alarm = False
            if not link.gone.done():
                self._since = time.monotonic()
                self._up.set()
                log.info("queue takes again", queue=link.place, seconds=round(self._since - begun, 1))

    async def _again(self, pause: float) -> Link:
        """A link, whatever it takes: who is refused by a broker that was there before may be let in again."""
        waits = Waits("the queue", queue=self.place)
        while True:
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311
            try:
                return await self._connect()
            except Exception as error:
                self._why = self._cause(error)
                if not isinstance(error, QueueDown):
                    told(log, "queue connection broke", error)
            waits.say(self._why)
            pause = min(pause * 2, _LONGEST_WAIT)

    def _cause(self, error: Exception) -> str:
        why = str(error) if isinstance(error, Outside) else type(error).__name__
        return why.removeprefix(f"{self.place}: ")

    async def _connect(self) -> Link:
        """One try of each node. Raises QueueDown with the causes, and without credentials."""
        failed: list[QueueDown] = []
        for _ in range(len(self._nodes)):
            try:
                return await self._connect_to(self._nodes[0])
            except QueueDown as error:
                failed.append(error)
                self._nodes.append(self._nodes.pop(0))
        # Where one of them may be back waiting helps.
        away = next((error for error in failed if not isinstance(error, QueueRefused)), failed[0])
        raise type(away)("; ".join(dict.fromkeys(map(str, failed))))

    async def _connect_to(self, node: str) -> Link:
        url = make_url(node, heartbeat=_HEARTBEAT, name=self._name)
        if self._login is not None and url.user is None:
            url = url.with_user(self._login.user).with_password(self._login.password)
        there = place(node)
        try:
            trusted = await asyncio.to_thread(self._certificates.context)
        except QueueRefused as error:
            raise QueueRefused(f"{there}: {error}") from None
        connection = Connection(url, ssl_context=trusted)
        link: Link | None = None
        try:
            async with asyncio.timeout(_CONNECT):
                await connection.connect()
                declares = self._login is None
                link = Link(connection, there, self._topology, self._lost, declares=declares)
                await link.open()
        except BaseException as error:
            await (link.close() if link else connection.close())
            if isinstance(error, (*CONNECTION_EXCEPTIONS, ssl.SSLError)):
                raise _kind(error)(f"{there}: {_cause(error, tls=url.scheme == 'amqps')}") from None
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


def _kind(error: BaseException) -> type[QueueDown]:
    """Whether the broker is away, or there and will not have us: then another try ends as this one."""
    reason = error.__cause__ if isinstance(error.__cause__, OSError) else error
    cut = isinstance(reason, ssl.SSLEOFError | ssl.SSLZeroReturnError | ssl.SSLSyscallError)
    if isinstance(reason, ssl.SSLError) and not cut:
        return QueueRefused
    if isinstance(error, InvalidFrameError) and "Connection.OpenOk" in str(error):
        return Unopened
    return QueueRefused if isinstance(error, ProbableAuthenticationError) else QueueDown


def _cause(error: BaseException, *, tls: bool) -> str:
    reason = error.__cause__ if isinstance(error.__cause__, OSError) else error
    if isinstance(error, ProbableAuthenticationError):
        return "it refused the user or the password"
    if isinstance(error, InvalidFrameError) and "Connection.OpenOk" in str(error):
        return "there is no such vhost, or the user may not use it"
    if isinstance(reason, TimeoutError):
        return f"no answer in {_CONNECT:g} s"
    if isinstance(reason, ssl.SSLError):
        ours = f"; {_OURS}" if "_ALERT_" in (reason.reason or "") else ""  # which the other side tells
        return f"no TLS: {reason.reason or reason}{ours}"
    if isinstance(reason, ConnectionResetError | IncompatibleProtocolError) and tls:
        return f"it ended the connection; {_OURS}"
    if isinstance(reason, ConnectionRefusedError) or "Connect call failed" in str(reason):
        return "connection refused"
    return str(error.args[-1]) if error.args else type(error).__name__
