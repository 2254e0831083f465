"""An image that is built elsewhere: its registry is asked once by which digest it knows it, and no more.

Whether it is asked again is the bot's to say: so nobody holds a slot while an image is on its way.
"""

from __future__ import annotations

import asyncio

from workers.attempt import Attempt
from workers.build import permitted
from workers.contract.failure import Failure, final, ours, user
from workers.contract.messages import ImageResult, PinSpec
from workers.registry.reference import Reference, parse
from workers.tools import Tools

# Of what is not there (yet) some registries say no more than that nobody may have it.
DENIED = "registry_denied"
_MOST = 30.0  # seconds, in which the slot is taken


async def pin(attempt: Attempt, spec: PinSpec, tools: Tools) -> ImageResult:
    """The image by its digest. Raises Failure, `image_awaited` where the registry does not have it."""
    wanted = _read(spec)
    registry = tools.registries.of(attempt.credentials, attempt.log.mask, stranger=spec.stranger, once=True)
    try:
        async with asyncio.timeout(_MOST):
            digest = await registry.digest(str(wanted))
    except TimeoutError:
        raise ours("registry_unreachable", f"{wanted.host} did not answer within {_MOST:g} seconds") from None
    except Failure as failure:
        if failure.reason != DENIED:
            raise
        raise ours(DENIED, failure.sentence) from None
    if digest is None:
        raise ours("image_awaited", f"{wanted} is not there")
    attempt.log.line(f"{wanted} is {digest}")
    pinned = Reference(wanted.host, wanted.path, digest=digest)
    return ImageResult(digest=digest, reference=str(pinned), size=0, tree="", key="")


def _read(spec: PinSpec) -> Reference:
    """What is asked for: no name of what is built here for other repositories. Raises Failure."""
    try:
        wanted = parse(spec.reference)
    except ValueError as error:
        raise user("bad_reference", f"{error}: see `from` and `tag` in .blacktree.yml") from None
    if permitted.is_anothers(spec, wanted):
        raise final(
            "image_refused",
            f"{wanted.name} is not for this repository: such names are those of what Blacktree builds, each"
            " for its own repository. Push it elsewhere, or have the administrator name it in SHARED_IMAGES",
        )
    return wanted
