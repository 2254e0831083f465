"""Workers as containers of the worker's image, on one engine or several, by the docker SDK.

A worker's settings are copied into its container before it starts: they are in no argument and no
environment, which whoever may look at containers would see.
"""

from __future__ import annotations

import asyncio
import io
import ipaddress
import tarfile
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import structlog

from bot.fleet.scaling.provider import Found, Listed, Machine, Newcomer, ProviderDown
from config.errors import ConfigError
from config.pools import Pool

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

T = TypeVar("T")

# Not those by which a worker finds containers that it started itself.
LABELS = "io.blacktree.scaling."
FOLDER = "/run/blacktree"
_SOCKET = "/var/run/docker.sock"
_TIMEOUT = 30  # seconds for one call
_GRACE = 10  # seconds between SIGTERM and SIGKILL for a worker without jobs
_SAID = 300  # characters of what one said last

log = structlog.get_logger()


class Containers:
    """Those of one pool and one instance of Blacktree, on the engines `hosts`."""

    every = 3.0

    def __init__(
        self, pool: Pool, instance: str, hosts: Sequence[str], environ: Mapping[str, str] | None = None
    ) -> None:
        """`environ`: where docker's settings for TLS are.

        Raises ConfigError where the docker SDK is missing, and for an engine that whoever reaches it may use.
        """
        try:
            import docker
        except ImportError:
            raise ConfigError(
                f"POOLS: {pool.name}: containers need the docker SDK here: pip install 'blacktree[scaling]'"
            ) from None
        known = dict(environ or {})
        if open_ := [host for host in hosts if not _guarded(host, known)]:
            raise ConfigError(
                f"POOLS: {pool.name}: {open_[0]} is a port that anyone may use who reaches it: set "
                "DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH, as for docker itself, or use ssh:// or unix://"
            )
        self._connect: Callable[[str], DockerClient] = lambda host: docker.from_env(
            timeout=_TIMEOUT, environment={**known, "DOCKER_HOST": host}
        )
        self._pool = pool
        self._instance = instance
        self._hosts = {f"containers:{host}": host for host in hosts}
        self._clients: dict[str, DockerClient] = {}
        self.places = tuple(self._hosts)

    async def list(self) -> Found:
        asked = await asyncio.gather(*(self._listed(place) for place in self.places))
        problems = [one for one in asked if isinstance(one, ProviderDown)]
        if len(problems) == len(asked):
            raise problems[0]
        return Found(
            tuple(machine for one in asked if not isinstance(one, ProviderDown) for machine in one),
            frozenset(
                place
                for place, one in zip(self.places, asked, strict=True)
                if not isinstance(one, ProviderDown)
            ),
            problem="; ".join(map(str, problems)),
        )

    async def bring(self, newcomers: Sequence[Newcomer]) -> None:
        problems = []
        for one in newcomers:
            settings = await one.settings(self._own(one.place))
            try:
                await self._do(one.place, partial(self._start, newcomer=one, settings=settings))
            except ProviderDown as error:  # another engine may do
                problems.append(str(error))
            else:
                log.info("worker container started", worker=one.name, place=one.place)
        if problems:
            raise ProviderDown("; ".join(dict.fromkeys(problems)))

    async def end(self, machine: Listed) -> None:
        await self._do(machine.place, lambda client: _remove(client, machine))

    async def protect(self, machines: Collection[Listed]) -> None:
        """Nobody else ends them."""

    async def _listed(self, place: str) -> tuple[Listed, ...] | ProviderDown:
        try:
            return await self._do(place, lambda client: self._look(client, place))
        except ProviderDown as error:
            return error

    def _look(self, client: DockerClient, place: str) -> tuple[Listed, ...]:
        ours = [f"{LABELS}instance={self._instance}", f"{LABELS}pool={self._pool.name}"]
        found = client.containers.list(all=True, ignore_removed=True, filters={"label": ours})
        # An image's label is its containers' too; a name is given by whoever may use the engine.
        return tuple(
            _seen(one, place)
            for one in found
            if one.name == self._named(one.labels.get(f"{LABELS}worker", ""))
        )

    def _named(self, worker: str) -> str:
        """A worker takes containers for its own whose names begin with `blacktree-`."""
        return f"worker-{self._instance[:8]}-{worker}"

    def _start(self, client: DockerClient, newcomer: Newcomer, settings: str) -> None:
        # In the machine's own network it can make the rules of what builds and containers reach.
        own: dict[str, Any] = {"network_mode": "host", "cap_add": ["NET_ADMIN"]}
        network = {"network": self._pool.network} if self._pool.network else own
        socket = _socket(self._hosts[newcomer.place])
        container = client.containers.create(
            self._pool.image,
            name=self._named(newcomer.name),
            labels={
                f"{LABELS}instance": self._instance,
                f"{LABELS}pool": self._pool.name,
                f"{LABELS}worker": newcomer.name,
            },
            environment={"BLACKTREE_CONFIG": f"{FOLDER}/worker.toml"},
            volumes={socket: {"bind": _SOCKET, "mode": "rw"}},
            init=True,
            **network,
        )
        container.put_archive("/", _archive(settings))
        container.start()

    def _own(self, place: str) -> dict[str, str]:
        """The address at which the proxy reaches what a worker runs there, where the engine's URL says it."""
        with suppress(ValueError):
            return {"worker_address": str(ipaddress.ip_address(urlsplit(self._hosts[place]).hostname or ""))}
        return {}

    async def _do(self, place: str, act: Callable[[DockerClient], T]) -> T:
        """Raises ProviderDown."""
        from docker.errors import DockerException, ImageNotFound
        from requests.exceptions import RequestException

        def call() -> T:
            if place not in self._clients:
                self._clients[place] = self._connect(self._hosts[place])
            return act(self._clients[place])

        try:
            return await asyncio.to_thread(call)
        except ImageNotFound:
            raise ProviderDown(
                f"{self._hosts[place]} has no image {self._pool.image}: docker pull {self._pool.image} there"
            ) from None
        except (DockerException, RequestException, OSError) as error:
            raise ProviderDown(f"{self._hosts[place]}: {error}") from None


def _guarded(host: str, environ: Mapping[str, str]) -> bool:
    """Whether who reaches this engine has to prove who they are, or is on the bot's machine."""
    place = urlsplit(host)
    return place.scheme != "tcp" or bool(environ.get("DOCKER_TLS_VERIFY")) or place.hostname == "127.0.0.1"


def _seen(container: Container, place: str) -> Listed:
    state, problem = Machine.THERE, ""
    if container.status == "removing":
        state = Machine.LEAVING
    elif container.status != "running":  # `created` too: whoever made it was killed before it started
        state, problem = Machine.ENDED, _last_words(container)
    worker = container.labels.get(f"{LABELS}worker", "")
    return Listed(container.id or "", worker, place, state, problem)


def _last_words(container: Container) -> str:
    from docker.errors import DockerException

    try:
        said = container.logs(tail=1).decode(errors="replace").strip()
    except DockerException:
        said = ""
    return said[-_SAID:] or container.status


def _remove(client: DockerClient, machine: Listed) -> None:
    from docker.errors import NotFound

    with suppress(NotFound):
        container = client.containers.get(machine.id)
        if machine.state is not Machine.ENDED:
            container.stop(timeout=_GRACE)
        container.remove(v=True, force=True)


def _socket(host: str) -> str:
    """Where the engine's own socket is on its machine."""
    return host.removeprefix("unix://") if host.startswith("unix://") else _SOCKET


def _archive(settings: str) -> bytes:
    """As the engine's archive endpoint takes it: the file is root's alone, as the worker runs."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        folder = tarfile.TarInfo(FOLDER.lstrip("/"))
        folder.type, folder.mode = tarfile.DIRTYPE, 0o700
        archive.addfile(folder)
        content = settings.encode()
        file = tarfile.TarInfo(f"{FOLDER.lstrip('/')}/worker.toml")
        file.size, file.mode = len(content), 0o400
        archive.addfile(file, io.BytesIO(content))
    return packed.getvalue()
