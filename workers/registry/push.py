"""An image into a registry, and tags onto it: tried again where that may help, undone where it must be.

What is atomic. A registry moves one tag in one moment: when the manifest is put, which `docker push` does
last. Before that nothing is to be seen but layers without a name, which the next push finds and does not
send again. Several tags are moved one after another: an image always has its own tag (NAME:SHA) before any
tag that moves names it.

What is undone. `unmoved` notes what each tag names, and where its inside fails or is cancelled, a tag that
names our image by then is moved back to what it named before. So a cancelled build moves no tag for good;
for the moments in between readers may see the new image. What was under way when it was cancelled gets a
moment to arrive first. The protocol has no compare-and-set: a tag that somebody else moved meanwhile is left
alone, but somebody who moves it between our look and our put loses. A tag that named nothing before stays:
registries differ in what they delete with a tag.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from workers.contract.failure import Failure, final, ours
from workers.engine.builder import Builder
from workers.engine.progress import digest_in
from workers.registry.oci import immutable, immutable_sentence
from workers.registry.patience import Patience
from workers.registry.registry import Registry

log = structlog.get_logger()

PUSHES = Patience(tries=4, first=1.0, longest=15.0)  # the engine tries each layer five times by itself
_UNDOING = 5.0  # seconds that a cancelled build may take for it
_SETTLING = 0.3  # seconds of them, in which a request that was cut off arrives or never does
# What another push, right away, may well change. The rest is for another attempt.
_WORTH_A_TRY = {"registry_unreachable", "push_failed"}


@dataclass
class Doing:
    """What tags may name by our doing."""

    begun: bool = False
    digest: str | None = None  # None: it is not told yet

    def may_be(self, digest: str | None) -> bool:
        return self.digest in (None, digest)


async def push(
    builder: Builder,
    registry: Registry,
    reference: str,
    output: Callable[[str], None],
    patience: Patience = PUSHES,
) -> str:
    """Push NAME:TAG of the engine; the digest by which the registry knows it. Raises Failure."""
    await registry.prepare(reference)
    async with unmoved(registry, [reference]) as doing:
        said = await _pushed(builder, registry, reference, output, patience, doing)
        known = await registry.digest(reference)
        if known is None:
            raise ours("push_failed", f"The push succeeded, but the registry does not know {reference}")
        if said is not None and known != said:
            raise ours("tag_moved", f"Somebody else pushed {reference} at the same time: it is {known} now")
    return known


async def move(
    registry: Registry, name: str, digest: str, tags: Sequence[str], output: Callable[[str], None]
) -> None:
    """Let each NAME:TAG name the image `digest` of NAME; all of them, or none that named another before."""
    tags = list(dict.fromkeys(tags))
    async with unmoved(registry, [f"{name}:{tag}" for tag in tags]) as doing:
        doing.begun, doing.digest = True, digest
        await registry.tag(name, digest, tags)
    for tag in tags:
        output(f"{name}:{tag} is {digest}\n")


@contextlib.asynccontextmanager
async def unmoved(registry: Registry, references: Sequence[str]) -> AsyncIterator[Doing]:
    """Where the inside fails or is cancelled, each NAME:TAG that it moved names what it did before.

    The inside says in the `Doing` when it begins, and to which digest it moves them, once that is known.
    """
    before = {reference: await _before(registry, reference) for reference in references}
    doing = Doing()
    try:
        yield doing
    except BaseException:
        if doing.begun and any(before.values()):
            await _all_undone(registry, before, doing)
        raise


async def _before(registry: Registry, reference: str) -> str | None:
    """What it names; nothing where the registry does not say, as some of repositories that are not there."""
    try:
        return await registry.digest(reference)
    except Failure as failure:
        if failure.reason == "registry_denied":
            return None
        raise


async def _all_undone(registry: Registry, before: Mapping[str, str | None], doing: Doing) -> None:
    moved = {reference: digest for reference, digest in before.items() if digest is not None}
    try:
        async with asyncio.timeout(_UNDOING):
            await asyncio.sleep(_SETTLING)
            await asyncio.gather(*(_undone(registry, one, was, doing) for one, was in moved.items()))
    except TimeoutError:
        log.warning("tags may not be put back: their registry is slow", tags=moved)


async def _undone(registry: Registry, reference: str, before: str, doing: Doing) -> None:
    try:
        now = await registry.digest(reference)
        if now != before and doing.may_be(now):
            name, _, tag = reference.rpartition(":")
            await registry.tag(name, before, [tag])
            log.info("tag put back", reference=reference, digest=before)
    except Failure as failure:
        log.warning("tag not put back", reference=reference, digest=before, error=failure.sentence)


async def _pushed(
    builder: Builder,
    registry: Registry,
    reference: str,
    output: Callable[[str], None],
    patience: Patience,
    doing: Doing,
) -> str | None:
    """The digest that the CLI told."""
    last = ""

    def read(piece: str) -> None:
        nonlocal last
        output(piece)
        last = piece if piece.strip() else last
        doing.digest = digest_in(piece) or doing.digest

    tried = 0
    while True:
        tried += 1
        doing.begun = True
        try:
            return await builder.push(reference, await registry.logins([reference]), read)
        except Failure as failure:
            if immutable(last):
                raise final(
                    "tag_immutable", immutable_sentence(reference.partition("/")[0], reference)
                ) from None
            pause = patience.pause(tried) if failure.reason in _WORTH_A_TRY else None
            if pause is None:
                raise
            again = f"pushing again in {pause:.1f} s ({tried + 1} of {patience.tries})"
            output(f"{failure.sentence}; {again}; layers that are there are not sent again\n")
            await asyncio.sleep(pause)
