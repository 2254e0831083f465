"""Docker Engine through its SDK, in threads of its own."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import threading
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import docker
import requests
import urllib3
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container as DockerContainer
from docker.types import LogConfig

from workers.engine.engine import (
    PREFIX,
    Command,
    Container,
    ContainerSpec,
    EngineDown,
    Image,
    StoredImage,
)
from workers.failure import final, ours, user

T = TypeVar("T")

_TIMEOUT = 30  # seconds for one answer of the engine
# Published ports are fixed, so that they survive a container's restart (Docker gives an ephemeral one
# anew), and lie below 32768, where Linux takes the ports of outgoing connections from.
_PORTS = range(22_000, 32_000)
_PORT_TRIES = 30
_REMOVING = 60  # seconds for one answer while it removes what may be many gigabytes
_LOOK = 0.1  # seconds between two looks at a command that runs
_COMMAND = PREFIX + "command"
_LONG_AGO = "0001-01-01T00:00:00Z"  # as Docker has it
_KEEP: Any = {"Name": "unless-stopped"}
_TAKEN = ("port is already allocated", "address already in use")


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

    async def about(self) -> str:
        version = await self._do(lambda client: client.version())
        return f"Docker {version.get('Version', '?')} at {self._where}"

    async def image(self, reference: str) -> Image | None:
        def look(client: docker.DockerClient) -> Image | None:
            try:
                return _image(client.images.get(reference).attrs)
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
            return await self._do(lambda client: _start(client, spec), finish=True)

    async def run(self, command: Command, output: Callable[[str], None]) -> int:
        made = await self._do(lambda client: _made(client, command, self._owner), finish=True)
        try:
            await self._do(lambda client: client.api.start(made))
            async with self.following(made, output):
                return await self._ended(made)
        except APIError as error:
            raise user("start_failed", f"The command cannot start: {_sentence(error)}") from None
        finally:
            await asyncio.shield(asyncio.ensure_future(self.remove(made, 0)))

    async def commands(self) -> list[Container]:
        return await self.containers({_COMMAND.removeprefix(PREFIX): self._owner})

    async def _ended(self, container: str) -> int:
        """Its exit code, waited for in as many questions as it takes: one that hangs is no end."""
        while True:
            found = await self._do(lambda client: client.api.inspect_container(container)["State"])
            if found["Status"] in ("exited", "dead"):
                return int(found["ExitCode"])
            await asyncio.sleep(_LOOK)

    async def keep(self, container: str) -> None:
        await self._do(lambda client: client.containers.get(container).update(restart_policy=_KEEP))

    async def container(self, container: str) -> Container | None:
        def look(client: docker.DockerClient) -> Container | None:
            try:
                return _container(client.api.inspect_container(container))
            except NotFound:
                return None

        return await self._do(look)

    async def containers(self, labels: Mapping[str, str]) -> list[Container]:
        wanted = {"label": [f"{PREFIX}{name}={value}" for name, value in labels.items()]}

        def look(client: docker.DockerClient) -> list[Container]:
            found = []
            for row in client.api.containers(all=True, filters=wanted):
                with contextlib.suppress(NotFound):
                    found.append(_container(client.api.inspect_container(row["Id"])))
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
    async def following(self, container: str, output: Callable[[str], None]) -> AsyncIterator[None]:
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
            await asyncio.wait({reading}, timeout=0.1)
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
            for row in client.api.networks(names=[f"^{name}$"]):
                # Docker itself minds only containers that run; one that is stopped would never start again.
                if client.api.containers(all=True, filters={"network": name}):
                    continue
                with contextlib.suppress(APIError):  # still in use
                    client.api.remove_network(row["Id"])

        async with self._networks:
            await self._do(remove, finish=True)

    async def networks(self, labels: Mapping[str, str]) -> list[str]:
        wanted = {"label": [f"{PREFIX}{name}={value}" for name, value in labels.items()]}
        rows = await self._do(lambda client: client.api.networks(filters=wanted))
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
                    found.append(_stored(client.images.get(row["Id"]).attrs, busy))
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
            raise EngineDown(f"Docker at {self._where}: {_sentence(error)}") from None

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


def _start(client: docker.DockerClient, spec: ContainerSpec) -> Container:
    if not client.api.networks(names=[f"^{spec.network}$"]):
        client.api.create_network(
            spec.network, driver="bridge", labels={PREFIX + "worker": spec.labels[PREFIX + "worker"]}
        )
    for _ in range(_PORT_TRIES):
        try:
            container = _create(client, spec, random.choice(_PORTS))  # noqa: S311
        except ImageNotFound:
            raise final("image_missing", f"The image {spec.image} is not on this worker any more") from None
        except APIError as error:
            if error.is_server_error():
                raise
            raise user("start_failed", f"The container cannot be made: {_sentence(error)}") from None
        try:
            container.start()
            container.reload()
            return _container(container.attrs)
        except APIError as error:
            container.remove(force=True, v=True)
            if not any(words in str(error) for words in _TAKEN):
                raise user("start_failed", f"The container cannot start: {_sentence(error)}") from None
        except BaseException:
            container.remove(force=True, v=True)
            raise
    raise ours("no_port", f"No port of {_PORTS.start}-{_PORTS.stop - 1} is free at {spec.address}")


def _made(client: docker.DockerClient, command: Command, owner: str) -> str:
    """The id of a container that is to run a command, and reaches nothing unless told."""
    try:
        made: DockerContainer = client.containers.create(
            command.image,
            entrypoint=[command.command[0]],
            command=list(command.command[1:]),
            name=command.name,
            environment=dict(command.env),
            labels={**command.labels, _COMMAND: owner},
            user=command.user,
            read_only=command.read_only,
            network=command.network or "none",
            volumes={volume: {"bind": path, "mode": "rw"} for volume, path in command.volumes.items()},
            mem_limit=command.limits.memory,
            memswap_limit=command.limits.memory,
            nano_cpus=round(command.limits.cpus * 1e9),
            pids_limit=command.limits.pids,
            security_opt=["no-new-privileges"],
            init=True,
            log_config=LogConfig(type=LogConfig.types.JSON, config={"max-size": "10m", "max-file": "3"}),
        )
    except ImageNotFound:
        raise final("image_missing", f"The image {command.image} is not on this worker any more") from None
    return str(made.id)


def _create(client: docker.DockerClient, spec: ContainerSpec, published: int) -> DockerContainer:
    return client.containers.create(
        spec.image,
        command=list(spec.command) if spec.command is not None else None,
        name=spec.name,
        environment=dict(spec.env),
        labels=dict(spec.labels),
        network=spec.network,
        ports={f"{spec.port}/tcp": (spec.address, published)},
        mem_limit=spec.limits.memory,
        memswap_limit=spec.limits.memory,
        nano_cpus=round(spec.limits.cpus * 1e9),
        pids_limit=spec.limits.pids,
        security_opt=["no-new-privileges"],
        init=True,
        log_config=LogConfig(type=LogConfig.types.JSON, config={"max-size": "10m", "max-file": "3"}),
    )


def _image(found: dict[str, Any]) -> Image:
    exposed = (found.get("Config") or {}).get("ExposedPorts") or {}
    ports = sorted(int(port.split("/")[0]) for port in exposed if not port.endswith(("/udp", "/sctp")))
    return Image(found["Id"], found.get("Size", 0), tuple(ports), tuple(found.get("RepoDigests") or ()))


def _stored(found: dict[str, Any], busy: Collection[str]) -> StoredImage:
    moments = (found.get("Metadata") or {}).get("LastTagTime"), found.get("Created"), _LONG_AGO
    return StoredImage(
        id=found["Id"],
        references=tuple(found.get("RepoTags") or ()),
        digests=tuple(found.get("RepoDigests") or ()),
        size=found.get("Size", 0),
        labels=(found.get("Config") or {}).get("Labels") or {},
        used=max(datetime.fromisoformat(moment) for moment in moments if moment),
        busy=found["Id"] in busy,
    )


def _container(found: dict[str, Any]) -> Container:
    state = found["State"]
    published = (found.get("HostConfig") or {}).get("PortBindings") or {}
    address = next((f"{to[0]['HostIp']}:{to[0]['HostPort']}" for to in published.values() if to), None)
    return Container(
        id=found["Id"],
        name=found["Name"].lstrip("/"),
        labels=found["Config"].get("Labels") or {},
        status=state["Status"],
        restarts=found.get("RestartCount", 0),
        exit_code=state.get("ExitCode", 0),
        out_of_memory=bool(state.get("OOMKilled")),
        address=address,
    )


def _sentence(error: Exception) -> str:
    text = str(getattr(error, "explanation", None) or error).strip()
    return text.splitlines()[0] if text else type(error).__name__
