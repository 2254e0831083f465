"""Where the broker is: the nodes that a URL names, and by which certificates both ends know each other."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from config.settings import Settings
from workers.contract.queue import QueueDown, QueueLow, QueueRefused

_PORTS = {"amqp": 5672, "amqps": 5671}
# As in URLs of PostgreSQL, several hosts stand where one does: `amqps://USER:PASSWORD@ONE,TWO:5671/VHOST`.
_AUTHORITY = re.compile(r"(?P<before>[^:/?#]+://(?:[^/?#]*@)?)(?P<hosts>[^/?#@]*)(?P<after>.*)", re.S)
_SHAPE = (
    "amqp://USER:PASSWORD@HOST:PORT/VHOST or amqps://…, with special characters as %XX; further nodes of a "
    "cluster by commas: HOST:PORT,HOST:PORT"
)


@dataclass(frozen=True)
class Certificates:
    """Files in PEM: whom we believe to be the broker, and what we show it."""

    authority: Path | None = None
    own: Path | None = None
    key: Path | None = None  # in `own` too, if there is none

    @classmethod
    def of(cls, settings: Settings) -> Certificates:
        return cls(settings.queue_ca, settings.queue_certificate, settings.queue_key)

    def context(self) -> ssl.SSLContext | None:
        """Read anew each time, since certificates change while we run; None where there are none of ours.

        Raises QueueRefused with the setting that is wrong.
        """
        if self == Certificates():
            return None
        context = ssl.create_default_context()
        if self.authority is not None:
            try:
                context = ssl.create_default_context(cafile=self.authority)
            except OSError as error:
                raise QueueRefused(f"BLACKTREE_QUEUE_CA: {self.authority}: {_why(error)}") from None
        if self.own is not None:
            try:
                # Without a password it would be asked for at the terminal.
                context.load_cert_chain(self.own, self.key, password="")
            except OSError as error:
                names = "BLACKTREE_QUEUE_CERTIFICATE, BLACKTREE_QUEUE_KEY"
                raise QueueRefused(f"{names}: {self.own}, {self.key or self.own}: {_why(error)}") from None
        return context


def nodes(url: str) -> list[str]:
    """A URL for each node that `url` names. Raises QueueRefused if it names none."""
    parts = _AUTHORITY.fullmatch(url)
    hosts = parts["hosts"].split(",") if parts else []
    found = [f"{parts['before']}{host.strip()}{parts['after']}" for host in hosts if parts]
    for node in found or [url]:
        _node(node)
    return found


def place(url: str) -> str:
    """The broker that a URL names, for people: hosts, ports and vhost. Raises QueueRefused for no address."""
    found = [_node(node) for node in nodes(url)]
    return f"RabbitMQ at {', '.join(node for node, _ in found)}/{found[0][1]}"


def todo(error: QueueDown) -> str:
    """What somebody has to do about it."""
    if isinstance(error, QueueLow):
        return "give RabbitMQ's machine memory or disk, or raise its limits (docs/operations.md#rabbitmq)"
    return "start RabbitMQ, or correct BLACKTREE_QUEUE_URL"


def _node(url: str) -> tuple[str, str]:
    """Host and port, and the vhost as the URL names it."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        host, port, parts = None, 0, urlsplit("")
    if not host:
        raise QueueRefused(f"the queue's address cannot be read: it should be {_SHAPE}") from None
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}", unquote(parts.path[1:])


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"no certificate or key in PEM, or not of each other ({error.reason or error})"
    return error.strerror or str(error)
