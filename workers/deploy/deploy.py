"""The story of a deploy: pull ▸ services (▸ fill ▸ scrub) ▸ release ▸ seed ▸ start ▸ check ▸ switch.

All processes of a release go live together or not at all, and the old release is not touched. Where old and
new share a port of the host, or a process was said not to overlap, the old one is stopped, and starts again
if the new release fails.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from config.processes import WEB
from workers.attempt import Attempt
from workers.contract.failure import Failure
from workers.contract.messages import DeploySpec, Step
from workers.contract.services import Healthcheck
from workers.deploy import aside, names, services, source, swarm
from workers.deploy.health import checked
from workers.deploy.parts import Part, Started, all_pulled, reached
from workers.deploy.release import released
from workers.deploy.seed import seeded
from workers.deploy.switch import switched
from workers.engine.engine import PREFIX, ContainerSpec, EngineDown, prefixed
from workers.tools import Tools

_GRACE = 2.0  # seconds that a release that never served gets to end
# Of a command that is asked as long as its container runs, in seconds.
_LEAST_INTERVAL, _PATIENCE = 2.0, 30.0


async def deploy(attempt: Attempt, spec: DeploySpec, tools: Tools) -> None:
    """Start a release beside the one that serves and have the bot switch to it. Raises Failure."""
    services.possible(spec)
    if spec.target == "swarm":
        return await swarm.deploy(attempt, spec, tools)
    async with attempt.step(Step.PULL):
        all_of_it = await all_pulled(attempt, spec, tools)
        beside = [part for part in all_of_it if part.overlap]
        for part in all_of_it:
            aside.one_port(part)
    async with _undone_unless_switched(attempt, spec, tools):
        network, networks = _networks(spec, tools)
        empty = await services.stand(attempt, spec, tools, network)
        if spec.services is not None:
            await source.filled(attempt, spec.services, empty, tools)
        await released(attempt, spec, tools, network, networks)
        await seeded(attempt, spec, empty, tools, network, networks)
        async with attempt.step(Step.START):
            await aside.stand_aside(attempt, spec, beside, tools)
            started = [one for part in beside for one in await _started(attempt, part, tools)]
        async with attempt.step(Step.CHECK):
            await checked(attempt, started, tools)
            for part in all_of_it:
                if not part.overlap:
                    started += await _changed_over(attempt, part, tools)
        async with attempt.step(Step.SWITCH):
            where = reached(started) | await services.reached(spec, tools)
            await switched(attempt, spec, where, tools)
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
        # What failed first is told; the worker looks after what is left (workers/deploy/watch.py).
        attempt.log.line(f"not everything could be undone yet: {error}")


async def _remove_earlier_attempts(attempt: Attempt, spec: DeploySpec, tools: Tools) -> None:
    """Their leases are lost, or this attempt would not be."""
    for container in await tools.engine.containers(names.job(tools.worker, spec, attempt.ref)):
        await tools.engine.remove(container.id, _GRACE)


def _networks(spec: DeploySpec, tools: Tools) -> tuple[str, list[str]]:
    """The environment's own, and those that it shares."""
    if spec.privileges.host_network:
        return "host", []
    room = names.room(spec)
    own = names.network(tools.worker, spec.instance, spec.repository, spec.environment, room)
    return own, [names.shared_network(tools.worker, spec.repository, name) for name in spec.networks]


async def _changed_over(attempt: Attempt, part: Part, tools: Tools) -> list[Started]:
    """A process that never runs beside its predecessor: all the rest is healthy before that ends."""
    await aside.end_first(attempt, part, tools)
    started = await _started(attempt, part, tools)
    await checked(attempt, started, tools)
    return started


async def _started(attempt: Attempt, part: Part, tools: Tools) -> list[Started]:
    started = []
    for place in range(1, part.spec.replicas + 1):
        container = await tools.engine.start(_container(attempt, part, tools))
        port = f"; its port {part.port} is published at {container.address}" if part.port else ""
        attempt.log.line(f"{container.name} runs{port}")
        started.append(Started(part, container, place))
    return started


def _container(attempt: Attempt, part: Part, tools: Tools) -> ContainerSpec:
    spec = part.spec
    network, networks = _networks(spec, tools)
    secret = attempt.credentials.env
    return ContainerSpec(
        name=names.container(spec, f"-{part.name}" if part.several else ""),
        image=spec.image,
        command=spec.command,
        env={**spec.env, **secret},
        limits=spec.limits,
        port=part.port,
        address=tools.address,
        network=network,
        room=names.room(spec),
        labels={
            **names.labels(tools.worker, spec, attempt.ref),
            **names.release_labels(spec, part.name),
            # Their values are masked wherever the container's output is shown.
            PREFIX + "secrets": ",".join(sorted(secret)),
        },
        alias=spec.environment if part.name == WEB else f"{spec.environment}-{part.name}",
        own_alias=part.name if part.several else "",
        networks=networks,
        published=spec.host_port,
        volumes=spec.volumes,
        mounts=spec.privileges.host_mounts,
        user=spec.user,
        read_only=spec.read_only,
        privileged=spec.privileges.privileged,
        host_network=spec.privileges.host_network,
        healthcheck=_healthcheck(part),
    )


def _healthcheck(part: Part) -> Healthcheck | None:
    """What the engine asks instead of the image's own HEALTHCHECK, which is about what the image is for."""
    probe = part.spec.probe
    if probe.kind == "command":
        interval = max(probe.interval, _LEAST_INTERVAL)
        return Healthcheck(command=probe.command or [], interval=interval, patience=_PATIENCE)
    its_own = probe.kind == "image" or (part.name == WEB and probe.kind != "up")
    return None if its_own else Healthcheck(command=[], interval=probe.interval)
