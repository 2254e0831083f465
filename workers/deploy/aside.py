"""What cannot run beside its successor stands aside before that starts.

It has the one port there is, or its process was said not to overlap. Its containers are stopped and renamed,
not removed: whatever happens, they serve again. Their names tell whoever comes after a killed worker
(workers/deploy/watch.py) that they are to be started again.
"""

from __future__ import annotations

from collections.abc import Iterable

from config.processes import WEB
from workers.attempt import Attempt
from workers.contract.failure import user
from workers.contract.messages import DeploySpec
from workers.deploy import names
from workers.deploy.parts import Part
from workers.engine.engine import PREFIX, Container
from workers.tools import Tools


def one_port(part: Part) -> str:
    """Pure: why an old and a new process cannot run at once; empty if they can. Raises Failure."""
    spec = part.spec
    if spec.host_port is None and not (spec.privileges.host_network and part.port):
        return ""
    why = (
        f"without a proxy they would share port {spec.host_port}"
        if spec.host_port is not None
        else "on the host's network they would share its ports"
    )
    if spec.replicas > 1:
        raise user("replicas", f"{spec.replicas} replicas cannot run at once: {why}")
    return why


async def stand_aside(attempt: Attempt, spec: DeploySpec, parts: Iterable[Part], tools: Tools) -> None:
    """Stop what serves, where the new processes cannot start beside it, and say so."""
    why = next(filter(None, map(one_port, parts)), "")
    if not why or spec.serving is None:
        return
    for container in await _serving(spec, tools):
        if spec.privileges.host_network or names.process(container.labels) == WEB:
            attempt.log.line(f"{container.name} is stopped first, so there is downtime: {why}")
            await _stopped(container, tools)


async def end_first(attempt: Attempt, part: Part, tools: Tools) -> None:
    """Stop what never runs beside its successor, which is `part`; it gets its grace."""
    for container in await _serving(part.spec, tools):
        if names.process(container.labels) == part.name:
            attempt.log.line(f"{container.name} is stopped: its successor never runs beside it")
            await _stopped(container, tools, alone=True)


async def _stopped(container: Container, tools: Tools, *, alone: bool = False) -> None:
    if not names.is_aside(container.name):  # an earlier attempt's doing
        await tools.engine.rename(container.id, names.aside(container.name, alone=alone))
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
