"""The story of a deploy to Docker Swarm: pull ▸ release ▸ start (Swarm rolls it) ▸ check ▸ switch.

An environment is one service; a release is what it is rolled over to. Swarm starts each new task before
it stops an old one, and rolls back by itself when one does not stay; what fails after that, we roll back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable

from config.processes import WEB
from workers.attempt import Attempt
from workers.contract.failure import Failure, final, user
from workers.contract.messages import DeploySpec, Step
from workers.deploy import names
from workers.deploy.health import unhealthy
from workers.deploy.probe import Seen, asker, look
from workers.deploy.pull import port_of, pulled
from workers.deploy.release import released
from workers.deploy.switch import switched
from workers.engine.engine import EngineDown, prefixed
from workers.engine.services import Service, ServiceSpec, Task
from workers.process.together import together
from workers.tools import Tools

_LOOK = 0.5  # seconds between two looks at a service
_ROLLING = ("updating", "rollback_started")
_LAST_LINES = 20
_PULLING = 300.0  # seconds that the other nodes may take to have the image
_GOING_BACK = 120.0  # seconds that a rollback may take to be seen to its end


async def deploy(attempt: Attempt, spec: DeploySpec, tools: Tools) -> None:
    """Roll the environment's service over to a release. Raises Failure."""
    async with attempt.step(Step.PULL):
        await needed(tools)
        possible(spec)
        port = port_of(spec, await pulled(attempt, spec, tools)) or 0
    order = ordered(spec, attempt, port, tools)
    async with _back_unless_switched(attempt, order, tools):
        if spec.release_command:
            await tools.engine.swarm.networks(order)
        await released(attempt, spec, tools, order.network, list(order.networks))
        async with attempt.step(Step.START):
            await tools.engine.swarm.apply(order, attempt.credentials.registries)
            service = await _converged(attempt, spec, order, tools)
            await tools.engine.swarm.tidy(order.name)
        async with attempt.step(Step.CHECK):
            addresses = reached(service, spec, tools.address)
            await together(_healthy(attempt, spec, order, port, address, tools) for address in addresses)
        async with attempt.step(Step.SWITCH):
            await switched(attempt, spec, {WEB: addresses}, tools)


async def needed(tools: Tools) -> None:
    """Raises Failure unless this engine may make services."""
    if not await tools.engine.swarm.manager():
        raise final(
            "no_swarm",
            "This worker's engine manages no Swarm: docker swarm init there, or run workers of this pool on"
            " managers only",
        )


def possible(spec: DeploySpec) -> None:
    """Pure: raises Failure for what Swarm has not."""
    if spec.privileges.privileged:
        raise user("no_privileged", "Docker Swarm has no privileged containers: leave `privileged` out")
    if spec.privileges.host_network:
        raise user("no_host_network", "With target: swarm there is no host network: leave `host_network` out")


def ordered(spec: DeploySpec, attempt: Attempt, port: int, tools: Tools) -> ServiceSpec:
    """Pure: the service that a release is."""
    name = names.service(spec.instance, spec.repository, spec.environment)
    place = names.place(tools.worker, spec)
    return ServiceSpec(
        name=name,
        image=spec.image,
        command=spec.command,
        env=spec.env,
        secrets=attempt.credentials.env,
        limits=spec.limits,
        replicas=spec.replicas,
        port=port,
        published=spec.host_port,
        network=name,
        networks=[names.shared_overlay(spec.instance, spec.repository, shared) for shared in spec.networks],
        labels={**names.labels(tools.worker, spec, attempt.ref), **names.release_labels(spec)},
        # None of a worker's: what those find by its label they take for containers of their own.
        task_labels={**spec.labels, **prefixed({"task": name, "release": spec.release})},
        place=place,
        alias=spec.environment,
        volumes=spec.volumes,
        mounts=spec.privileges.host_mounts,
        user=spec.user,
        read_only=spec.read_only,
        restart=spec.restart,
        grace=spec.grace,
        monitor=spec.stability,
    )


@contextlib.asynccontextmanager
async def _back_unless_switched(attempt: Attempt, order: ServiceSpec, tools: Tools) -> AsyncIterator[None]:
    try:
        await _undo(attempt, order, tools)  # what an earlier attempt left
        yield
    except BaseException as error:
        if not attempt.committing or isinstance(error, Failure):
            try:
                await _undo(attempt, order, tools)
            except EngineDown as gone:
                attempt.log.line(f"not everything could be undone yet: {gone}")
        raise


async def _undo(attempt: Attempt, order: ServiceSpec, tools: Tools) -> None:
    """The service is again what it was before this job; where there was none, nothing of it stays."""
    service = await tools.engine.swarm.service(order.name)
    if service is None:
        await tools.engine.swarm.remove(order.name, order.networks)
        return
    if service.labels.get(names.JOB) == attempt.ref.job:
        await undone(service, tools)
        if service.previous is not None:
            attempt.log.line(f"service {order.name} is rolled back")
    await _settled(order.name, tools)
    await tools.engine.swarm.tidy(order.name)


async def undone(service: Service, tools: Tools) -> None:
    """Roll a service back to the release before; remove it if it had none."""
    if service.previous is None:
        await tools.engine.swarm.remove(service.name)
    else:
        await tools.engine.swarm.back(service.name)


async def _settled(name: str, tools: Tools) -> None:
    """Wait until nothing of a rollback is on its way; Swarm goes on with it all the same."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_GOING_BACK):
            while (service := await tools.engine.swarm.service(name)) is not None:
                if service.update not in _ROLLING:
                    break
                await asyncio.sleep(_LOOK)


async def _converged(attempt: Attempt, spec: DeploySpec, order: ServiceSpec, tools: Tools) -> Service:
    """Watch Swarm until it has rolled the service over. Raises Failure when it has not."""
    told: set[str] = set()
    patience = _PULLING + spec.replicas * (spec.probe.timeout + spec.stability)
    service: Service | None = None
    try:
        async with asyncio.timeout(patience) as clock:
            while True:
                service = await _still_up(attempt, spec, order, tools)
                for line in progress(service, spec.release):
                    if line not in told:
                        told.add(line)
                        attempt.log.line(line)
                if converged(service, spec.release):
                    return service
                await asyncio.sleep(_LOOK)
    except TimeoutError:
        if not clock.expired():
            raise
        said = errors(service.tasks if service else (), spec.release) or "its tasks did not come to run"
        raise user(
            "not_converged", f"Swarm did not bring the service up within {patience:g} s: {said}"
        ) from None


async def _still_up(attempt: Attempt, spec: DeploySpec, order: ServiceSpec, tools: Tools) -> Service:
    """The service as it is now. Raises Failure once it has failed, with what its tasks said in the log."""
    service = await tools.engine.swarm.service(order.name)
    if service is None:
        raise user("removed", "The service was removed by somebody else while it started")
    if sentence := failed(service, spec.release):
        for line in progress(service, spec.release):
            attempt.log.line(line)
        await _show_last_lines(attempt, order, tools)
        raise user("not_converged", sentence)
    return service


async def _show_last_lines(attempt: Attempt, order: ServiceSpec, tools: Tools) -> None:
    """Of the tasks that ended on this node."""
    wanted = {"task": order.name, "release": order.task_labels[names.RELEASE]}
    for container in await tools.engine.containers(wanted):
        if not container.running:
            attempt.log.line(f"── the last lines of {container.name}")
            attempt.log.write(await tools.engine.last_lines(container.id, _LAST_LINES))


def progress(service: Service, release: str) -> Iterable[str]:
    """Pure: what is to be told of a service on its way, oldest first."""
    for task in reversed(service.tasks):
        if task.release == release:
            why = f": {task.error}" if task.error else ""
            yield f"{service.name}.{task.slot} ({task.id[:8]}) {task.state}{why}"
    if service.update:
        yield f"{service.name}: {service.update}: {service.update_said}"


def converged(service: Service, release: str) -> bool:
    """Pure: whether all that runs is that release, and Swarm does nothing more about it."""
    running = {task.slot for task in service.tasks if task.running and task.release == release}
    old = any(task.running and task.release != release for task in service.tasks)
    return len(running) == service.replicas and not old and service.update in ("", "completed")


def failed(service: Service, release: str) -> str:
    """Pure: why a release did not come up, for people; empty if it may yet."""
    if service.update in ("paused", "rollback_started", "rollback_completed", "rollback_paused"):
        said = errors(service.tasks, release) or service.update_said
        ended = "" if service.update.endswith(("started", "completed")) else f" ({service.update})"
        return f"Swarm rolled the service back{ended}: {said}"
    if not service.update and any(task.broken for task in service.tasks if task.release == release):
        return f"A task of the service ended while it started: {errors(service.tasks, release)}"
    return ""


def errors(tasks: Iterable[Task], release: str) -> str:
    """Pure: what Swarm says of a release's tasks that do not run, each thing once."""
    said = [
        task.error or f"it ended with exit code {task.exit_code}"
        for task in tasks
        if task.release == release and (task.broken or task.error)
    ]
    return "; ".join(dict.fromkeys(said))[:500]


def reached(service: Service, spec: DeploySpec, address: str) -> list[str]:
    """Pure: where the proxy reaches a service: the port of the whole Swarm, or each task's own."""
    if service.port is not None:
        return [f"{address}:{service.port}"]
    running = [task for task in service.tasks if task.running and task.release == spec.release and task.port]
    return [f"{task.host or address}:{task.port}" for task in running]


async def _healthy(
    attempt: Attempt, spec: DeploySpec, order: ServiceSpec, port: int, address: str, tools: Tools
) -> None:
    """Wait until `address` answers. A HEALTHCHECK has been Swarm's to heed: then it is only connected to."""
    probe = spec.probe.model_copy(update={"kind": "tcp"}) if spec.probe.kind == "image" else spec.probe
    seen = Seen(False, "it did not answer")
    try:
        async with asyncio.timeout(spec.probe.timeout) as clock, asker() as client:
            while not seen.healthy:
                await _still_up(attempt, spec, order, tools)
                seen = await look(client, address, probe)
                if not seen.healthy:
                    await asyncio.sleep(spec.probe.interval)
    except TimeoutError:
        if not clock.expired():
            raise
        raise user("unhealthy", unhealthy(spec, port, seen)) from None
    attempt.log.line(f"healthy at {address}: {seen.what}")
