"""Where there is one port only, the old release stands aside before the new one starts.

Its containers are stopped and renamed, not removed: whatever happens, they serve again. Their names tell
whoever comes after a killed worker (workers/watch.py) that they are to be started again.
"""

from __future__ import annotations

from workers import names
from workers.attempt import Attempt
from workers.contract.messages import DeploySpec
from workers.engine.engine import PREFIX, Container
from workers.failure import user
from workers.tools import Tools


def one_port(spec: DeploySpec) -> str:
    """Pure: why an old and a new release cannot run at once; empty if they can. Raises Failure."""
    if spec.host_port is None and not spec.privileges.host_network:
        return ""
    why = (
        f"without a proxy they would share port {spec.host_port}"
        if spec.host_port is not None
        else "on the host's network they would share its ports"
    )
    if spec.replicas > 1:
        raise user("replicas", f"{spec.replicas} replicas cannot run at once: {why}")
    return why


async def stand_aside(attempt: Attempt, spec: DeploySpec, tools: Tools) -> None:
    """Stop the release that serves, where the new one cannot start beside it, and say so."""
    why = one_port(spec)
    if not why or spec.serving is None:
        return
    for container in await _serving(spec, tools):
        attempt.log.line(f"{container.name} is stopped first, so there is downtime: {why}")
        if not names.is_aside(container.name):  # an earlier attempt's doing
            await tools.engine.rename(container.id, names.aside(container.name))
        await tools.engine.keep(container.id, "no")  # an engine that starts anew would start it
        await tools.engine.stop(container.id, names.grace(container.labels))


async def bring_back(spec: DeploySpec, tools: Tools) -> list[str]:
    """Start again what stood aside; which containers these are."""
    back = [one for one in await _serving(spec, tools) if names.is_aside(one.name)]
    for container in back:
        await again(container, tools)
    return [names.back(container.name) for container in back]


async def again(container: Container, tools: Tools) -> None:
    """It serves again. Raises Failure if its port is taken."""
    if not container.running:
        await tools.engine.again(container.id)
    await tools.engine.keep(container.id, container.labels.get(PREFIX + "restart", "unless-stopped"))
    await tools.engine.rename(container.id, names.back(container.name))


async def remove(spec: DeploySpec, tools: Tools) -> None:
    """What stood aside for a release that is switched to serves nobody any more."""
    for container in await _serving(spec, tools):
        if names.is_aside(container.name):
            await tools.engine.remove(container.id, 0)


async def _serving(spec: DeploySpec, tools: Tools) -> list[Container]:
    if spec.serving is None:
        return []
    return await tools.engine.containers({"worker": tools.worker, "release": spec.serving})
