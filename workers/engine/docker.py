"""Docker Engine through its SDK, in threads of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, TypeVar

import docker
import requests
import urllib3
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.utils import parse_host

from workers.contract.failure import ours, user
from workers.engine import containers, listening, making, printed, subnets, used
from workers.engine.engine import (
    PREFIX,
    PULLED,
    Bridge,
    Command,
    Container,
    ContainerSpec,
    Ended,
    EngineDown,
    EngineRefused,
    Happening,
    Image,
    StoredImage,
)
from workers.engine.following import Following
from workers.engine.listening import Listener
from workers.engine.making import sentence
from workers.engine.ours import Ours
from workers.engine.piping import Piped
from workers.engine.printed import PrintedLine
from workers.engine.swarm import DockerSwarm
from workers.engine.terminal import Terminal, end
from workers.engine.used import Used
from workers.engine.watched import Watched
from workers.process.threads import to_the_end

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
    """The engine at DOCKER_HOST, or at its usual socket. `owner` marks what is one worker's alone.

    Networks get their `addresses`.
    """

    def __init__(
        self, environ: Mapping[str, str], owner: str = "", addresses: IPv4Network = subnets.RANGE
    ) -> None:
        self._owner = owner
        self._addresses = addresses
        self._environ = dict(environ)
        self._where = environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
        self._threads = ThreadPoolExecutor(32, thread_name_prefix="engine")
        self._connected: docker.DockerClient | None = None
        self._connecting = threading.Lock()
        self._networks = asyncio.Lock()
        self._ours = Ours()
        self._last: Callable[[str], Awaitable[None]] | None = None
        self.swarm = DockerSwarm(self._do, self._where)

    async def about(self) -> str:
        version = await self._do(lambda client: client.version())
        return f"Docker {version.get('Version', '?')} at {self._where}"

    async def architecture(self) -> str:
        version = await self._do(lambda client: client.version())
        return str(version.get("Arch", ""))

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
            return await self._do(
                lambda client: making.start(client, spec, self._where, self._addresses), finish=True
            )

    async def run(self, command: Command, output: Callable[[str], None]) -> int:
        async with self._networks:
            made = await self._do(
                lambda client: making.made(client, command, self._owner, self._where, self._addresses),
                finish=True,
            )
        try:
            await self._do(lambda client: client.api.start(made))
            async with self.following(made, output, _LAST_OUTPUT):
                return await self._ended(made)
        except APIError as error:
            raise user("start_failed", f"The command cannot start: {sentence(error)}") from None
        finally:
            await asyncio.shield(asyncio.ensure_future(self.remove(made, 0)))

    async def said_by(self, container: str, command: Sequence[str], take: Callable[[bytes], None]) -> Ended:
        return await self._piped(container, command, lambda piped: piped.printed(take))

    async def fed(self, container: str, command: Sequence[str], pieces: Iterable[bytes]) -> Ended:
        return await self._piped(container, command, lambda piped: piped.fed(pieces))

    async def _piped(self, container: str, command: Sequence[str], work: Callable[[Piped], Ended]) -> Ended:
        """`work` in a thread, for as long as it takes: cancelled, the command ends, and so does that."""
        piped = await self._do(lambda client: Piped(client, container, command))  # nothing starts yet
        working = asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(piped))
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            await to_the_end(piped.cut)
            await asyncio.wait({working})
            working.exception()
            raise
        except (requests.RequestException, urllib3.exceptions.HTTPError, DockerException) as error:
            raise EngineDown(f"Docker at {self._where}: {sentence(error)}") from None

    async def shell(
        self, container: str, command: Sequence[str], *, tty: bool, term: str, rows: int, columns: int
    ) -> Watched:
        terminal = await self._do(lambda client: Terminal(client, container, command, tty=tty, term=term))
        try:
            await terminal.begin(rows, columns)
        except BaseException:
            await asyncio.shield(asyncio.ensure_future(terminal.close()))
            raise
        return terminal

    async def end_session(self, container: str, session: str) -> None:
        await self._do(lambda client: end(client, container, session), finish=True)

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

    async def join(self, container: str, network: str, alias: str, room: int, worker: str) -> None:
        owner, addresses = {PREFIX + "worker": worker}, self._addresses
        async with self._networks:
            await self._do(
                lambda client: making.join(client, container, network, alias, room, owner, addresses),
                finish=True,
            )

    async def leave(self, container: str, network: str) -> None:
        def disconnect(client: docker.DockerClient) -> None:
            with contextlib.suppress(NotFound):
                client.api.disconnect_container_from_network(container, network)

        async with self._networks:
            await self._do(disconnect, finish=True)

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
                    if self._ours.has(client, row):
                        found.append(containers.container(client.api.inspect_container(row["Id"])))
            return found

        return await self._do(look)

    async def listening(self, container: str) -> frozenset[Listener] | None:
        return await self._do(lambda client: listening.ask(client, container))

    async def last_lines(self, container: str, lines: int) -> str:
        def read(client: docker.DockerClient) -> bytes:
            try:
                said: bytes = client.api.logs(container, tail=lines)
            except APIError as error:
                if error.status_code not in (404, 409):  # gone, or just going
                    raise
                return b""
            return said

        return (await self._do(read)).decode(errors="replace")

    async def printed(self, container: str, since: int, lines: int) -> list[PrintedLine]:
        return await self._unless_gone(lambda client: printed.ask(client, container, since, lines)) or []

    async def used(self, container: str) -> Used | None:
        return await self._unless_gone(lambda client: used.ask(client, container))

    async def _unless_gone(self, work: Callable[[docker.DockerClient], T]) -> T | None:
        try:
            return await self._do(work)
        except APIError as error:
            if error.status_code not in (404, 409):  # gone, or just going
                raise
            return None

    def before_removal(self, last: Callable[[str], Awaitable[None]]) -> None:
        self._last = last

    @contextlib.asynccontextmanager
    async def following(
        self, container: str, output: Callable[[str], None], last: float = 0.1
    ) -> AsyncIterator[None]:
        stream = await self._stream(lambda client: client.api.logs(container, stream=True, follow=True))
        following = Following(output)

        def read() -> None:
            with contextlib.suppress(Exception):  # closing it from outside is how it ends
                following.read(stream)
            with contextlib.suppress(Exception):
                stream._response.close()  # type: ignore[attr-defined]  # the SDK leaves its socket open

        reading = asyncio.get_running_loop().run_in_executor(self._threads, read)
        try:
            yield
            await asyncio.wait({reading}, timeout=last)
        finally:
            following.close()
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

        def stop(client: docker.DockerClient) -> None:
            with contextlib.suppress(NotFound):
                client.api.stop(container, timeout=round(grace))

        try:
            if self._last is not None:
                await self._do(stop, patience=grace, finish=True)
                await self._last(container)
        finally:
            await self._do(remove, patience=grace, finish=True)

    async def remove_network(self, name: str) -> None:
        def remove(client: docker.DockerClient) -> None:
            making.remove_networks(client, making.named(client, name))

        async with self._networks:
            await self._do(remove, finish=True)

    async def networks(self, labels: Mapping[str, str]) -> list[str]:
        rows = await self._do(lambda client: client.api.networks(filters=_wanted(labels)))
        return [row["Name"] for row in rows]

    async def bridges(self, worker: str) -> list[Bridge]:
        return containers.bridges(await self._do(lambda client: client.api.networks()), worker)

    async def root(self) -> Path | None:
        if not self._where.startswith("unix://"):
            return None

        def look(client: docker.DockerClient) -> Path | None:
            root = Path(client.info()["DockerRootDir"])
            return root if root.is_dir() else None

        return await self._do(look)

    async def images(self) -> list[StoredImage]:
        def look(client: docker.DockerClient) -> list[StoredImage]:
            rows = {
                row["Id"]: row
                for which in ({"label": PREFIX + "repository"}, {"reference": f"{PULLED}/*"})
                for row in client.api.images(filters=which)
            }.values()
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
            for mark in (one for one in image.references if one.startswith(f"{PULLED}/")):
                name, _, tag = mark.rpartition(":")
                client.api.tag(image.id, name, tag, force=True)
                return
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
        stream = await self._stream(lambda client: client.api.events(filters=wanted, decode=True))

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

    async def _stream(self, opened: Callable[[docker.DockerClient], T]) -> T:
        """What the SDK streams; if it opens when nobody waits for it any more it is closed."""
        opening = asyncio.ensure_future(self._do(opened))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_closed)
            raise

    def _client(self) -> docker.DockerClient:
        _knock(self._where)
        with self._connecting:
            if self._connected is None:
                self._connected = docker.DockerClient.from_env(
                    environment=self._environ, timeout=_TIMEOUT, max_pool_size=32, version="auto"
                )
            return self._connected


def _closed(opening: asyncio.Future[Any]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        with contextlib.suppress(Exception):
            opening.result().close()
        with contextlib.suppress(Exception):
            opening.result()._response.close()  # the SDK leaves its socket open


def _knock(where: str) -> None:
    """Raises EngineDown with a plain reason; the SDK's are long, and leave a socket open."""
    if not where.startswith("unix://"):
        try:
            parse_host(where)
        except DockerException as error:
            raise EngineRefused(f"Docker at {where} cannot be: {error}") from None
        return
    try:
        with socket.socket(socket.AF_UNIX) as door:
            door.settimeout(_TIMEOUT)
            door.connect(where.removeprefix("unix://"))
    except PermissionError:
        raise EngineRefused(f"Docker at {where} may not be used by this user") from None
    except OSError as error:
        raise EngineDown(f"Docker at {where} does not answer ({error.strerror or error})") from None


def _wanted(labels: Mapping[str, str]) -> dict[str, list[str]]:
    """The SDK's filter for all of `labels`."""
    return {"label": [f"{PREFIX}{name}={value}" for name, value in labels.items()]}
