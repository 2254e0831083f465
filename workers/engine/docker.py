"""Docker Engine through its SDK, in threads of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import docker
import requests
import urllib3
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from workers.engine import containers, making
from workers.engine.engine import (
    PREFIX,
    Command,
    Container,
    ContainerSpec,
    EngineDown,
    Happening,
    Image,
    StoredImage,
)
from workers.engine.making import sentence
from workers.engine.swarm import DockerSwarm
from workers.failure import ours, user

T = TypeVar("T")

_TIMEOUT = 30  # seconds for one answer of the engine
_REMOVING = 60  # seconds for one answer while it removes what may be many gigabytes
_LOOK = 0.1  # seconds between two looks at a command that runs
# With unless-stopped an engine that was killed takes its containers for stopped by somebody, once it is back
# (seen with 20.10 beside a containerd of its own). What is to be stopped, we stop for good.
_POLICIES = {"unless-stopped": "always", "on-failure": "on-failure", "no": "no"}
_EVENTS = ["start", "die", "oom", "health_status"]
_LAST_OUTPUT = 5.0  # seconds that the output of a command that has ended may take to arrive


class DockerEngine:
    """The engine at DOCKER_HOST, or at its usual socket. `owner` marks what is one worker's alone."""

    def __init__(self, environ: Mapping[str, str], owner: str = "") -> None:
        self._owner = owner
        self._environ = dict(environ)
        self._where = environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
        self._threads = ThreadPoolExecutor(32, thread_name_prefix="engine")
        self._connected: docker.DockerClient | None = None
        self._connecting = threading.Lock()
        self._networks = asyncio.Lock()
        self.swarm = DockerSwarm(self._do, self._where)

    async def about(self) -> str:
        version = await self._do(lambda client: client.version())
        return f"Docker {version.get('Version', '?')} at {self._where}"

    async def image(self, reference: str) -> Image | None:
        def look(client: docker.DockerClient) -> Image | None:
            try:
                return containers.image(client.images.get(reference).attrs)
            except ImageNotFound:
                return None

        return await self._do(look)

    async def tag(self, image: str, reference: str) -> None:
        name, _, tag = reference.rpartition(":")
        await self._do(lambda client: client.api.tag(image, name, tag, force=True))

    async def untag(self, reference: str) -> None:
        def remove(client: docker.DockerClient) -> None:
            with contextlib.suppress(ImageNotFound):
                client.api.remove_image(reference)

        await self._do(remove)

    async def tags(self, prefix: str) -> list[str]:
        images = await self._do(lambda client: client.api.images())
        tags = [tag for image in images for tag in image.get("RepoTags") or []]
        return [tag for tag in tags if tag.rpartition(":")[2].startswith(prefix)]

    async def start(self, spec: ContainerSpec) -> Container:
        async with self._networks:
            return await self._do(lambda client: making.start(client, spec, self._where), finish=True)

    async def run(self, command: Command, output: Callable[[str], None]) -> int:
        async with self._networks:
            made = await self._do(
                lambda client: making.made(client, command, self._owner, self._where), finish=True
            )
        try:
            await self._do(lambda client: client.api.start(made))
            async with self.following(made, output, _LAST_OUTPUT):
                return await self._ended(made)
        except APIError as error:
            raise user("start_failed", f"The command cannot start: {sentence(error)}") from None
        finally:
            await asyncio.shield(asyncio.ensure_future(self.remove(made, 0)))

    async def commands(self) -> list[Container]:
        return await self.containers({making.COMMAND: self._owner})

    async def _ended(self, container: str) -> int:
        """Its exit code, waited for in as many questions as it takes: one that hangs is no end."""
        while True:
            found = await self._do(lambda client: client.api.inspect_container(container)["State"])
            if found["Status"] in ("exited", "dead"):
                return int(found["ExitCode"])
            await asyncio.sleep(_LOOK)

    async def keep(self, container: str, policy: str) -> None:
        kept: Any = {"Name": _POLICIES[policy]}
        await self._do(lambda client: client.containers.get(container).update(restart_policy=kept))

    async def stop(self, container: str, grace: float) -> None:
        await self._do(
            lambda client: client.api.stop(container, timeout=round(grace)), patience=grace, finish=True
        )

    async def again(self, container: str) -> None:
        try:
            await self._do(lambda client: client.api.start(container), finish=True)
        except APIError as error:
            raise ours("start_failed", f"The container cannot start again: {sentence(error)}") from None

    async def rename(self, container: str, name: str) -> None:
        await self._do(lambda client: client.api.rename(container, name), finish=True)

    async def container(self, container: str) -> Container | None:
        def look(client: docker.DockerClient) -> Container | None:
            try:
                return containers.container(client.api.inspect_container(container))
            except NotFound:
                return None

        return await self._do(look)

    async def containers(self, labels: Mapping[str, str]) -> list[Container]:
        wanted = _wanted(labels)

        def look(client: docker.DockerClient) -> list[Container]:
            found = []
            for row in client.api.containers(all=True, filters=wanted):
                with contextlib.suppress(NotFound):
                    found.append(containers.container(client.api.inspect_container(row["Id"])))
            return found

        return await self._do(look)

    async def last_lines(self, container: str, lines: int) -> str:
        def read(client: docker.DockerClient) -> bytes:
            try:
                said: bytes = client.api.logs(container, tail=lines)
            except NotFound:
                return b""
            return said

        return (await self._do(read)).decode(errors="replace")

    @contextlib.asynccontextmanager
    async def following(
        self, container: str, output: Callable[[str], None], last: float = 0.1
    ) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        stream = await self._do(lambda client: client.api.logs(container, stream=True, follow=True))
        open_ = True

        def take(text: str) -> None:
            if open_:
                output(text)

        def read() -> None:
            with contextlib.suppress(Exception):  # closing it from outside is how it ends
                for piece in stream:
                    loop.call_soon_threadsafe(take, piece.decode(errors="replace"))
            with contextlib.suppress(Exception):
                stream._response.close()  # type: ignore[attr-defined]  # the SDK leaves its socket open

        reading = loop.run_in_executor(self._threads, read)
        try:
            yield
            await asyncio.wait({reading}, timeout=last)
        finally:
            open_ = False
            with contextlib.suppress(Exception):
                stream.close()

    async def remove(self, container: str, grace: float) -> None:
        def remove(client: docker.DockerClient) -> None:
            with contextlib.suppress(NotFound):
                client.api.stop(container, timeout=round(grace))
                try:
                    client.api.remove_container(container, v=True, force=True)
                except APIError as error:
                    if error.status_code != 409:
                        raise
                    # Somebody else is removing it: a stop and the heartbeat may want the same one gone.
                    client.api.wait(container, timeout=_TIMEOUT, condition="removed")

        await self._do(remove, patience=grace, finish=True)

    async def remove_network(self, name: str) -> None:
        def remove(client: docker.DockerClient) -> None:
            making.remove_networks(client, making.named(client, name))

        async with self._networks:
            await self._do(remove, finish=True)

    async def networks(self, labels: Mapping[str, str]) -> list[str]:
        rows = await self._do(lambda client: client.api.networks(filters=_wanted(labels)))
        return [row["Name"] for row in rows]

    async def root(self) -> Path | None:
        if not self._where.startswith("unix://"):
            return None

        def look(client: docker.DockerClient) -> Path | None:
            root = Path(client.info()["DockerRootDir"])
            return root if root.is_dir() else None

        return await self._do(look)

    async def images(self) -> list[StoredImage]:
        def look(client: docker.DockerClient) -> list[StoredImage]:
            rows = client.api.images(filters={"label": PREFIX + "repository"})
            busy = {row["ImageID"] for row in client.api.containers(all=True)}
            found = []
            for row in rows:
                with contextlib.suppress(ImageNotFound):
                    found.append(containers.stored(client.images.get(row["Id"]).attrs, busy))
            return found

        return await self._do(look)

    async def note_use(self, image: StoredImage) -> None:
        names = [reference.rpartition(":")[0] for reference in image.references]
        names += [digest.partition("@")[0] for digest in image.digests]

        def note(client: docker.DockerClient) -> None:
            # Docker notes when an image was tagged, and no other use. Its other tags may just be moving on.
            tag = f"used-{image.id.removeprefix('sha256:')[:12]}"
            for name in names[:1]:
                with contextlib.suppress(ImageNotFound):
                    client.api.tag(image.id, name, tag, force=True)

        await self._do(note)

    async def remove_image(self, image: str) -> None:
        def remove(client: docker.DockerClient) -> None:
            with contextlib.suppress(ImageNotFound):
                found = client.images.get(image).attrs
                for name in (*(found["RepoTags"] or ()), *(found["RepoDigests"] or ()), image):
                    # The last name takes the image along, and a name's last tag its digests.
                    with contextlib.suppress(ImageNotFound):
                        client.api.remove_image(name)

        try:
            await self._patiently(remove)
        except APIError as error:
            if error.status_code != 409:
                raise

    async def prune_cache(self, keep: int) -> int:
        answer = await self._patiently(lambda client: client.api.prune_builds(keep_storage=keep, all=True))
        return int(answer.get("SpaceReclaimed") or 0)

    async def _patiently(self, work: Callable[[docker.DockerClient], T]) -> T:
        """`_do` for what may take long: what is removed when the engine is given up on stays removed."""
        environment = self._environ

        def long(_: docker.DockerClient) -> T:
            with contextlib.closing(
                docker.DockerClient.from_env(environment=environment, timeout=_REMOVING, version="auto")
            ) as client:
                return work(client)

        return await self._do(long, patience=_REMOVING)

    async def make_volumes(self, names: Iterable[str], labels: Mapping[str, str]) -> list[str]:
        def make(client: docker.DockerClient) -> list[str]:
            there = {row["Name"] for row in client.api.volumes()["Volumes"] or []}
            made = [name for name in names if name not in there]
            for name in made:
                client.api.create_volume(name, labels=dict(labels))
            return made

        return await self._do(make, finish=True)

    async def volumes(self, labels: Mapping[str, str]) -> list[str]:
        found = await self._do(lambda client: client.api.volumes(filters=_wanted(labels)))
        return [row["Name"] for row in found["Volumes"] or []]

    async def remove_volume(self, name: str) -> bool:
        def remove(client: docker.DockerClient) -> bool:
            try:
                client.api.remove_volume(name)
            except NotFound:
                return True
            except APIError as error:
                if error.status_code != 409:  # in use
                    raise
                return False
            return True

        return await self._do(remove, finish=True)

    async def watch(self, noticed: Callable[[Happening], None]) -> None:
        loop = asyncio.get_running_loop()
        wanted = {"type": "container", "event": _EVENTS}
        stream = await self._do(lambda client: client.api.events(filters=wanted, decode=True))

        def read() -> None:
            with contextlib.suppress(Exception):  # closing it from outside is how it ends
                for event in stream:
                    loop.call_soon_threadsafe(noticed, containers.happening(event))

        try:
            await loop.run_in_executor(self._threads, read)
            raise EngineDown(f"Docker at {self._where} tells no more events")
        finally:
            with contextlib.suppress(Exception):
                stream.close()

    def close(self) -> None:
        connected, self._connected = self._connected, None
        if connected is not None:
            connected.close()

    async def _do(
        self, work: Callable[[docker.DockerClient], T], *, patience: float = 0, finish: bool = False
    ) -> T:
        """`work` in a thread. With `finish` a cancellation waits for it: half done, it would leave things."""
        future = asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(self._client()))
        try:
            async with asyncio.timeout(_TIMEOUT + patience):
                return await (asyncio.shield(future) if finish else future)
        except asyncio.CancelledError:
            if finish:
                await asyncio.wait({future}, timeout=_TIMEOUT + patience)
                if future.done() and not future.cancelled():
                    future.exception()
            raise
        except TimeoutError:
            raise EngineDown(f"Docker at {self._where} does not answer") from None
        except (requests.RequestException, urllib3.exceptions.HTTPError, DockerException) as error:
            if isinstance(error, APIError) and not error.is_server_error():
                raise
            raise EngineDown(f"Docker at {self._where}: {sentence(error)}") from None

    def _client(self) -> docker.DockerClient:
        _knock(self._where)
        with self._connecting:
            if self._connected is None:
                self._connected = docker.DockerClient.from_env(
                    environment=self._environ, timeout=_TIMEOUT, max_pool_size=32, version="auto"
                )
            return self._connected


def _knock(where: str) -> None:
    """Raises EngineDown with a plain reason; the SDK's are long, and leave a socket open."""
    if not where.startswith("unix://"):
        return
    try:
        with socket.socket(socket.AF_UNIX) as door:
            door.settimeout(_TIMEOUT)
            door.connect(where.removeprefix("unix://"))
    except OSError as error:
        raise EngineDown(f"Docker at {where} does not answer ({error.strerror or error})") from None


def _wanted(labels: Mapping[str, str]) -> dict[str, list[str]]:
    """The SDK's filter for all of `labels`."""
    return {"label": [f"{PREFIX}{name}={value}" for name, value in labels.items()]}
