"""Pushes by a real engine: what failed on the way goes on, what was cancelled moves no tag."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.parts.engine import Engine
from tests.parts.faults import Faults
from tests.parts.registry import Registry
from tests.workers.conftest import MADE
from tests.workers.registry.conftest import Seeds
from workers.contract.failure import Failure
from workers.contract.messages import Fault
from workers.engine.builder import Builder
from workers.registry.patience import Patience
from workers.registry.push import move, push
from workers.registry.registries import AttemptRegistry
from workers.tools import Tools

HURRIED = Patience(tries=3, first=0.01, longest=0.02)
LAYER = 300_000  # bytes


@pytest.fixture
def built(engine: Engine, host: str, name: str, tmp_path: Path) -> Iterator[str]:
    """NAME:TAG of an image with two layers that nobody else has."""
    reference = f"{host}/{name}/shop:abc"
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY a /a\nCOPY b /b\n")
    for file in "ab":
        (tmp_path / file).write_bytes(os.urandom(LAYER))
    labels = {MADE: name}
    engine.client.images.build(path=str(tmp_path), tag=reference, labels=labels, rm=True)
    yield reference
    engine.client.images.remove(reference, force=True)


@pytest.fixture
def builder(tools: Tools) -> Builder:
    return tools.builder


async def test_a_push_that_failed_goes_on_where_it_was(
    built: str, builder: Builder, attempt: AttemptRegistry, faults: Faults, registry: Registry, name: str
) -> None:
    lines: list[str] = []
    faults.cut("PATCH", "/blobs/uploads/", after=LAYER // 3)  # which the engine takes up by itself
    faults.fail("PUT", "/manifests/abc", status=503)
    faults.fail("PUT", "/manifests/abc", status=429, headers={"Retry-After": "1"})

    digest = await push(builder, attempt, built, lines.append, HURRIED)

    assert digest == registry.digest(f"{name}/shop", "abc")
    assert faults.count("PUT", "/manifests/abc") == 3
    whole = [one for one in faults.asked if one.method == "PATCH" and one.sent > LAYER]
    assert len(whole) == 2, "each layer was sent once, whatever came after"
    assert sum("pushing again" in line for line in lines) == 2
    assert all(registry.password not in line for line in lines)


async def test_a_push_that_keeps_failing_ends_as_ours_and_moves_nothing(
    built: str, builder: Builder, attempt: AttemptRegistry, faults: Faults, seeds: Seeds, name: str
) -> None:
    before = seeds.image(f"{name}/shop", "abc", "before")
    faults.fail("PUT", "/manifests/abc", times=3, status=503)

    with pytest.raises(Failure) as failed:
        await push(builder, attempt, built, lambda _: None, HURRIED)

    assert (failed.value.fault, failed.value.reason) == (Fault.OURS, "registry_unreachable")
    assert await attempt.digest(built) == before


async def test_an_immutable_tag_is_not_pushed_again(
    built: str, builder: Builder, attempt: AttemptRegistry, faults: Faults
) -> None:
    said = "The image tag 'abc' already exists and cannot be overwritten because the tag is immutable."
    body = f'{{"errors": [{{"code": "TAG_INVALID", "message": "{said}"}}]}}'
    faults.fail("PUT", "/manifests/abc", status=400, body=body)

    with pytest.raises(Failure) as failed:
        await push(builder, attempt, built, lambda _: None, HURRIED)

    assert (failed.value.fault, failed.value.reason) == (Fault.FINAL, "tag_immutable")
    assert faults.count("PUT", "/manifests/abc") == 1


Meanwhile = Callable[[], Awaitable[object]]


async def held(faults: Faults, doing: Awaitable[object], gated: str) -> asyncio.Future[object]:
    """`doing`, at the moment when the registry has done what `gated` asked, and nobody knows yet."""
    faults.gated = gated
    faults.gate.clear()
    task = asyncio.ensure_future(doing)
    async with asyncio.timeout(90):
        await faults.at_gate.wait()
    faults.gated = ""
    return task


@pytest.mark.parametrize("there", ["before", None])
async def test_a_cancelled_push_moves_no_tag(
    built: str,
    builder: Builder,
    attempt: AttemptRegistry,
    faults: Faults,
    registry: Registry,
    seeds: Seeds,
    name: str,
    there: str | None,
) -> None:
    before = seeds.image(f"{name}/shop", "abc", there) if there else None
    pushing = await held(
        faults, push(builder, attempt, built, lambda _: None, HURRIED), "PUT .*/manifests/abc"
    )
    assert registry.digest(f"{name}/shop", "abc") not in (None, before), "the registry has moved it"

    pushing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pushing

    now = registry.digest(f"{name}/shop", "abc")
    assert now == before if before else now is not None


async def test_a_tag_that_somebody_else_pushed_meanwhile_is_theirs(
    built: str, builder: Builder, attempt: AttemptRegistry, faults: Faults, seeds: Seeds, name: str
) -> None:
    seeds.image(f"{name}/shop", "abc", "before")
    pushing = await held(
        faults, push(builder, attempt, built, lambda _: None, HURRIED), "PUT .*/manifests/abc"
    )
    theirs = seeds.image(f"{name}/shop", "abc", "theirs")
    faults.gate.set()

    with pytest.raises(Failure, match=theirs) as failed:
        await pushing

    assert (failed.value.fault, failed.value.reason) == (Fault.OURS, "tag_moved")
    assert await attempt.digest(built) == theirs


@pytest.mark.parametrize("how", ["failed", "cancelled"])
async def test_tags_are_moved_together_or_not_at_all(
    attempt: AttemptRegistry, faults: Faults, registry: Registry, seeds: Seeds, host: str, name: str, how: str
) -> None:
    before = {tag: seeds.image(f"{name}/shop", tag, tag) for tag in ("main", "1", "1.2", "theirs")}
    digest = seeds.image(f"{name}/shop", "abc", "new")
    if how == "failed":
        faults.fail("PUT", "/manifests/1.2", times=3, status=500)
        with pytest.raises(Failure):
            await move(attempt, f"{host}/{name}/shop", digest, ["main", "1", "1.2", "new"], lambda _: None)
    else:
        tags = ["main", "theirs", "1", "1.2"]
        moving = await held(
            faults, move(attempt, f"{host}/{name}/shop", digest, tags, lambda _: None), "PUT .*/manifests/1$"
        )
        before["theirs"] = seeds.image(f"{name}/shop", "theirs", "even newer")
        moving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await moving

    assert {tag: registry.digest(f"{name}/shop", tag) for tag in before} == before

    lines: list[str] = []
    await move(attempt, f"{host}/{name}/shop", digest, ["main", "new", "main"], lines.append)
    assert [registry.digest(f"{name}/shop", tag) for tag in ("main", "new")] == [digest, digest]
    assert lines == [f"{host}/{name}/shop:{tag} is {digest}\n" for tag in ("main", "new")]
