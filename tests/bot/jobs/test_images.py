"""Images that are found again, and those that no worker may prune."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from bot.jobs import images
from bot.store.database import Store
from bot.store.tables import Image, Job, JobState, Release, ReleaseState
from tests.bot.conftest import NEW, OLD, REPOSITORY, Rows
from workers.contract.messages import Kind, Lookup

KEY = "k" * 64


async def built(rows: Rows, key: str = KEY, **more: Any) -> Image:
    job = await rows.job(await rows.run(OLD), state=JobState.SUCCEEDED)
    known: dict[str, Any] = {
        "repository_id": REPOSITORY, "name": "app", "job_id": job.id, "sha": OLD, "tree": "t",
        "digest": "sha256:1", "reference": "r/shop@sha256:1", "size": 5, "worker": "w",
    }  # fmt: skip
    async with rows.store.transaction() as session:
        image = Image(**{**known, "key": key, **more})
        session.add(image)
    return image


async def asking(rows: Rows, of: Mapping[str, Any] = {}, **spec: Any) -> Job:
    """A build that runs; `of` are columns of its run."""
    run = await rows.run(NEW, **of)
    return await rows.job(run, state=JobState.RUNNING, attempt=1, worker="w", spec=spec)


def ask(job: Job, attempt: int = 1, key: str = KEY) -> Lookup:
    return Lookup(job=job.id, attempt=attempt, key=key)


async def test_the_newest_image_of_the_same_inputs_is_found(store: Store, rows: Rows) -> None:
    await built(rows)
    await built(rows, digest="sha256:2", reference="r/shop@sha256:2")

    known = await images.lookup(store, ask(await asking(rows)), local=False)

    assert known.image is not None
    assert (known.image.digest, known.image.key, known.sha) == ("sha256:2", KEY, OLD)


async def test_what_was_found_once_is_named_by_the_commit_that_it_was_built_for(
    store: Store, rows: Rows
) -> None:
    await built(rows, reused="3" * 40)

    assert (await images.lookup(store, ask(await asking(rows)), local=False)).sha == "3" * 40


@pytest.mark.parametrize(
    ("made", "spec", "asked", "local"),
    [
        ({"fork": True}, {}, {}, False),
        ({}, {"fork": True}, {}, False),
        ({}, {"fresh": True}, {}, False),
        ({}, {}, {"key": "other"}, False),
        ({"key": ""}, {}, {"key": ""}, False),
        ({}, {}, {"attempt": 2}, False),
        ({"repository_id": REPOSITORY + 1}, {}, {}, False),
        ({"worker": "another"}, {}, {}, True),
    ],
)
async def test_nothing_is_found_across_trust_repositories_attempts_or_engines(
    store: Store,
    rows: Rows,
    made: dict[str, Any],
    spec: dict[str, Any],
    asked: dict[str, Any],
    local: bool,
) -> None:
    await built(rows, **made)

    assert (await images.lookup(store, ask(await asking(rows, **spec), **asked), local=local)).image is None


PULL = {"ref": "refs/pull/5/head", "pull_number": 5}


@pytest.mark.parametrize(
    ("made", "asks", "spec", "found"),
    [
        ("", {}, {}, True),
        ("pulls", {}, {}, False),
        ("pulls", PULL, {"preview": True}, True),
        ("pulls", PULL, {}, False),
        ("heads-staging-5", PULL, {"environment": "staging"}, True),
        ("heads-staging-6", PULL, {"environment": "staging"}, False),
        ("heads-production-5", PULL, {"environment": "staging"}, False),
        ("pulls", {"ref": "refs/heads/gh-readonly-queue/main/pr-5-0"}, {}, True),
        ("", {"ref": "refs/heads/gh-readonly-queue/main/pr-5-0"}, {}, False),
        ("", PULL, {"preview": True}, False),
        ("fork-6", PULL, {"preview": True}, False),
        ("fork-6", {}, {}, False),
        ("pulls", {"ref": "refs/heads/main", "pull_number": 5}, {}, False),  # asked for in a comment
    ],
)
async def test_an_image_is_found_again_by_builds_of_its_own_trust_only(
    store: Store, rows: Rows, made: str, asks: dict[str, Any], spec: dict[str, Any], found: bool
) -> None:
    await built(rows, trust=made)

    known = await images.lookup(store, ask(await asking(rows, asks, **spec)), local=False)

    assert (known.image is not None) is found


async def test_a_release_of_a_name_of_before_is_known_and_kept_as_one_of_an_engine_is_while_its_worker_is(
    store: Store, rows: Rows
) -> None:
    old, here = "ghcr.io/acme/shop-api@sha256:1", "sha256:" + "2" * 64
    await built(rows, reference=old)
    await built(rows, reference=here)
    releases = [
        Release(environment_id=1, run_id=1, job_id="1", sha=OLD, image=image) for image in (old, here)
    ]

    assert await images.known(store, REPOSITORY, releases, local=False) == {old}, "w was never heard"


async def test_an_environments_last_releases_keep_their_images(store: Store, rows: Rows) -> None:
    for place in range(4):
        job = await rows.job(await rows.run(), 1, Kind.DEPLOY, "production", state=JobState.SUCCEEDED)
        state = ReleaseState.LIVE if place == 3 else ReleaseState.RETIRED
        columns: dict[str, Any] = {"image": f"shop@{place}", "state": state, "settings": {"keep": 2}}
        release = await rows.release(job, live_at=job.created_at, **columns) if place == 0 else None
        if release is not None:
            environment = release.environment_id
            continue
        async with store.transaction() as session:
            session.add(
                Release(
                    environment_id=environment, run_id=job.run_id, job_id=job.id, sha=OLD,
                    live_at=job.created_at, **columns,
                )
            )  # fmt: skip

    async with store.reading() as session:
        assert await images.kept(session) == ["shop@2", "shop@3"]
