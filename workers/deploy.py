"""The story of a deploy: pull ▸ release ▸ start ▸ check ▸ switch. The old release is not touched.

Where old and new share a port of the host it is stopped, and starts again if the new one fails.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from workers import aside, names, swarm
from workers.attempt import Attempt
from workers.contract.messages import DeploySpec, Step
from workers.engine.engine import PREFIX, Container, ContainerSpec, EngineDown, prefixed
from workers.failure import Failure
from workers.health import checked
from workers.pull import port_of, pulled
from workers.release import released
from workers.switch import switched
from workers.tools import Tools

_GRACE = 2.0  # seconds that a release that never served gets to end


async def deploy(attempt: Attempt, spec: DeploySpec, tools: Tools) -> None:
    """Start a release beside the one that serves and have the bot switch to it. Raises Failure."""
    if spec.target == "swarm":
        return await swarm.deploy(attempt, spec, tools)
    async with attempt.step(Step.PULL):
        port = port_of(spec, await pulled(attempt, spec, tools))
        aside.one_port(spec)
    async with _undone_unless_switched(attempt, spec, tools):
        network, networks = _networks(spec, tools)
        await released(attempt, spec, tools, network, networks)
        async with attempt.step(Step.START):
            await aside.stand_aside(attempt, spec, tools)
            containers = await _started(attempt, spec, port, tools)
        async with attempt.step(Step.CHECK):
            await checked(attempt, spec, containers, port, tools)
        async with attempt.step(Step.SWITCH):
            await switched(attempt, spec, [container.address or "" for container in containers], tools)
            await aside.remove(spec, tools)
    return None


@contextlib.asynccontextmanager
async def _undone_unless_switched(attempt: Attempt, spec: DeploySpec, tools: Tools) -> AsyncIterator[None]:
    made: list[str] = []
    try:
        await _remove_earlier_attempts(attempt, spec, tools)
        made += await tools.engine.make_volumes(spec.volumes, prefixed(names.place(tools.worker, spec)))
        yield
    except BaseException as error:
        # Once the bot was asked, it may have switched: then only its own answer says that the release may
        # go. Where that never comes, the bot lists the release as retired if nobody is served by it.
        if not attempt.committing or isinstance(error, Failure):
            await _undo(attempt, spec, made, tools)
        raise


async def _undo(attempt: Attempt, spec: DeploySpec, volumes: list[str], tools: Tools) -> None:
    """Nothing of this attempt stays, and what stood aside for it serves again."""
    try:
        mine = names.job(tools.worker, spec, attempt.ref) | {"attempt": str(attempt.ref.attempt)}
        for container in await tools.engine.containers(mine):
            await tools.engine.remove(container.id, _GRACE)
        for name in await aside.bring_back(spec, tools):
            attempt.log.line(f"{name} serves again")
        for volume in volumes:
            await tools.engine.remove_volume(volume)
        network, networks = _networks(spec, tools)
        for name in (network, *networks):
            await tools.engine.remove_network(name)
    except (EngineDown, Failure) as error:
        # What failed first is told; the worker looks after what is left (workers/watch.py).
        attempt.log.line(f"not everything could be undone yet: {error}")


async def _remove_earlier_attempts(attempt: Attempt, spec: DeploySpec, tools: Tools) -> None:
    """Their leases are lost, or this attempt would not be."""
    for container in await tools.engine.containers(names.job(tools.worker, spec, attempt.ref)):
        await tools.engine.remove(container.id, _GRACE)


def _networks(spec: DeploySpec, tools: Tools) -> tuple[str, list[str]]:
    """The environment's own, and those that it shares."""
    if spec.privileges.host_network:
        return "host", []
    own = names.network(tools.worker, spec.repository, spec.environment)
    return own, [names.shared_network(tools.worker, spec.repository, name) for name in spec.networks]


async def _started(attempt: Attempt, spec: DeploySpec, port: int, tools: Tools) -> list[Container]:
    containers = []
    for _ in range(spec.replicas):
        container = await tools.engine.start(_container(attempt, spec, port, tools))
        attempt.log.line(f"{container.name} runs; its port {port} is published at {container.address}")
        containers.append(container)
    return containers


def _container(attempt: Attempt, spec: DeploySpec, port: int, tools: Tools) -> ContainerSpec:
    network, networks = _networks(spec, tools)
    secret = attempt.credentials.env
    return ContainerSpec(
        name=names.container(spec),
        image=spec.image,
        command=spec.command,
        env={**spec.env, **secret},
        limits=spec.limits,
        port=port,
        address=tools.address,
        network=network,
        labels={
            **names.labels(tools.worker, spec, attempt.ref),
            **names.release_labels(spec),
            # Their values are masked wherever the container's output is shown.
            PREFIX + "secrets": ",".join(sorted(secret)),
        },
        alias=spec.environment,
        networks=networks,
        published=spec.host_port,
        volumes=spec.volumes,
        mounts=spec.privileges.host_mounts,
        user=spec.user,
        read_only=spec.read_only,
        privileged=spec.privileges.privileged,
        host_network=spec.privileges.host_network,
    )
