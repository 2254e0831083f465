"""An image on this worker: pulled by its digest, unless it is here."""

from __future__ import annotations

from workers.attempt import Attempt
from workers.contract.messages import DeploySpec
from workers.engine.engine import Image
from workers.failure import final, ours, user
from workers.tools import Tools


async def pulled(attempt: Attempt, spec: DeploySpec, tools: Tools) -> Image:
    """The release's image. Raises Failure."""
    if image := await tools.engine.image(spec.image):
        attempt.log.line(f"{spec.image} is here already")
        return image
    if not spec.pull:
        raise final(
            "image_missing",
            f"The image {spec.image} is not on this worker: it was removed, or built on another machine"
            " without a registry (set REGISTRY)",
        )
    logins = await tools.registries.of(attempt.credentials, attempt.log.mask).logins([spec.image])
    await tools.builder.pull(spec.image, logins, attempt.log.write)
    image = await tools.engine.image(spec.image)
    if image is None:
        raise ours("pull_failed", f"{spec.image} was pulled, but the engine does not have it")
    return image


def port_of(spec: DeploySpec, image: Image) -> int:
    """The port that the containers serve on. Raises Failure, also for what cannot be health-checked."""
    if spec.probe.kind == "image" and not image.healthcheck:
        raise user(
            "no_healthcheck",
            "health.kind is image, but the image has no HEALTHCHECK: add one to the Dockerfile",
        )
    if spec.port:
        return spec.port
    if not image.ports:
        raise user("no_port", "No port is known: add EXPOSE to the Dockerfile, or `port` to the environment")
    return image.ports[0]
