"""Which images no worker prunes."""

from __future__ import annotations

import pytest

from bot.jobs import images
from bot.store.database import Store
from bot.store.tables import Image, JobState
from tests.bot.conftest import REPOSITORY, Rows
from workers.contract.messages import Kind


async def kept(store: Store) -> list[str]:
    async with store.reading() as session:
        return await images.kept(session)


@pytest.mark.parametrize(
    ("deploy", "needed"),
    [(JobState.WAITING, True), (JobState.QUEUED, True), (JobState.CANCELLED, False)],
)
async def test_what_a_deploy_waits_for_is_kept_from_its_build_on(
    store: Store, rows: Rows, deploy: JobState, needed: bool
) -> None:
    run = await rows.run()
    build, _ = await rows.pair(run, JobState.SUCCEEDED, deploy)
    await rows.job(
        run, 3, Kind.DEPLOY, "staging", state=deploy, spec={"image_reference": "shop@sha256:promoted"}
    )
    async with store.transaction() as session:
        for job, reference in ((build.id, "shop@sha256:built"), ("0-1", "shop@sha256:of-another-run")):
            session.add(
                Image(
                    repository_id=REPOSITORY, name="app", job_id=job, sha=run.sha, tree="t", digest="d",
                    reference=reference, size=1,
                )
            )  # fmt: skip

    assert await kept(store) == (["shop@sha256:built", "shop@sha256:promoted"] if needed else [])
