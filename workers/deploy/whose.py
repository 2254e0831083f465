"""Pure: whose a container is, as its labels say it."""

from __future__ import annotations

from workers.contract.outputs import Whose
from workers.deploy import names, services
from workers.engine.engine import Container


def whose(container: Container) -> Whose:
    """Of a release's container, or of a service's."""
    service = container.labels.get(services.SERVICE)
    return Whose(
        container=container.id,
        name=names.back(container.name),
        process=service or names.process(container.labels),
        release="" if service else container.labels.get(names.RELEASE, ""),
        place=container.labels.get(services.PLACE, "") if service else "",
    )
