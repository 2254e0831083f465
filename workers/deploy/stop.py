"""The story of a stop: everything that an environment runs on this worker goes; its volumes if told.

Services go last, and only with their volumes; else they stop, and start again with the next release.
"""

from __future__ import annotations

from workers.attempt import Attempt
from workers.contract.messages import Step, StopSpec
from workers.deploy import names, networks, services, swarm
from workers.engine.engine import Container
from workers.process.together import together
from workers.tools import Tools


async def stop(attempt: Attempt, spec: StopSpec, tools: Tools) -> None:
    """Remove the containers or the service, the networks, and the volumes if told, of an environment."""
    async with attempt.step(Step.STOP):
        place = {
            "worker": tools.worker,
            "instance": spec.instance,
            "repository": spec.repository,
            "environment": spec.environment,
        }
        found = await tools.engine.containers(place)
        await together(_removed(attempt, container, tools) for container in found)
        service = await _service(attempt, spec, tools) if spec.target == "swarm" else False
        if spec.place:
            service |= await services.stop(attempt, spec.place, tools, volumes=spec.volumes)
        await networks.sweep(tools.worker, tools.engine)
        if spec.volumes:
            await _without_volumes(attempt, place, tools)
        if not found and not service:
            attempt.log.line("nothing was running")


async def _removed(attempt: Attempt, container: Container, tools: Tools) -> None:
    await tools.engine.remove(container.id, names.grace(container.labels))
    attempt.log.line(f"{container.name} is removed")


async def _service(attempt: Attempt, spec: StopSpec, tools: Tools) -> bool:
    """Whether there was one; its worker may have been another."""
    await swarm.needed(tools)
    name = names.service(spec.instance, spec.repository, spec.environment)
    found = await tools.engine.swarm.service(name)
    await tools.engine.swarm.remove(name)
    if found is not None:
        attempt.log.line(f"service {name} is removed")
    return found is not None


async def _without_volumes(attempt: Attempt, place: dict[str, str], tools: Tools) -> None:
    for volume in await tools.engine.volumes(place):
        gone = await tools.engine.remove_volume(volume)
        attempt.log.line(f"volume {volume} {'is removed' if gone else 'is in use, and stays'}")
