"""The engine and the base image: started or made if they are not there, and gone again if they were not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from tests.demo.base import BASE, BaseImage, cache
from tests.demo.waiting import DemoFailed, until

T = TypeVar("T")

_SCRIPTS = Path(__file__).parent.parent / "machine"
_LAUNCHED = "starting dockerd"  # what `engine start` says when it had to
_HUB = ("registry-1.docker.io", 443)
_KNOCK = 2.0  # seconds for a registry to answer at all
_SCRIPT = 300.0  # seconds for one of tests/machine
_ANSWER = 60  # seconds for one answer of the engine
_GONE = 90.0  # seconds for all of the demo to be gone from the engine


class Machine:
    """What the demo makes in the engine carries one of `labels`, each NAME=VALUE."""

    def __init__(self) -> None:
        self.labels: list[str] = []
        self._docker: docker.DockerClient | None = None
        self._starting: asyncio.Task[str] | None = None
        self._base = BaseImage(cache())
        self._volumes: set[str] = set()

    async def start(self) -> bool:
        """Connect to the engine; whether it had to be started for that. Raises DemoFailed."""
        if not await asyncio.to_thread(self._connect):
            # To its end even if the demo is interrupted: a dockerd that is half started can't be stopped.
            self._starting = asyncio.create_task(_script("engine", "start"))
            await asyncio.shield(self._starting)
            if not await asyncio.to_thread(self._connect):
                raise DemoFailed("the Docker engine was started, but does not answer")
        return await self._started()

    async def _started(self) -> bool:
        """Whether an engine was started for this demo: one that somebody else started is not stopped here."""
        if self._starting is None:
            return False
        with contextlib.suppress(DemoFailed):
            return _LAUNCHED in await self._starting
        return False

    async def base_image(self) -> str | None:
        """Get the sample's base image; how, or None if it was there."""
        async with self._base.turn():
            self._base.join()
            if await self._do(_image, BASE):
                return None
            pull = await asyncio.to_thread(_registry_answers) or await self._do(_has_a_way_out)
            try:
                await _script("baseimage", *(["--pull"] if pull else []), BASE)
            finally:
                if image := await self._do(_image, BASE):
                    self._base.made = str(image.id)
            return "pulled" if await self._do(_repo_digests, BASE) else "made on this machine"

    async def containers(self, label: str) -> list[str]:
        """Names of the containers with that label."""
        return await self._do(lambda client: [str(one.name) for one in _containers(client, label)])

    async def clean(self) -> list[str]:
        """Remove all of the demo from the engine, and the engine if it was started; what is left."""
        if self._docker is not None:
            left: list[str] = []

            async def gone() -> bool:
                left[:] = await self._do(self._remove)
                return not left

            try:
                await until(gone, "the engine to be clean", _GONE)
                async with self._base.turn():
                    await self._do(self._remove_base)
            except (DemoFailed, requests.RequestException, DockerException) as error:
                left = left or [f"the engine could not be cleaned: {error}"]
            shared = await self._others_run()
            self._docker.close()
            self._base.close()
            if left or shared:
                return left
        if await self._started():
            try:
                await _script("engine", "stop")
            except DemoFailed as error:
                return [f"the engine could not be stopped: {error}"]
        return []

    async def _others_run(self) -> bool:
        try:
            return bool(await self._do(lambda client: client.containers.list()))
        except (requests.RequestException, DockerException):
            return False

    def _connect(self) -> bool:
        try:
            self._docker = docker.from_env(timeout=_ANSWER)
            self._docker.ping()
        except (requests.RequestException, DockerException):
            self._docker = None
        return self._docker is not None

    async def _do(self, work: Callable[..., T], *arguments: str) -> T:
        assert self._docker is not None, "started"
        return await asyncio.to_thread(work, self._docker, *arguments)

    def _remove(self, client: docker.DockerClient) -> list[str]:
        """Remove what can be removed; what there was before, so nothing is left when this is empty."""
        found = self._found(client)
        for _, one, how in found:
            # What something of the demo still uses is found again by the next look.
            with contextlib.suppress(NotFound, APIError):
                one.remove(**how)
        return list(dict.fromkeys(name for name, _, _ in found))

    def _found(self, client: docker.DockerClient) -> list[tuple[str, Any, dict[str, bool]]]:
        """Kind and name, the thing, and how it is removed."""
        here = [container for label in self.labels for container in _containers(client, label)]
        mounts = [mount for container in here for mount in container.attrs.get("Mounts", ())]
        self._volumes |= {mount["Name"] for mount in mounts if mount.get("Type") == "volume"}
        marked = [{"label": label} for label in self.labels]
        networks = [network for mark in marked for network in client.networks.list(filters=mark)]
        volumes = [volume for volume in client.volumes.list() if volume.name in self._volumes]
        images = [image for mark in marked for image in client.images.list(filters=mark)]
        return [
            *((f"container {one.name}", one, {"force": True, "v": True}) for one in here),
            *((f"network {one.name}", one, {}) for one in networks),
            *((f"volume {one.name}", one, {"force": True}) for one in volumes),
            *((f"image {(*one.tags, one.id)[0]}", one, {"force": True}) for one in images),
        ]

    def _remove_base(self, client: docker.DockerClient) -> None:
        last, image = self._base.leave(), _image(client, BASE)
        if last and image and str(image.id) == self._base.made:
            image.remove(force=True)
        if last:
            self._base.made = ""


def _containers(client: docker.DockerClient, label: str) -> list[Any]:
    return client.containers.list(all=True, ignore_removed=True, filters={"label": label})


def _image(client: docker.DockerClient, name: str) -> Any | None:
    try:
        return client.images.get(name)
    except ImageNotFound:
        return None


def _repo_digests(client: docker.DockerClient, name: str) -> bool:
    image = _image(client, name)
    return bool(image and image.attrs.get("RepoDigests"))


def _registry_answers() -> bool:
    try:
        socket.create_connection(_HUB, timeout=_KNOCK).close()
    except OSError:
        return False
    return True


def _has_a_way_out(client: docker.DockerClient) -> bool:
    """Whether the engine reaches registries in another way than this machine does."""
    about = client.info()
    mirrors = (about.get("RegistryConfig") or {}).get("Mirrors")
    return bool(about.get("HttpsProxy") or mirrors) or "DOCKER_HOST" in os.environ


async def _script(name: str, *arguments: str) -> str:
    """What one of tests/machine says, out of reach of the terminal's Ctrl-C. Raises DemoFailed with it."""
    child = await asyncio.create_subprocess_exec(
        str(_SCRIPTS / name), *arguments, start_new_session=True, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_SCRIPT):
            said, _ = await child.communicate()
    except BaseException as error:
        if child.returncode is None:
            os.killpg(child.pid, signal.SIGTERM)
            await child.wait()
        if isinstance(error, TimeoutError):
            raise DemoFailed(f"tests/machine/{name} did not end within {_SCRIPT:g} s") from None
        raise
    if child.returncode != 0:
        raise DemoFailed(said.decode(errors="replace").strip() or f"tests/machine/{name} failed")
    return said.decode(errors="replace")
