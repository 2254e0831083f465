"""Where a container listens, as its own kernel tables say it."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Collection
from dataclasses import dataclass

import docker
from docker.errors import APIError

_TABLES = ["cat", "/proc/net/tcp", "/proc/net/tcp6"]
_LISTENS = "0A"  # https://www.kernel.org/doc/html/latest/networking/proc_net_tcp.html
_DOCKERS = "127.0.0.11"  # its name server, which listens in every container
_LARGEST = 256 * 1024  # bytes of an answer: it is a stranger's program that gives it


@dataclass(frozen=True, order=True)
class Listener:
    """An address and a port that something listens on."""

    address: str
    port: int

    @property
    def is_inside(self) -> bool:
        """Whether only the container itself reaches it."""
        return ipaddress.ip_address(self.address).is_loopback

    @property
    def is_ipv6(self) -> bool:
        return ":" in self.address

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if self.is_ipv6 else f"{self.address}:{self.port}"


def ask(client: docker.DockerClient, container: str) -> frozenset[Listener] | None:
    """What the container's `cat` tells; None where it has none, or does not run. It blocks."""
    with contextlib.suppress(APIError):
        command = client.api.exec_create(container, _TABLES)["Id"]
        stream = client.api.exec_start(command, stream=True)
        told = b""
        try:
            for piece in stream:
                told += piece
                if len(told) > _LARGEST:
                    return None
        finally:
            with contextlib.suppress(OSError):
                stream.close()
            stream._response.close()  # type: ignore[attr-defined]  # the SDK leaves its socket open
        if client.api.exec_inspect(command)["ExitCode"] == 0:
            return read(told.decode(errors="replace"))
    return None


def read(tables: str) -> frozenset[Listener]:
    """Pure: the kernel's tables for IPv4 and IPv6, one after another."""
    found = set()
    for line in tables.splitlines():
        with contextlib.suppress(ValueError, IndexError):
            _, local, _, state, *_ = line.split()
            address, _, port = local.partition(":")
            if state == _LISTENS:
                found.add(Listener(_address(address), int(port, 16)))
    return frozenset(one for one in found if one.address != _DOCKERS)


def _address(written: str) -> str:
    """Words of four bytes, each in the machine's own order."""
    raw = bytes.fromhex(written)
    return str(ipaddress.ip_address(b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))))


def advice(port: int, found: Collection[Listener]) -> str:
    """Pure: what to do where nothing answered at `port` from outside."""
    there = sorted(one for one in found if one.port == port)
    others = sorted({one.port for one in found if not one.is_inside and one.port != port})
    if there and all(one.is_inside for one in there):
        return f"It listens on {there[0]} alone, which nobody outside reaches: let it listen on 0.0.0.0"
    if there and all(one.is_ipv6 for one in there):
        return f"It listens on {there[0]} for IPv6 alone: let it listen on 0.0.0.0"
    if there:
        return ""
    if others:
        ports = " and ".join(map(str, others[:5]))
        return (
            f"It listens on {ports}: write `port: {others[0]}` in .blacktree.yml, or let it listen on {port}"
        )
    return "" if found else "It listens nowhere: is its `command` the server, and does it start in time?"
