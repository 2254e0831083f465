"""Images that are found again, and those that no worker may prune."""

from __future__ import annotations

from typing import Any

import pytest

from bot import images
from bot.store.database import Store
from bot.store.tables import Image, Job, JobState, ReleaseState
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


async def asking(rows: Rows, **spec: Any) -> Job:
    return await rows.job(await rows.run(NEW), state=JobState.RUNNING, attempt=1, worker="w", spec=spec)


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
            from bot.store.tables import Release

            session.add(
                Release(
                    environment_id=environment, run_id=job.run_id, job_id=job.id, sha=OLD,
                    live_at=job.created_at, **columns,
                )
            )  # fmt: skip

    async with store.reading() as session:
        assert await images.kept(session) == ["shop@2", "shop@3"]
