"""A Docker engine of one test's own, on a small disk of its own: it may be filled up, killed, restarted."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import docker

from tests.parts.child import Child
from tests.parts.engine import BASE_IMAGE
from tests.parts.part import PartMissing
from tests.parts.waiting import wait_for

_BASE_IMAGE = Path(__file__).parent.parent / "machine" / "baseimage"
_START = 30.0  # seconds


class Dockerd:
    """dockerd on a tmpfs of `size`, with the base image and a bridge of its own. Needs root."""

    client: docker.DockerClient

    def __init__(self, size: str = "1g", *flags: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="blacktree-dockerd-"))
        self.url = f"unix://{self.folder / 'socket'}"
        self.disk = self.folder / "data"
        self._address = str(self.folder / "containerd")
        self._size = size
        self._flags = flags
        self._bridge = f"bt{os.getpid()}{random.randrange(100)}"[-15:]
        self._network = f"10.{random.randrange(220, 250)}.{random.randrange(0, 250, 2)}"
        self._containerd: Child | None = None
        self._dockerd: Child | None = None

    @property
    def environ(self) -> dict[str, str]:
        """This process's, with this engine."""
        return {**os.environ, "DOCKER_HOST": self.url}

    def __enter__(self) -> Self:
        self.disk.mkdir()
        try:
            _run("mount", "-t", "tmpfs", "-o", f"size={self._size}", "blacktree-test", str(self.disk))
            _run("ip", "link", "add", self._bridge, "type", "bridge")
            _run("ip", "address", "add", f"{self._network}.1/24", "dev", self._bridge)
            _run("ip", "link", "set", self._bridge, "up")
            self._start_containerd()
            self.start()
            _run(str(_BASE_IMAGE), BASE_IMAGE, env=self.environ)
            self.client = docker.DockerClient(self.url)
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
        docker0 = _address("docker0")
        first, second, third = self._network.split(".")
        pool = f"{first}.{second}.{int(third) + 1}.0/24"
        argv = [
            "dockerd", "--data-root", str(self.disk), "--exec-root", str(self.folder / "exec"),
            "--pidfile", str(self.folder / "pid"), "--host", self.url, "--bridge", self._bridge,
            "--containerd", self._address, "--iptables=false",
            "--default-address-pool", f"base={pool},size=28", *self._flags,
        ]  # fmt: skip
        self._dockerd = Child(argv, os.environ, self.folder, self.folder / "log")
        wait_for(self._answers, f"dockerd ({self.folder / 'log'}) answers", _START)
        # One that finds its default network of before removes it, and with it docker0, whosever that is.
        if docker0 and not _address("docker0"):
            _run("ip", "link", "add", "docker0", "type", "bridge")
            _run("ip", "address", "add", docker0, "dev", "docker0")
            _run("ip", "link", "set", "docker0", "up")

    def kill(self) -> None:
        """kill -9, and what a build runs, which nobody else would end."""
        if self._dockerd is not None:
            self._dockerd.kill(patience=0.5)

    def stop(self) -> None:
        """SIGTERM, as a machine's own restart of it does."""
        if self._dockerd is not None:
            self._dockerd.terminate()

    def _answers(self) -> bool:
        done = subprocess.run(["docker", "version"], check=False, capture_output=True, env=self.environ)
        return done.returncode == 0

    def _remove(self) -> None:
        for child in (self._dockerd, self._containerd):
            if child is not None:
                child.terminate()
        for argv in (["umount", "--lazy", str(self.disk)], ["ip", "link", "delete", self._bridge]):
            subprocess.run(argv, check=False, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def _address(interface: str) -> str:
    """Its address with the length of its prefix; empty where there is none."""
    argv = ["ip", "-4", "-oneline", "address", "show", "dev", interface]
    words = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60).stdout.split()
    return words[words.index("inet") + 1] if "inet" in words else ""


def _run(*argv: str, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60, env=env)
    if done.returncode != 0:
        raise PartMissing(f"{' '.join(argv)}: {done.stderr.strip()}")
