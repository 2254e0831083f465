"""A service's image: pulled, and from then on known by its digest."""

from __future__ import annotations

from workers.attempt import Attempt
from workers.build import permitted
from workers.contract.failure import final, ours, user
from workers.contract.services import Services, ServiceSpec
from workers.deploy import names
from workers.engine.engine import Image
from workers.engine.labels import refuse
from workers.registry.reference import Reference, parse
from workers.tools import Tools


async def pulled(
    attempt: Attempt, services: Services, one: ServiceSpec, tools: Tools, instance: str
) -> tuple[Image, str]:
    """The image, and its name by digest. Raises Failure.

    What an engine has by a name alone is not taken: it may be another repository's, or anybody's.
    """
    if one.pinned and "@" not in one.pinned:
        return await _built_here(one, tools)
    wanted = read(one.pinned or one.image)
    if permitted.is_anothers(services, wanted):
        raise user(
            "service_image_refused",
            f"Service {one.name}: {wanted} is not for this repository to run: such names are those of what"
            " Blacktree builds here, each for its own repository",
        )
    before = await tools.engine.image(str(wanted))
    image = before if wanted.digest else None
    if image is None:
        logins = await tools.registries.of(attempt.credentials, attempt.log.mask).logins([str(wanted)])
        await tools.builder.pull(str(wanted), logins, attempt.log.write)
        image = await tools.engine.image(str(wanted))
    if image is None:
        raise ours("pull_failed", f"{wanted} was pulled, but the engine does not have it")
    refuse(image.claims)
    if before is None or before.id != image.id:  # what somebody else has here is not ours to remove later
        await tools.engine.tag(image.id, names.pulled(instance, image))
    return image, by_digest(wanted, image)


async def _built_here(one: ServiceSpec, tools: Tools) -> tuple[Image, str]:
    """An image of the repository's that is in the engine that built it, and nowhere else."""
    image = await tools.engine.image(one.pinned)
    if image is None:
        raise final(
            "image_missing",
            f"Service {one.name}: the image {one.pinned} is not on this worker: it was removed, or built on"
            " another machine without a registry (set REGISTRY)",
        )
    refuse(image.claims)
    return image, one.pinned


async def newest(attempt: Attempt, one: ServiceSpec, tools: Tools) -> str:
    """What the service's tag is now, as its registry says: NAME@DIGEST. Raises Failure."""
    wanted = read(one.image)
    digest = await tools.registries.of(attempt.credentials, attempt.log.mask).digest(str(wanted))
    if digest is None:
        raise user(
            "tag_gone", f"Service {one.name}: {wanted.host} has no {wanted} any more: name another tag"
        )
    return str(Reference(wanted.host, wanted.path, digest=digest))


def read(reference: str) -> Reference:
    """What is pulled: a name with its tag or digest, so that no engine takes it for an image's id."""
    try:
        found = parse(reference)
    except ValueError as error:
        raise user("bad_reference", f"{error}: see `services` in .blacktree.yml") from None
    return found if found.digest else Reference(found.host, found.path, found.chosen)


def by_digest(wanted: Reference, image: Image) -> str:
    """Pure: NAME@DIGEST. Raises Failure where no registry knows it by one."""
    digests = [wanted.digest] if wanted.digest else [
        found.digest for found in map(parse, image.digests) if found.name == wanted.name
    ]  # fmt: skip
    if not digests or digests[0] is None:
        raise ours("pull_failed", f"{wanted} was pulled, but the engine does not know its digest")
    return str(Reference(wanted.host, wanted.path, digest=digests[0]))
