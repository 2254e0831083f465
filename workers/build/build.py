"""The story of a build: checkout ▸ build ▸ test ▸ push; what was built before is not built again."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import shutil
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from workers.attempt import Attempt
from workers.build import permitted
from workers.build.generated import generated
from workers.build.reuse import Reuse, inside
from workers.contract.failure import final, ours, user
from workers.contract.messages import (
    AttemptRef,
    BuildSpec,
    ImageResult,
    ImageTest,
    Limits,
    RegistryLogin,
    Step,
)
from workers.engine.builder import BuildOrder, Built
from workers.engine.engine import PREFIX, Command, Image
from workers.engine.labels import refuse
from workers.engine.limits import within
from workers.process.threads import to_the_end
from workers.registry.push import move, push, unmoved
from workers.registry.registry import Registry
from workers.source.checkout import Checkout
from workers.tools import Tools

_OCI = "org.opencontainers.image"
_TEST_PIDS = 4096


async def build(attempt: Attempt, spec: BuildSpec, tools: Tools) -> ImageResult:
    """Build one image of one commit. Nothing of it stays unless this succeeds. Raises Failure."""
    _know_secrets(attempt, spec)
    registry = tools.registries.of(attempt.credentials, attempt.log.mask, stranger=spec.fork)
    reuse = Reuse(attempt, spec, tools, registry)
    async with attempt.step(Step.CHECKOUT):
        source = await tools.mirrors.checkout(
            spec.source, attempt.credentials, attempt.folder, attempt.log.write, reuse.decided
        )
    async with _temporary_tag(attempt, spec, tools) as tag:
        async with attempt.step(Step.BUILD):
            made = None if reuse.is_found else await generated(attempt, spec, source.folder)
            if found := await reuse.found(source, made):
                return await reuse.taken(found, source)
            order = await _permitted(_order(attempt, spec, source, tag, tools, made), spec, tools, registry)
            image, built = await _built(attempt, spec, order, tools, registry)
        async with _cleared(attempt, source, needed=_several(order)):
            if spec.test is not None:
                async with attempt.step(Step.TEST):
                    await _tested(attempt, spec, spec.test, image, tools)
            if not spec.push:
                await _tag_all(spec, image, tools)
                return _result(image.id, image.id, image, source, reuse.key, built)
            async with attempt.step(Step.PUSH):
                digest = await _pushed(attempt, spec, order, image, tools, registry)
        return _result(digest, f"{spec.reference}@{digest}", image, source, reuse.key, built)


def temporary_prefix(worker: str) -> str:
    """What the tags of unfinished builds of a worker start with."""
    return f"blacktree-{hashlib.sha256(worker.encode()).hexdigest()[:10]}-"


def _know_secrets(attempt: Attempt, spec: BuildSpec) -> None:
    wanted = (*spec.secrets, *([spec.ssh] if spec.ssh else []))
    if missing := [name for name in wanted if name not in attempt.credentials.build]:
        raise user(
            "secret_missing",
            f"The secret {missing[0]} is not set for builds of {spec.source.repository}:"
            f" blacktree secret set {spec.source.repository} {missing[0]}",
        )


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


def _order(
    attempt: Attempt, spec: BuildSpec, source: Checkout, tag: str, tools: Tools, made: Path | None
) -> BuildOrder:
    return BuildOrder(
        context=inside(source.folder, spec.context, "context"),
        dockerfile=made or inside(source.folder, spec.dockerfile, "dockerfile"),
        tag=tag,
        target=spec.target,
        args=spec.args,
        labels=labels(spec, source.committed_at),
        scratch=attempt.folder,
        # A stranger's goes to a registry by the engine alone: its builder has no login.
        platforms=spec.platforms[:1] if spec.fork else spec.platforms,
        secrets={name: attempt.credentials.build[name] for name in spec.secrets},
        ssh_key=attempt.credentials.build[spec.ssh] if spec.ssh else None,
        memory=spec.memory,
        cpus=spec.cpus,
        cache=_caches(spec),
        keep_cache=spec.cache and spec.push,
        pull=spec.pull,
        fresh=spec.fresh,
        epoch=source.committed_at,
        proxies=tools.build_proxies,
        trust=attempt.credentials.trust or spec.source.repository,
        stranger=spec.fork,
    )


async def _permitted(order: BuildOrder, spec: BuildSpec, tools: Tools, registry: Registry) -> BuildOrder:
    """The order with what others have made for it to use. Raises Failure where it wants what it may not."""
    dockerfile = await asyncio.to_thread(order.dockerfile.read_bytes)
    pull = await permitted.checked(spec, dockerfile, tools.builder, tools.engine, registry)
    kin = [tag for tag in await tools.engine.tags("") if tag.startswith(f"{spec.reference}:")]
    return replace(order, pull=pull, kin=kin)


async def _built(
    attempt: Attempt, spec: BuildSpec, order: BuildOrder, tools: Tools, registry: Registry
) -> tuple[Image, Built]:
    """The image in the engine. One for several platforms is built for this one first, to be tested."""
    here = replace(order, platforms=()) if _several(order) and spec.push else order
    built = await tools.builder.build(here, await _base_logins(attempt, spec, registry), attempt.log.write)
    image = await tools.engine.image(order.tag)
    if image is None:
        raise ours("build_broken", "The builder succeeded, but the engine does not have the image")
    refuse(image.claims)
    return image, built


def _several(order: BuildOrder) -> bool:
    return len(order.platforms) > 1


async def _base_logins(attempt: Attempt, spec: BuildSpec, registry: Registry) -> list[RegistryLogin]:
    """Logins for base images and layers. A stranger could name any image that we may read: it gets none."""
    if spec.fork:
        return []
    ours = await registry.logins([spec.reference, *spec.copies])
    return [*{login.host: login for login in (*attempt.credentials.registries, *ours)}.values()]


def labels(spec: BuildSpec, committed_at: int) -> Mapping[str, str]:
    """Pure: an image's labels. The time is the commit's, so that the same commit gives the same image."""
    return {
        **spec.labels,
        f"{_OCI}.created": datetime.fromtimestamp(committed_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        PREFIX + "repository": spec.source.repository,
        PREFIX + "sha": spec.source.sha,
    }


def _caches(spec: BuildSpec) -> list[str]:
    """Where in the registry layers of this build may be found; a stranger's takes them from nobody."""
    if not (spec.cache and spec.push) or spec.fork or spec.fresh:
        return []
    return [f"{spec.reference}:{tag}" for tag in dict.fromkeys(spec.tags) if tag != spec.source.sha]


@contextlib.asynccontextmanager
async def _cleared(attempt: Attempt, source: Checkout, *, needed: bool) -> AsyncIterator[None]:
    """The commit's files go meanwhile, unless they are `needed` or somebody else's: it takes its time."""
    if needed or not source.folder.is_relative_to(attempt.folder):
        yield
        return
    removing = asyncio.ensure_future(to_the_end(shutil.rmtree, source.folder, ignore_errors=True))
    try:
        yield
    finally:
        await removing


async def _tested(attempt: Attempt, spec: BuildSpec, test: ImageTest, image: Image, tools: Tools) -> None:
    """Run the test in the image that was built; its exit code decides."""
    limit = within(tools.build_limit, spec.memory, spec.cpus)
    limits = Limits(memory=limit.memory or 0, cpus=limit.cpus or 0, pids=_TEST_PIDS)
    command = Command(
        name=f"{temporary_tag(tools.worker, attempt.ref)}-test",
        image=image.id,
        command=test.command,
        limits=limits,
        network="bridge" if test.network else None,
        labels={
            PREFIX + "worker": tools.worker,
            PREFIX + "job": attempt.ref.job,
            PREFIX + "attempt": str(attempt.ref.attempt),
            PREFIX + "role": "test",
        },
    )
    try:
        async with asyncio.timeout(test.timeout) as clock:
            code = await tools.engine.run(command, attempt.log.write)
    except TimeoutError:
        if not clock.expired():
            raise
        raise user("test_timeout", f"The test lasted longer than its {test.timeout:g} s") from None
    if code in (126, 127):
        raise user("test_failed", f"The test's command cannot be run (exit code {code}): {test.command[0]}")
    if code != 0:
        hint = " (killed: out of memory?)" if code == 137 else ""
        raise user("test_failed", f"The test ended with exit code {code}{hint}: {' '.join(test.command)}")


async def _tag_all(spec: BuildSpec, image: Image, tools: Tools) -> None:
    for tag in dict.fromkeys((spec.source.sha, *spec.tags)):
        await tools.engine.tag(image.id, f"{spec.reference}:{tag}")


async def _pushed(
    attempt: Attempt, spec: BuildSpec, order: BuildOrder, image: Image, tools: Tools, registry: Registry
) -> str:
    """The digest that the registry knows `image` by. The commit's tag goes first, the moving ones after."""
    digests = [
        await _pushed_to(name, attempt, spec, order, image, tools, registry)
        for name in (spec.reference, *spec.copies)
    ]
    if len(set(digests)) > 1:
        raise final("push_failed", f"The registries know the image by different digests: {digests}")
    for name in (spec.reference, *spec.copies):
        tags = [tag for tag in spec.tags if tag != spec.source.sha]
        await move(registry, name, digests[0], tags, attempt.log.write)
    return digests[0]


async def _pushed_to(
    name: str,
    attempt: Attempt,
    spec: BuildSpec,
    order: BuildOrder,
    image: Image,
    tools: Tools,
    registry: Registry,
) -> str:
    reference = f"{name}:{spec.source.sha}"
    if _several(order):
        return await _made_there(reference, attempt, spec, order, tools, registry)
    async with _tagged(image, reference, tools):
        return await push(tools.builder, registry, reference, attempt.log.write)


async def _made_there(
    reference: str, attempt: Attempt, spec: BuildSpec, order: BuildOrder, tools: Tools, registry: Registry
) -> str:
    """An image for several platforms, by the builder right into the registry."""
    await registry.prepare(reference)
    logins = await _base_logins(attempt, spec, registry)
    async with unmoved(registry, [reference]) as doing:
        doing.begun = True
        there = replace(order, push_to=reference)
        doing.digest = (await tools.builder.build(there, logins, attempt.log.write)).digest
        if doing.digest is None:
            raise ours("push_failed", f"The builder did not say by which digest {reference} is known")
    return doing.digest


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


def _result(
    digest: str, reference: str, image: Image, source: Checkout, key: str, built: Built
) -> ImageResult:
    return ImageResult(
        digest=digest,
        reference=reference,
        size=image.size,
        tree=source.tree,
        key=key,
        layers=built.layers,
        cached=built.cached,
    )
