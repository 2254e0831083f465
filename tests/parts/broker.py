"""RabbitMQ: a node of its own, with its own epmd, so that it meets no other on the machine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.parts.child import Child
from tests.parts.part import Part, require
from tests.parts.waiting import free_port, wait_for

# Not the wrappers of the same names on the PATH, which insist on a user and on folders of the machine.
_PROGRAMS = Path("/usr/lib/rabbitmq/bin")
_GREETING = b"AMQP\x00\x00\x09\x01"
_CONFIG = """\
listeners.tcp.1 = 127.0.0.1:{port}
log.console = true
log.console.level = warning
log.file = false
disk_free_limit.absolute = 50MB
"""


@dataclass(frozen=True)
class Queue:
    """A queue as the broker sees it: messages that wait, and those delivered but not answered yet."""

    name: str
    kind: str  # "classic" or "quorum"
    durable: bool
    ready: int
    unacknowledged: int
    consumers: int


class Broker(Part):
    """RabbitMQ, empty at the first start."""

    name = "broker"

    def __init__(
        self, external: str | None = None, node: str = "blacktree", epmd_port: int = 0, more: str = ""
    ) -> None:
        """`epmd_port`: where its cluster is registered; one of its own if 0. `more`: of its file."""
        super().__init__(external)
        self.node = f"{node}@localhost"
        self._more = more
        self._epmd: Child | None = None
        self._epmd_port = epmd_port
        self._distribution_port = 0

    @classmethod
    def from_environment(cls) -> Self:
        return cls(os.environ.get("BLACKTREE_TEST_AMQP_URL"))

    @property
    def amqp_url(self) -> str:
        return self.external or f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def prepare(self, folder: Path) -> None:
        server = _PROGRAMS / "rabbitmq-server"
        require(str(server) if server.exists() else None, self.name)
        self._distribution_port = free_port()
        (folder / "rabbitmq.conf").write_text(_CONFIG.format(port=self.port) + self._more)
        (folder / "environment").write_text("")
        (folder / "plugins").write_text("[].\n")
        cookie = folder / ".erlang.cookie"
        cookie.write_text("blacktree")
        cookie.chmod(0o400)
        if not self._epmd_port:
            self._epmd_port = free_port()
            self._epmd = started_epmd(self._epmd_port, folder)

    def command(self) -> Sequence[str]:
        # With this and RABBITMQ_ALLOW_INPUT each shell script `exec`s the next, down to the Erlang VM.
        return [str(_PROGRAMS / "rabbitmq-server"), "-noinput"]

    def environment(self) -> Mapping[str, str]:
        folder = self.folder
        return {
            **super().environment(),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_CTL_DIST_PORT_MIN": "12000",
            "RABBITMQ_CTL_DIST_PORT_MAX": "12099",
            "RABBITMQ_CONF_ENV_FILE": str(folder / "environment"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            # On small machines the VM's threads would spin for work that others could do.
            # Ticks, in ms: how often a quorum queue counts its messages, and a channel looks for what was not
            # acknowledged in time: 5000 and 60000 by default.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none"
            " -rabbit quorum_tick_interval 500 -rabbit channel_tick_interval 500",
        }

    def ready(self) -> bool:
        """The listener is opened last; then it answers the protocol's greeting with a frame on channel 0."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1.0) as connection:
                connection.sendall(_GREETING)
                return connection.recv(3) == b"\x01\x00\x00"
        except OSError:
            return False

    def close(self) -> None:
        super().close()
        if self._epmd:
            self._epmd.kill()
            self._epmd = None

    def list_queues(self) -> list[Queue]:
        """What the broker holds, told by itself: takes a second, and a quorum queue's counts lag by 0.1 s."""
        columns = ["name", "type", "durable", "messages_ready", "messages_unacknowledged", "consumers"]
        told = self._control("--formatter", "json", "list_queues", *columns)
        return [
            Queue(
                name=row["name"],
                kind=str(row["type"]).removeprefix("rabbit_").removesuffix("_queue"),
                durable=row["durable"],
                ready=row["messages_ready"],
                unacknowledged=row["messages_unacknowledged"],
                consumers=row["consumers"],
            )
            for row in json.loads(told)
        ]

    def empty(self) -> None:
        """Without any queue, as at its first start, and much sooner than that."""
        self._control(
            "eval", '[rabbit_amqqueue:delete(Q, false, false, <<"tests">>) || Q <- rabbit_amqqueue:list()].'
        )

    def trace(self) -> None:
        """From now on a copy of every message goes to the exchange amq.rabbitmq.trace, until a restart."""
        self._control("trace_on")

    def define(self, definitions: str) -> None:
        """Add users and what they may, as JSON."""
        self._control("import_definitions", given=definitions.encode())

    def control(self, *arguments: str) -> str:
        """What rabbitmqctl answers."""
        return self._control(*arguments).decode()

    def _control(self, *arguments: str, given: bytes = b"") -> bytes:
        self._ours("ask by rabbitmqctl about")
        return subprocess.run(
            [str(_PROGRAMS / "rabbitmqctl"), "-q", *arguments],
            env=dict(self.environment()),
            cwd=self.folder,
            input=given,
            capture_output=True,
            check=True,
            timeout=300,
        ).stdout


def started_epmd(port: int, folder: Path) -> Child:
    """Erlang's registry of names: it stays while nodes go down and come back."""
    environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": str(folder)}
    argv = ["epmd", "-port", str(port), "-address", "127.0.0.1"]
    child = Child(argv, environment, folder, folder / "epmd.log")

    def listens() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            return False
        return True

    wait_for(listens, "epmd starts")
    return child
