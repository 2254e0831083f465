"""The networks of a worker's environments."""

from __future__ import annotations

from collections.abc import Sequence

from workers.engine.engine import PREFIX, Container, Engine

_SERVICE = PREFIX + "service"


async def sweep(worker: str, engine: Engine) -> None:
    """Remove a worker's networks that no container has."""
    for network in await engine.networks({"worker": worker}):
        await engine.remove_network(network)


async def leave(worker: str, engine: Engine) -> None:
    """Have services leave the networks of releases that are gone, so that these go too.

    To be called while nothing deploys: a release that is to come finds its services on a network where
    nobody else is yet.
    """
    ours = set(await engine.networks({"worker": worker}))
    for container, network in left(await engine.containers({"worker": worker})):
        if network in ours:
            await engine.leave(container.id, network)


def left(containers: Sequence[Container]) -> list[tuple[Container, str]]:
    """Pure: of services the networks on which no release is any more, where one is on another of theirs.

    What is stopped counts: it may start again.
    """
    released = {name for one in containers if _SERVICE not in one.labels for name in one.networks}
    services = [one for one in containers if _SERVICE in one.labels and released.intersection(one.networks)]
    return [(one, name) for one in services for name in one.networks if name not in released]
