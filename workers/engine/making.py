"""How containers and their networks are made through the Docker SDK, and networks removed: it blocks."""

from __future__ import annotations

import contextlib
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Network
from itertools import islice
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, ImageNotFound
from docker.models.containers import Container as DockerContainer
from docker.types import IPAMConfig, IPAMPool

from workers.contract.failure import final, ours, user
from workers.contract.ports import PUBLISHED
from workers.engine import containers, subnets
from workers.engine import labels as said
from workers.engine.engine import PREFIX, Command, Container, ContainerSpec

_PORT_TRIES = 30
_NETWORK_TRIES = 30
_PLACES = 16  # of those that are free, to choose one of
_ROUTES = Path("/proc/net/route")
_FULL = "no available IPv4 addresses"
COMMAND = "command"  # the label of a command's container: whose it is
_TAKEN = ("port is already allocated", "address already in use")
_STOPPED = ["created", "exited", "restarting"]
_SHELL = re.compile(r"(.*/)?(|a|ba|da|k|z)sh")
_ARGUMENTS = re.compile(r"\$\{?[@*#0-9]")  # as a shell names those that it is given


def start(client: docker.DockerClient, spec: ContainerSpec, engine: str, addresses: IPv4Network) -> Container:
    """A container that runs, with the networks that it needs; none where that fails."""
    if not spec.host_network:
        _make_networks(client, spec, addresses)
    kept = set() if spec.published or spec.port is None else _kept(client)
    free = [port for port in PUBLISHED if port not in kept]
    for _ in range(_PORT_TRIES):
        published = spec.published or random.choice(free or PUBLISHED)  # noqa: S311
        try:
            container = _create(client, spec, published, engine)
        except ImageNotFound:
            raise final("image_missing", f"The image {spec.image} is not on this worker any more") from None
        except APIError as error:
            if error.is_server_error():
                raise
            raise user("start_failed", f"The container cannot be made: {sentence(error)}") from None
        try:
            _join(client, str(container.id), spec.networks, spec.alias)
            container.start()
            container.reload()
            return containers.container(container.attrs)
        except APIError as error:
            container.remove(force=True, v=True)
            if _FULL in str(error):
                raise final(
                    "network_full", "A network of the environment's has no address left: use fewer `replicas`"
                ) from None
            if not any(words in str(error) for words in _TAKEN):
                raise user("start_failed", f"The container cannot start: {sentence(error)}") from None
            if spec.published:
                raise ours(
                    "port_taken", f"Port {published} of {spec.address} is taken by something else"
                ) from None
        except BaseException:
            container.remove(force=True, v=True)
            raise
    raise ours("no_port", f"No port of {PUBLISHED.start}-{PUBLISHED.stop - 1} is free at {spec.address}")


def _kept(client: docker.DockerClient) -> set[int]:
    """The ports of containers that are stopped: the engine gives those to others meanwhile.

    Each starts again at its own, if that is free; and whoever still leads there leads to nobody else.
    """
    asked: dict[str, Any] = {"label": PREFIX + "address", "status": _STOPPED}
    told = (row["Labels"][PREFIX + "address"] for row in client.api.containers(all=True, filters=asked))
    return {int(port) for address in told if (port := address.rpartition(":")[2]).isdecimal()}


def _create(client: docker.DockerClient, spec: ContainerSpec, published: int, engine: str) -> DockerContainer:
    own = client.api.create_endpoint_config(aliases=list(filter(None, [spec.alias, spec.own_alias])) or None)
    reached: dict[str, Any] = {
        "network": spec.network,
        "networking_config": {spec.network: own},
        "ports": {f"{spec.port}/tcp": (spec.address, published)} if spec.port else {},
    }
    labels = dict(spec.labels)
    if spec.host_network:
        reached = {"network_mode": "host"}
    if spec.port:
        labels[PREFIX + "address"] = f"{spec.address}:{spec.port if spec.host_network else published}"
    return client.containers.create(
        spec.image,
        command=list(spec.command) if spec.command is not None else None,
        name=spec.name,
        environment=dict(spec.env),
        labels=said.whole(labels),
        healthcheck=containers.healthcheck(spec.healthcheck),
        **reached,
        **containers.confined(spec, engine, {}),
    )


def made(
    client: docker.DockerClient, command: Command, owner: str, engine: str, addresses: IPv4Network
) -> str:
    """The id of a container that is to run a command, and reaches nothing unless told."""
    _make_networks(client, command, addresses)
    try:
        image: Mapping[str, Any] = client.images.get(command.image).attrs if command.entrypoint else {}
        entered = command.entrypoint and takes((image.get("Config") or {}).get("Entrypoint") or ())
        made: DockerContainer = client.containers.create(
            command.image,
            entrypoint=None if entered else [command.command[0]],
            command=list(command.command if entered else command.command[1:]),
            name=command.name,
            environment=dict(command.env),
            labels=said.whole({**command.labels, PREFIX + COMMAND: owner}),
            network=command.network or "none",
            **containers.confined(command, engine, {}),
        )
    except ImageNotFound:
        raise final("image_missing", f"The image {command.image} is not on this worker any more") from None
    except APIError as error:
        if error.is_server_error():
            raise
        raise user("start_failed", f"The command's container cannot be made: {sentence(error)}") from None
    try:
        _join(client, str(made.id), command.networks, "")
    except BaseException:
        made.remove(force=True, v=True)
        raise
    return str(made.id)


def takes(entrypoint: Sequence[str]) -> bool:
    """Pure: whether an image's ENTRYPOINT takes a command. In the shell form it would be run instead of that.

    https://docs.docker.com/reference/dockerfile/#shell-form-entrypoint-example
    """
    shell = len(entrypoint) > 2 and entrypoint[-2] == "-c" and _SHELL.fullmatch(entrypoint[0])
    return not shell or _ARGUMENTS.search(entrypoint[-1]) is not None


def _make_networks(client: docker.DockerClient, of: ContainerSpec | Command, addresses: IPv4Network) -> None:
    owner = {PREFIX + "worker": of.labels[PREFIX + "worker"]} if PREFIX + "worker" in of.labels else {}
    rooms = [(of.network or "", of.room), *((name, subnets.SHARED) for name in of.networks)]
    for name, room in rooms:
        if name and not named(client, name):
            _make_network(client, name, owner, subnets.bits(room), addresses)


def _make_network(
    client: docker.DockerClient, name: str, owner: Mapping[str, str], bits: int, addresses: IPv4Network
) -> None:
    """A bridge with addresses that nobody has. Others make networks meanwhile, other engines too."""
    refused: list[IPv4Network] = []
    for _ in range(_NETWORK_TRIES):
        taken = [*subnets.of_rows(client.api.networks()), *_routes(addresses), *refused]
        # Who has met somebody would meet them at the next free place again.
        places = list(islice(subnets.free(addresses, bits, taken), _PLACES if refused else 1))
        if not places:
            break
        subnet = random.choice(places)  # noqa: S311
        ipam = IPAMConfig(pool_configs=[IPAMPool(subnet=str(subnet))])
        try:
            made = client.api.create_network(name, driver="bridge", labels=dict(owner), ipam=ipam)
        except APIError as error:
            # Of the engine's own list, or of a bridge that it does not list.
            if "overlap" not in str(error):
                raise
        else:
            if sum(route.overlaps(subnet) for route in _routes(addresses)) <= 1:
                return
            # Another engine has just chosen it too: what is sent there would reach the other's containers.
            client.api.remove_network(made["Id"])
        refused.append(subnet)
    raise final(
        "no_network",
        f"No addresses of {addresses} are free for another network: set NETWORK_RANGE to a range that is"
        " larger, or that nothing else on this machine uses",
    )


def _routes(addresses: IPv4Network) -> list[IPv4Network]:
    return subnets.of_routes(_ROUTES.read_text() if _ROUTES.exists() else "", addresses)


def named(client: docker.DockerClient, name: str) -> list[dict[str, Any]]:
    """The networks of exactly that name. The engine finds parts of names too, and a Swarm's only by those."""
    return [row for row in client.api.networks(names=[name]) if row["Name"] == name]


def join(
    client: docker.DockerClient,
    container: str,
    network: str,
    alias: str,
    room: int,
    owner: Mapping[str, str],
    addresses: IPv4Network,
) -> None:
    """Let a container be on a network too, unless it is."""
    if not named(client, network):
        _make_network(client, network, owner, subnets.bits(room), addresses)
    known = client.api.inspect_container(container)["NetworkSettings"]["Networks"] or {}
    if network not in known:
        _join(client, container, [network], alias)


def _join(client: docker.DockerClient, container: str, networks: Iterable[str], alias: str) -> None:
    for name in networks:
        client.api.connect_container_to_network(container, name, aliases=[alias] if alias else None)


def remove_networks(client: docker.DockerClient, found: Iterable[dict[str, Any]]) -> None:
    """Those of `found` that no container has."""
    for row in found:
        # The engine itself would remove one whose containers are stopped, and they could not start again.
        used = client.api.containers(all=True, filters={"network": row["Name"]})
        if row["Driver"] == "bridge" and not used:
            with contextlib.suppress(APIError):  # in use all the same
                client.api.remove_network(row["Id"])


def sentence(error: Exception) -> str:
    """The first line of what the engine says."""
    text = str(getattr(error, "explanation", None) or error).strip()
    return text.splitlines()[0] if text else type(error).__name__
