"""How containers and their networks are made through the Docker SDK, and networks removed: it blocks."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterable, Mapping
from typing import Any

import docker
from docker.errors import APIError, ImageNotFound
from docker.models.containers import Container as DockerContainer

from workers.engine import containers
from workers.engine.engine import PREFIX, Command, Container, ContainerSpec
from workers.failure import final, ours, user

# Published ports are fixed, so that they survive a container's restart (Docker gives an ephemeral one
# anew), and lie below 32768, where Linux takes the ports of outgoing connections from.
_PORTS = range(22_000, 32_000)
_PORT_TRIES = 30
COMMAND = "command"  # the label of a command's container: whose it is
_TAKEN = ("port is already allocated", "address already in use")


def start(client: docker.DockerClient, spec: ContainerSpec, engine: str) -> Container:
    """A container that runs, with the networks that it needs; none where that fails."""
    if not spec.host_network:
        _make_networks(client, (spec.network, *spec.networks), spec.labels)
    for _ in range(_PORT_TRIES):
        published = spec.published or random.choice(_PORTS)  # noqa: S311
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
            if not any(words in str(error) for words in _TAKEN):
                raise user("start_failed", f"The container cannot start: {sentence(error)}") from None
            if spec.published:
                raise ours(
                    "port_taken", f"Port {published} of {spec.address} is taken by something else"
                ) from None
        except BaseException:
            container.remove(force=True, v=True)
            raise
    raise ours("no_port", f"No port of {_PORTS.start}-{_PORTS.stop - 1} is free at {spec.address}")


def _create(client: docker.DockerClient, spec: ContainerSpec, published: int, engine: str) -> DockerContainer:
    own = client.api.create_endpoint_config(aliases=[spec.alias] if spec.alias else None)
    reached: dict[str, Any] = {
        "network": spec.network,
        "networking_config": {spec.network: own},
        "ports": {f"{spec.port}/tcp": (spec.address, published)},
    }
    labels = dict(spec.labels)
    if spec.host_network:
        reached = {"network_mode": "host"}
        labels[PREFIX + "address"] = f"{spec.address}:{spec.port}"
    return client.containers.create(
        spec.image,
        command=list(spec.command) if spec.command is not None else None,
        name=spec.name,
        environment=dict(spec.env),
        labels=labels,
        **reached,
        **containers.confined(spec, engine, {}),
    )


def made(client: docker.DockerClient, command: Command, owner: str, engine: str) -> str:
    """The id of a container that is to run a command, and reaches nothing unless told."""
    _make_networks(client, (*filter(None, [command.network]), *command.networks), command.labels)
    try:
        made: DockerContainer = client.containers.create(
            command.image,
            entrypoint=[command.command[0]],
            command=list(command.command[1:]),
            name=command.name,
            environment=dict(command.env),
            labels={**command.labels, PREFIX + COMMAND: owner},
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


def _make_networks(client: docker.DockerClient, names: Iterable[str], labels: Mapping[str, str]) -> None:
    owner = {PREFIX + "worker": labels[PREFIX + "worker"]} if PREFIX + "worker" in labels else {}
    for name in names:
        if named(client, name):
            continue
        try:
            client.api.create_network(name, driver="bridge", labels=owner)
        except APIError as error:
            if "non-overlapping" not in str(error):
                raise
            raise final(
                "no_network",
                "Docker has no address range left for another network: give it more, and smaller ones, by"
                " default-address-pools in its daemon.json",
            ) from None


def named(client: docker.DockerClient, name: str) -> list[dict[str, Any]]:
    """The networks of exactly that name. The engine finds parts of names too, and a Swarm's only by those."""
    return [row for row in client.api.networks(names=[name]) if row["Name"] == name]


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
