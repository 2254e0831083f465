"""Pure: containers as the Docker SDK takes them, and as the engine tells of them."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from ipaddress import ip_network
from pathlib import PurePosixPath
from typing import Any

from docker.types import LogConfig, Mount

from workers.contract.failure import user
from workers.contract.messages import Limits
from workers.contract.services import Healthcheck
from workers.engine import labels as said
from workers.engine.engine import (
    PREFIX,
    Bridge,
    Command,
    Container,
    ContainerSpec,
    Happening,
    Image,
    StoredImage,
)

# Of Docker's own set: what entrypoints need to own files, to become another user and to serve port 80.
# Left out are raw sockets, device nodes, chroot, file capabilities and the audit log.
# https://docs.docker.com/engine/containers/run/#runtime-privilege-and-linux-capabilities
CAPABILITIES = [
    "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETGID", "SETPCAP", "SETUID",
]  # fmt: skip
# What is printed is kept by the engine in a form that it can be asked for, and not without end.
LOGS = LogConfig(type=LogConfig.types.JSON, config={"max-size": "10m", "max-file": "3"})
SCRATCH = {"/tmp": "mode=1777", "/run": "mode=1777"}  # noqa: S108  # with a read-only root
_RETRIES = 3  # of a health check, until the container is unhealthy
_SHARED = ("bridge", "docker_gwbridge")  # networks that are nobody's own
_LONG_AGO = "0001-01-01T00:00:00Z"  # as Docker has it
_SOCKETS = (
    "/run/docker.sock", "/var/run/docker.sock", "/run/containerd/containerd.sock",
    "/run/podman/podman.sock", "/run/crio/crio.sock", "/run/buildkit/buildkitd.sock",
)  # fmt: skip


def confined(what: ContainerSpec | Command, engine: str, volume_labels: Mapping[str, str]) -> dict[str, Any]:
    """How a container is kept from its host and its neighbours. Raises Failure for what nobody gets."""
    rights: dict[str, Any] = {
        "cap_drop": ["ALL"],
        "cap_add": CAPABILITIES,
        "security_opt": ["no-new-privileges"],
    }
    return {
        **limited(what.limits),
        **({"privileged": True} if what.privileged else rights),
        "user": what.user,
        "read_only": what.read_only,
        "tmpfs": SCRATCH if what.read_only else None,
        "mounts": mounts(what.volumes, what.mounts, engine, volume_labels),
        "init": True,
        "log_config": LOGS,
    }


def healthcheck(check: Healthcheck | None) -> dict[str, Any] | None:
    """What the engine asks instead of the image's own HEALTHCHECK, None to leave that be.

    https://docs.docker.com/reference/dockerfile/#healthcheck
    """
    if check is None:
        return None
    if not check.command:
        return {"test": ["NONE"]}
    interval, patience = (round(seconds * 1e9) for seconds in (check.interval, check.patience))
    return {
        "test": ["CMD", *check.command],
        "interval": interval,
        "timeout": max(interval, patience),
        "retries": _RETRIES,
    }


def limited(limits: Limits) -> dict[str, Any]:
    return {
        "mem_limit": limits.memory,
        "memswap_limit": limits.memory,
        "nano_cpus": round(limits.cpus * 1e9),
        "pids_limit": limits.pids,
    }


def mounts(
    volumes: Mapping[str, str], binds: Sequence[str], engine: str, labels: Mapping[str, str]
) -> list[Mount]:
    """Named volumes, and host mounts (HOST:CONTAINER[:ro]). Raises Failure for an engine's socket."""
    kept = [Mount(path, name, type="volume", labels=dict(labels) or None) for name, path in volumes.items()]
    return kept + [_bind(bind, engine) for bind in binds]


def _bind(bind: str, engine: str) -> Mount:
    source, _, rest = bind.partition(":")
    target, _, mode = rest.partition(":")
    if not source.startswith("/") or not target.startswith("/") or mode not in ("", "ro", "rw"):
        raise user("bad_mount", f"host_mounts: {bind} must be HOST:CONTAINER or HOST:CONTAINER:ro")
    if holds_socket(os.path.realpath(source), engine) or holds_socket(source, engine):
        raise user(
            "engine_socket", f"host_mounts: {source} would give the container the engine's socket: name less"
        )
    return Mount(target, source, type="bind", read_only=mode == "ro")


def holds_socket(path: str, engine: str) -> bool:
    """Whether a container that has `path` has a container engine's socket too. `engine` is DOCKER_HOST."""
    place = PurePosixPath(os.path.normpath("/" + path.lstrip("/")))
    sockets = {*_SOCKETS, *([engine.removeprefix("unix://")] if engine.startswith("unix://") else [])}
    sockets |= {os.path.realpath(socket) for socket in sockets}
    return any(PurePosixPath(socket).is_relative_to(place) for socket in sockets) or (
        place.name in {PurePosixPath(socket).name for socket in sockets}
    )


def image(found: Mapping[str, Any]) -> Image:
    """An image from its inspection."""
    config = found.get("Config") or {}
    exposed = config.get("ExposedPorts") or {}
    ports = sorted(int(port.split("/")[0]) for port in exposed if not port.endswith(("/udp", "/sctp")))
    test = (config.get("Healthcheck") or {}).get("Test") or ["NONE"]
    return Image(
        found["Id"],
        found.get("Size", 0),
        tuple(ports),
        tuple(found.get("RepoDigests") or ()),
        healthcheck=test != ["NONE"],
        claims=said.claims(config.get("Labels")),
    )


def stored(found: Mapping[str, Any], busy: Collection[str]) -> StoredImage:
    """An image of Blacktree's from its inspection. `busy` are ids of images that containers have."""
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


def container(found: Mapping[str, Any]) -> Container:
    """A container from its inspection."""
    state = found["State"]
    config, host = found["Config"], found.get("HostConfig") or {}
    labels = said.read(config.get("Labels"))
    published = host.get("PortBindings") or {}
    address = next((f"{to[0]['HostIp']}:{to[0]['HostPort']}" for to in published.values() if to), None)
    health = state.get("Health") or {}
    return Container(
        id=found["Id"],
        name=found["Name"].lstrip("/"),
        labels=labels,
        status=state["Status"],
        restarts=found.get("RestartCount", 0),
        exit_code=state.get("ExitCode", 0),
        out_of_memory=bool(state.get("OOMKilled")),
        address=labels.get(PREFIX + "address") or address,
        health=health.get("Status", "").replace("none", ""),
        health_said=((health.get("Log") or [{}])[-1].get("Output") or "").strip(),
        secrets=_secrets(labels, config.get("Env") or []),
        networks=tuple((found.get("NetworkSettings") or {}).get("Networks") or ()),
    )


def bridges(rows: Sequence[Mapping[str, Any]], worker: str) -> list[Bridge]:
    """Of an engine's networks those of that worker's environments, of builds, and of a Swarm."""
    bridges = (row for row in rows if row["Driver"] == "bridge")
    owner = PREFIX + "worker"
    return [
        _bridge(row)
        for row in bridges
        if row["Name"] in _SHARED or (row.get("Labels") or {}).get(owner) == worker
    ]


def _bridge(row: Mapping[str, Any]) -> Bridge:
    pools, options = (row.get("IPAM") or {}).get("Config") or (), row.get("Options") or {}
    return Bridge(
        interface=options.get("com.docker.network.bridge.name") or f"br-{row['Id'][:12]}",
        subnets=tuple(pool["Subnet"] for pool in pools if pool.get("Subnet")),
        gateways=tuple(_gateway(pool) for pool in pools if pool.get("Subnet")),
        default=options.get("com.docker.network.bridge.default_bridge") == "true",
    )


def _gateway(pool: Mapping[str, Any]) -> str:
    """The engine's own address in a network; where the row leaves it out, the first."""
    if told := pool.get("Gateway"):
        return str(told).partition("/")[0]
    return str(next(ip_network(pool["Subnet"], strict=False).hosts()))


def _secrets(labels: Mapping[str, str], env: Sequence[str]) -> tuple[str, ...]:
    names = set(filter(None, labels.get(PREFIX + "secrets", "").split(",")))
    pairs = (pair.partition("=") for pair in env)
    return tuple(value for name, _, value in pairs if name in names and value)


def happening(event: Mapping[str, Any]) -> Happening:
    """What an event of the engine's says of a container."""
    code = event["Actor"].get("Attributes", {}).get("exitCode")
    # health_status: healthy
    what = event["Action"].partition(":")[0]
    return Happening(event["Actor"]["ID"], what, None if code is None else int(code))
