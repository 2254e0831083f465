"""The story of a stop: everything that an environment runs on this worker goes."""

from __future__ import annotations

from workers.attempt import Attempt
from workers.contract.messages import Step, StopSpec
from workers.deploy import network_name
from workers.tools import Tools

_GRACE = 10.0  # seconds between SIGTERM and SIGKILL


async def stop(attempt: Attempt, spec: StopSpec, tools: Tools) -> None:
    """Remove the containers and the network of an environment."""
    async with attempt.step(Step.STOP):
        found = await tools.engine.containers(
            {
                "worker": tools.worker,
                "instance": spec.instance,
                "repository": spec.repository,
                "environment": spec.environment,
            }
        )
        for container in found:
            await tools.engine.remove(container.id, _GRACE)
            attempt.log.line(f"{container.name} is removed")
        await tools.engine.remove_network(network_name(tools.worker, spec.repository, spec.environment))
        if not found:
            attempt.log.line("nothing was running")
