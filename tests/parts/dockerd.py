"""A Docker engine of one test's own, on a small disk of its own: it may be filled up, killed, restarted."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
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
        self._size = size
        self._flags = flags
        self._bridge = f"bt{os.getpid()}{random.randrange(100)}"[-15:]
        self._network = f"10.{random.randrange(220, 250)}.{random.randrange(0, 250, 2)}"
        self._child: Child | None = None

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

    def start(self) -> None:
        """Returns when it answers."""
        first, second, third = self._network.split(".")
        pool = f"{first}.{second}.{int(third) + 1}.0/24"
        argv = [
            "dockerd", "--data-root", str(self.disk), "--exec-root", str(self.folder / "exec"),
            "--pidfile", str(self.folder / "pid"), "--host", self.url, "--bridge", self._bridge,
            "--iptables=false", "--default-address-pool", f"base={pool},size=28", *self._flags,
        ]  # fmt: skip
        self._child = Child(argv, os.environ, self.folder, self.folder / "log")
        wait_for(self._answers, f"dockerd ({self.folder / 'log'}) answers", _START)

    def kill(self) -> None:
        """kill -9, with its containerd: what it ran is gone, what it stored is not."""
        if self._child is not None:
            self._child.kill()
        # Numbers of processes that may not have been buried yet, which dockerd takes for living ones.
        for file in ("pid", "exec/containerd/containerd.pid"):
            (self.folder / file).unlink(missing_ok=True)

    async def killed(self) -> None:
        await asyncio.to_thread(self.kill)

    async def started(self) -> None:
        await asyncio.to_thread(self.start)

    def stop(self) -> None:
        """SIGTERM, as a machine's own restart of it does."""
        if self._child is not None:
            self._child.terminate()

    def _answers(self) -> bool:
        done = subprocess.run(["docker", "version"], check=False, capture_output=True, env=self.environ)
        return done.returncode == 0

    def _remove(self) -> None:
        if self._child is not None:
            self._child.terminate()
        # What an engine that was killed has started goes on, and what it has mounted stays mounted.
        for shim in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                if str(self.folder).encode() in shim.read_bytes():
                    os.kill(int(shim.parent.name), signal.SIGKILL)
        places = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        mounts = [place for place in reversed(places) if place.startswith(str(self.folder))]
        unmounting = [["umount", "--lazy", place] for place in mounts]
        for argv in (*unmounting, ["ip", "link", "delete", self._bridge]):
            subprocess.run(argv, check=False, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def _run(*argv: str, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60, env=env)
    if done.returncode != 0:
        raise PartMissing(f"{' '.join(argv)}: {done.stderr.strip()}")
