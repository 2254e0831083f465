"""Pure: services as Docker Swarm takes them, and as it tells of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from docker.types import (
    ContainerSpec,
    DriverConfig,
    EndpointSpec,
    Mount,
    Placement,
    Resources,
    RestartPolicy,
    RollbackConfig,
    SecretReference,
    ServiceMode,
    TaskTemplate,
    UpdateConfig,
)

from workers.engine import containers
from workers.engine import labels as said
from workers.engine.engine import PREFIX, prefixed
from workers.engine.services import Service, ServiceSpec, Task

_SECOND = 10**9  # nanoseconds
_RESTART: dict[str, Literal["any", "on-failure", "none"]] = {
    "unless-stopped": "any",
    "on-failure": "on-failure",
    "no": "none",
}
_ROLLBACK_WATCH = 2.0  # seconds that Swarm watches a task of the old release for


def service(spec: ServiceSpec, secrets: list[SecretReference], engine: str, *, mesh: bool) -> dict[str, Any]:
    """The body of a request that makes or changes a service. Raises Failure.

    `mesh`: its port is published by every node; else each task's, on the node that it runs on.
    """
    order: Literal["start-first", "stop-first"] = "start-first"
    if not mesh and spec.published is not None:  # two tasks of one node cannot have the same port of it
        order = "stop-first"
    ports = [
        {
            "Protocol": "tcp",
            "TargetPort": spec.port,
            "PublishMode": "ingress" if mesh else "host",
            **({"PublishedPort": spec.published} if spec.published else {}),
        }
    ]
    return {
        "Name": spec.name,
        "Labels": dict(spec.labels),
        "TaskTemplate": _task(spec, secrets, engine),
        "Mode": ServiceMode("replicated", replicas=spec.replicas),
        "UpdateConfig": UpdateConfig(
            parallelism=1,
            delay=0,
            failure_action="rollback",
            monitor=round(spec.monitor * _SECOND),
            max_failure_ratio=0,
            order=order,
        ),
        "RollbackConfig": RollbackConfig(
            parallelism=1,
            delay=0,
            failure_action="pause",
            monitor=round(min(spec.monitor, _ROLLBACK_WATCH) * _SECOND),
            max_failure_ratio=0,
            order=order,
        ),
        "EndpointSpec": {**EndpointSpec(mode="vip"), "Ports": ports},
    }


def _task(spec: ServiceSpec, secrets: list[SecretReference], engine: str) -> TaskTemplate:
    template = TaskTemplate(
        _container(spec, secrets, engine),
        resources=_resources(spec),
        restart_policy=RestartPolicy(_RESTART[spec.restart]),
        placement=Placement(preferences=[("spread", "node.id")]),
        log_driver=DriverConfig(containers.LOGS.type, containers.LOGS.config),
    )
    template["Networks"] = [
        {"Target": spec.network, "Aliases": [spec.alias]},
        *({"Target": name, "Aliases": [spec.alias]} for name in spec.networks),
    ]
    return template


def _container(spec: ServiceSpec, secrets: list[SecretReference], engine: str) -> ContainerSpec:
    files = {f"{name}_FILE": f"/run/secrets/{name}" for name in spec.secrets if spec.secrets[name]}
    mounts = containers.mounts(spec.volumes, spec.mounts, engine, prefixed(spec.place))
    if spec.read_only:
        mounts += [Mount(path, None, type="tmpfs", tmpfs_mode=0o1777) for path in containers.SCRATCH]
    container = ContainerSpec(
        spec.image,
        args=list(spec.command) if spec.command is not None else None,
        env={**files, **spec.env},
        user=spec.user,
        labels=said.whole(spec.task_labels),
        mounts=mounts,
        stop_grace_period=round(spec.grace * _SECOND),
        secrets=secrets,
        read_only=spec.read_only,
        init=True,
        cap_add=containers.CAPABILITIES,
        cap_drop=["ALL"],
    )
    # Docker 25 and newer heed it (API 1.44); the SDK has no name for it.
    container["Privileges"] = {"NoNewPrivileges": True}
    return container


def _resources(spec: ServiceSpec) -> Resources:
    found = Resources(cpu_limit=round(spec.limits.cpus * 1e9), mem_limit=spec.limits.memory)
    found["Limits"]["Pids"] = spec.limits.pids  # the SDK has no name for it
    return found


def told(found: Mapping[str, Any], tasks: Sequence[Mapping[str, Any]], hosts: Mapping[str, str]) -> Service:
    """A service from its inspection. `hosts` are the nodes' addresses, empty for the engine's own."""
    spec, previous = found["Spec"], found.get("PreviousSpec") or {}
    update = found.get("UpdateStatus") or {}
    ports = (found.get("Endpoint") or {}).get("Ports") or []
    newest = sorted(tasks, key=lambda task: str(task["CreatedAt"]), reverse=True)
    return Service(
        name=spec["Name"],
        labels=spec.get("Labels") or {},
        replicas=((spec.get("Mode") or {}).get("Replicated") or {}).get("Replicas", 1),
        update=update.get("State", ""),
        update_said=update.get("Message", ""),
        previous=(previous.get("Labels") or {}).get(PREFIX + "release"),
        port=next((port["PublishedPort"] for port in ports if port.get("PublishMode") == "ingress"), None),
        tasks=[_told_task(task, hosts) for task in newest],
    )


def _told_task(task: Mapping[str, Any], hosts: Mapping[str, str]) -> Task:
    status, node = task["Status"], task.get("NodeID", "")
    ports = (status.get("PortStatus") or {}).get("Ports") or []
    container = (task["Spec"].get("ContainerSpec") or {}).get("Labels") or {}
    return Task(
        id=task["ID"],
        slot=task.get("Slot", 0),
        release=container.get(PREFIX + "release", ""),
        state=status["State"],
        wanted=task["DesiredState"],
        error=status.get("Err") or "",
        exit_code=(status.get("ContainerStatus") or {}).get("ExitCode", 0),
        host=hosts.get(node, ""),
        port=next((port["PublishedPort"] for port in ports if port.get("PublishedPort")), None),
        node=node,
    )
