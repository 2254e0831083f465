"""An image on this worker: pulled by its digest, unless it is here."""

from __future__ import annotations

from workers.attempt import Attempt
from workers.contract.failure import final, ours, user
from workers.contract.messages import DeploySpec
from workers.deploy import names
from workers.engine.engine import Image
from workers.engine.labels import refuse
from workers.tools import Tools


async def pulled(attempt: Attempt, spec: DeploySpec, tools: Tools) -> Image:
    """The release's image. Raises Failure."""
    if image := await tools.engine.image(spec.image):
        attempt.log.line(f"{spec.image} is here already")
        return image
    if not spec.pull or "@" not in spec.image:
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
    await tools.engine.tag(image.id, names.pulled(spec.instance, image))
    return image


def port_of(spec: DeploySpec, image: Image, *, needed: bool = True) -> int | None:
    """The port that the containers serve on; None where none is `needed`, and none is said.

    Raises Failure, also for an image that cannot be deployed.
    """
    refuse(image.claims)
    if spec.probe.kind == "image" and not image.healthcheck:
        raise user(
            "no_healthcheck",
            "health.kind is image, but the image has no HEALTHCHECK: add one to the Dockerfile",
        )
    if spec.port or not needed:
        return spec.port
    if not image.ports:
        raise user("no_port", "No port is known: add EXPOSE to the Dockerfile, or `port` to the environment")
    return image.ports[0]
