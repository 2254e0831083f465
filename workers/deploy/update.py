"""The story of an update: ask for the digest ▸ pull ▸ the new container in the old one's place.

The volumes stay. A service that is not healthy on the new image runs the old one again.
"""

from __future__ import annotations

from workers.attempt import Attempt
from workers.contract.failure import Failure, final, user
from workers.contract.messages import Step, UpdateSpec
from workers.contract.services import ServiceSpec
from workers.deploy import names, service_image
from workers.deploy.services import Standing, place
from workers.tools import Tools


async def update(attempt: Attempt, spec: UpdateSpec, tools: Tools) -> None:
    """Raises Failure: then the service is as it was."""
    services = spec.release.services
    one = next((one for one in services.wanted if one.name == spec.service), None) if services else None
    if services is None or one is None:
        raise final("no_service", f"{spec.release.environment} has no service {spec.service}")
    labels = place(tools.worker, services.place) | {"service": one.name}
    async with attempt.step(Step.PULL):
        if not await tools.engine.containers(labels):
            raise user("service_gone", f"Service {one.name} has no container on this worker: deploy it first")
        pinned = spec.image or await service_image.newest(attempt, one, tools)
        if pinned == spec.before:
            attempt.log.line(f"{one.name}: {one.image} is {pinned} still, and nothing is done")
            return
        attempt.log.line(f"{one.name}: {one.image} was {spec.before or 'not known'}, and is {pinned}")
        moved = one.model_copy(update={"pinned": pinned})
        await service_image.pulled(attempt, services, moved, tools, spec.release.instance)
    told = spec.release
    network = names.network(tools.worker, told.instance, told.repository, told.environment, names.room(told))
    async with attempt.step(Step.SERVICES):
        try:
            await Standing(attempt, spec.release, services, moved, tools, network).moved(spec.before)
        except Failure as failure:
            raise _told(failure, one, spec.before) from None


def _told(failure: Failure, one: ServiceSpec, before: str) -> Failure:
    said = f"{failure.sentence.rstrip('.')}. {one.name} runs {before} again"
    return Failure(failure.fault, failure.reason, said)
