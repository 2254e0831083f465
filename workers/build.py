"""The story of a build: checkout ▸ build ▸ push."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

from workers.attempt import Attempt
from workers.checkout import Checkout, checkout
from workers.contract.messages import AttemptRef, BuildSpec, ImageResult, Step
from workers.engine.engine import PREFIX, BuildOrder, Image
from workers.failure import ours, user
from workers.tools import Tools


async def build(attempt: Attempt, spec: BuildSpec, tools: Tools) -> ImageResult:
    """Build one image of one commit. Nothing of it stays unless this succeeds. Raises Failure."""
    async with attempt.step(Step.CHECKOUT):
        source = await checkout(
            spec.source, attempt.credentials, attempt.folder, tools.environ, attempt.log.write
        )
    async with _temporary_tag(attempt, spec, tools) as tag:
        async with attempt.step(Step.BUILD):
            image = await _built(attempt, spec, source, tag, tools)
        if not spec.push:
            await _tag_all(spec, image, tools)
            return ImageResult(digest=image.id, reference=image.id, size=image.size, tree=source.tree)
        async with attempt.step(Step.PUSH):
            digest = await _pushed(attempt, spec, image, tools)
        return ImageResult(
            digest=digest, reference=f"{spec.reference}@{digest}", size=image.size, tree=source.tree
        )


def temporary_prefix(worker: str) -> str:
    """What the tags of unfinished builds of a worker start with."""
    return f"blacktree-{hashlib.sha256(worker.encode()).hexdigest()[:10]}-"


def temporary_tag(worker: str, ref: AttemptRef) -> str:
    """The tag of an attempt's image until it is whole."""
    return f"{temporary_prefix(worker)}{hashlib.sha256(ref.job.encode()).hexdigest()[:16]}-{ref.attempt}"


@contextlib.asynccontextmanager
async def _temporary_tag(attempt: Attempt, spec: BuildSpec, tools: Tools) -> AsyncIterator[str]:
    tag = f"{spec.reference}:{temporary_tag(tools.worker, attempt.ref)}"
    try:
        yield tag
    finally:
        await tools.engine.untag(tag)


async def _built(attempt: Attempt, spec: BuildSpec, source: Checkout, tag: str, tools: Tools) -> Image:
    order = BuildOrder(
        context=_inside(source.folder, spec.context, "context"),
        dockerfile=_inside(source.folder, spec.dockerfile, "dockerfile"),
        tag=tag,
        target=spec.target,
        args=spec.args,
        labels={
            **spec.labels,
            PREFIX + "repository": spec.source.repository,
            PREFIX + "sha": spec.source.sha,
        },
        scratch=attempt.folder,
    )
    await tools.builder.build(order, attempt.credentials.registries, attempt.log.write)
    image = await tools.engine.image(tag)
    if image is None:
        raise ours("build_broken", "The builder succeeded, but the engine does not have the image")
    return image


def _inside(folder: Path, path: str, what: str) -> Path:
    """`path` below `folder`: neither dots nor the repository's links lead out of it."""
    place = (folder / path).resolve()
    if not place.is_relative_to(folder.resolve()):
        raise user(f"{what}_missing", f"The {what} {path} lies outside of the repository")
    if what == "dockerfile" and not place.is_file():
        raise user("dockerfile_missing", f"There is no {path} in this commit: add it, or name another one")
    if what == "context" and not place.is_dir():
        raise user("context_missing", f"There is no folder {path} in this commit to build in")
    return place


async def _tag_all(spec: BuildSpec, image: Image, tools: Tools) -> None:
    for tag in dict.fromkeys((spec.source.sha, *spec.tags)):
        await tools.engine.tag(image.id, f"{spec.reference}:{tag}")


async def _pushed(attempt: Attempt, spec: BuildSpec, image: Image, tools: Tools) -> str:
    """The digest that the registry knows `image` by. The commit's tag goes first, the moving ones after."""
    first = f"{spec.reference}:{spec.source.sha}"
    async with _tagged(image, first, tools):
        digest = await tools.builder.push(first, attempt.credentials.registries, attempt.log.write)
        digest = digest or await _reported(first, spec.reference, tools)
        for tag in dict.fromkeys(spec.tags):
            reference = f"{spec.reference}:{tag}"
            if reference != first:
                async with _tagged(image, reference, tools):
                    await tools.builder.push(reference, attempt.credentials.registries, attempt.log.write)
    return digest


@contextlib.asynccontextmanager
async def _tagged(image: Image, reference: str, tools: Tools) -> AsyncIterator[None]:
    """`reference` names `image`; where the inside fails, what it named before."""
    before = await tools.engine.image(reference)
    try:
        await tools.engine.tag(image.id, reference)
        yield
    except BaseException:
        if before is None:
            await tools.engine.untag(reference)
        else:
            await tools.engine.tag(before.id, reference)
        raise


async def _reported(reference: str, name: str, tools: Tools) -> str:
    image = await tools.engine.image(reference)
    for known in image.digests if image else ():
        if known.startswith(f"{name}@"):
            return known.rpartition("@")[2]
    raise ours("push_failed", f"The registry did not say by which digest it knows {reference}")
