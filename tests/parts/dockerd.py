"""A Docker engine of one test's own, on a small disk of its own: it may be filled up, killed, restarted."""

from __future__ import annotations

import os
import random
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv4Network
from pathlib import Path
from types import TracebackType
from typing import Self

import docker
import pytest

from tests.parts.child import Child
from tests.parts.engine import BASE_IMAGE, Engine
from tests.parts.part import PartMissing
from tests.parts.waiting import wait_for
from workers.engine.subnets import of_routes

_BASE_IMAGE = Path(__file__).parent.parent / "machine" / "baseimage"
_START = 300.0  # seconds, on a machine that is busy with what goes before it


@contextmanager
def engine_of_its_own(size: str) -> Iterator[Engine]:
    """A Dockerd on a disk of `size`, at which everything of this process finds its engine."""
    with Dockerd(size) as own, here(own) as part:
        yield part


@contextmanager
def here(own: Dockerd) -> Iterator[Engine]:
    """Everything of this process finds its engine there."""
    with pytest.MonkeyPatch.context() as environ:
        environ.setenv("DOCKER_HOST", own.url)
        with Engine() as part:
            yield part


class Dockerd:
    """dockerd on a tmpfs of `size`, with the base image and a bridge of its own. Needs root."""

    client: docker.DockerClient

    def __init__(self, size: str = "1g", *flags: str, netns: str = "") -> None:
        """`netns`: the network namespace that it is in, whose iptables it may have."""
        self.folder = Path(tempfile.mkdtemp(prefix="blacktree-dockerd-"))
        self.url = f"unix://{self.folder / 'socket'}"
        self.disk = self.folder / "data"
        self._address = str(self.folder / "containerd")
        self._size = size
        self._flags = flags
        self._bridge = f"bt{secrets.token_hex(6)}"
        self._network = _addresses()
        self._within = ["nsenter", f"--net=/run/netns/{netns}"] if netns else []
        self._iptables = bool(netns)
        self._containerd: Child | None = None
        self._dockerd: Child | None = None

    @property
    def environ(self) -> dict[str, str]:
        """This process's, with this engine."""
        return {**os.environ, "DOCKER_HOST": self.url}

    @property
    def gateway(self) -> str:
        """The address at which containers find their host."""
        return f"{self._network}.1"

    def __enter__(self) -> Self:
        self.disk.mkdir()
        try:
            _run("mount", "-t", "tmpfs", "-o", f"size={self._size}", "blacktree-test", str(self.disk))
            _run(*self._within, "ip", "link", "add", self._bridge, "type", "bridge")
            _run(*self._within, "ip", "address", "add", f"{self.gateway}/24", "dev", self._bridge)
            _run(*self._within, "ip", "link", "set", self._bridge, "up")
            self._rule("--append")
            self._start_containerd()
            self.start()
            _run(str(_BASE_IMAGE), BASE_IMAGE, env=self.environ)
            self.client = docker.DockerClient(self.url, timeout=180)
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()
        self._remove()

    def _start_containerd(self) -> None:
        """On its own, as on most machines: it lives on when dockerd is restarted, and with it what runs."""
        argv = ["containerd", "--root", str(self.disk / "containerd"), "--state", str(self.folder / "state"),
                "--address", self._address]  # fmt: skip
        self._containerd = Child(argv, os.environ, self.folder, self.folder / "log")
        wait_for(Path(self._address).exists, f"containerd ({self.folder / 'log'}) listens", _START)

    def start(self) -> None:
        """Returns when it answers."""
        first, second, third = self._network.split(".")
        pool = f"{first}.{second}.{int(third) + 1}.0/24"
        # One that has pools and finds its default network of before removes docker0, whosever that is.
        pools = [] if self._dockerd else ["--default-address-pool", f"base={pool},size=28"]
        argv = [
            *self._within, "dockerd", "--data-root", str(self.disk), "--exec-root", str(self.folder / "exec"),
            "--pidfile", str(self.folder / "pid"), "--host", self.url, "--bridge", self._bridge,
            "--containerd", self._address, f"--iptables={str(self._iptables).lower()}",
            *pools, *self._flags,
        ]  # fmt: skip
        self._dockerd = Child(argv, os.environ, self.folder, self.folder / "log")
        wait_for(self._answers, f"dockerd ({self.folder / 'log'}) answers", _START)

    def kill(self) -> None:
        """kill -9, and what a build runs, which nobody else would end."""
        if self._dockerd is not None:
            self._dockerd.kill(patience=0.5)

    def stop(self) -> None:
        """SIGTERM, as a machine's own restart of it does."""
        if self._dockerd is not None:
            self._dockerd.terminate()

    def _answers(self) -> bool:
        """Asked at its socket: a start of the command costs as much as many such answers."""
        try:
            with socket.socket(socket.AF_UNIX) as door:
                door.settimeout(5)
                door.connect(str(self.folder / "socket"))
                door.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return b" 200 " in door.recv(64)
        except OSError:
            return False

    def _rule(self, what: str) -> None:
        """Containers of one network reach each other, though the machine's dockerd has it that none does."""
        _run(*self._within, "iptables", "--wait", what, "FORWARD", "-m", "physdev", "--physdev-is-bridged",
             "-m", "comment", "--comment", self._bridge, "-j", "ACCEPT")  # fmt: skip

    def _remove(self) -> None:
        for child in (self._dockerd, self._containerd):
            if child is not None:
                child.terminate()
        with suppress(PartMissing):
            self._rule("--delete")
        links = [self._bridge, *self._bridges_of_networks()]
        for argv in (
            *(
                ["umount", "--lazy", str(mounted)]
                for mounted in (self.disk, *self.folder.glob("exec/netns/*"))
            ),
            *([*self._within, "ip", "link", "delete", link] for link in links),
        ):
            subprocess.run(argv, check=False, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _bridges_of_networks(self) -> list[str]:
        """What dockerd made for the networks that still are: nobody removes it when dockerd ends."""
        known = self.disk / "network" / "files" / "local-kv.db"
        named = re.findall(rb"br-[0-9a-f]{12}", known.read_bytes()) if known.exists() else []
        return sorted({name.decode() for name in named})


def _addresses() -> str:
    """The first three numbers of a /23 that nothing here has: for its bridge, and for networks."""
    routed = of_routes(Path("/proc/net/route").read_text(), IPv4Network("10.0.0.0/8"))
    every = [f"10.{second}.{third}" for second in range(220, 250) for third in range(0, 250, 2)]
    random.shuffle(every)
    return next(
        one for one in every if not any(IPv4Network(f"{one}.0/23").overlaps(route) for route in routed)
    )


def _run(*argv: str, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=_START, env=env)
    if done.returncode != 0:
        raise PartMissing(f"{' '.join(argv)}: {done.stderr.strip()}")
