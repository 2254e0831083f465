"""Releases of several images and processes: what they ship, what is kept for them, what a worker is told."""

from __future__ import annotations

from typing import Any

import pytest

from bot.decisions.plan import push
from bot.fleet.roster import having_all
from bot.jobs import images, releases, specs
from bot.store.database import Store
from bot.store.tables import Image, Job, JobState, Release, ReleaseState, Repository
from config.repository import parse
from config.settings import Settings
from tests.bot.conftest import REPOSITORY, Rows
from workers.contract.messages import Kind, now

FILE = """
images: {web: {}, api: {dockerfile: D}}
environments:
  production:
    image: api
    env: {LEVEL: info, BLACKTREE_SHA: "0"}
    processes:
      web: {image: web, port: 3000}
      clock: {command: [clock], overlap: false, env: {LEVEL: debug}, grace: 3}
"""
NAMED = {"api": "api@sha256:1", "web": "web@sha256:2"}


def deploy() -> dict[str, Any]:
    return push(parse(FILE), "main", "main", "a" * 40)[-1].spec


async def built(store: Store, run_id: int | None) -> None:
    async with store.transaction() as session:
        for place, (name, reference) in enumerate(NAMED.items(), start=1):
            known: dict[str, Any] = {"repository_id": REPOSITORY, "sha": "s", "tree": "t", "digest": "d"}
            job = f"{run_id}-{place}"
            session.add(Image(**known, job_id=job, name=name, reference=reference, size=1, worker="one"))


async def test_a_release_has_all_images_that_its_deploy_needed_and_brings_them_out_again(
    store: Store, rows: Rows
) -> None:
    run = await rows.run()
    builds = [
        await rows.job(run, place, name=name, state=JobState.SUCCEEDED)
        for place, name in ((1, "api"), (2, "web"))
    ]
    job = await rows.job(run, 3, Kind.DEPLOY, "production", needs=[one.id for one in builds], spec=deploy())
    await built(store, run.id)
    await rows.release(await rows.job(run, 4, Kind.DEPLOY, "production"))

    async with store.transaction() as session:
        made = await releases.of(session, job)

    assert (made.image, made.images) == ("api@sha256:1", NAMED)
    again = await rows.job(run, 5, Kind.DEPLOY, "production", spec=releases.again(made))
    async with store.transaction() as session:
        once_more = await releases.of(session, again)
    assert (once_more.image, once_more.images) == (made.image, made.images)
    assert once_more.settings == made.settings


@pytest.mark.parametrize("how", ["served", "starting", "awaited"])
async def test_no_worker_prunes_any_image_of_a_release(store: Store, rows: Rows, how: str) -> None:
    run = await rows.run()
    given = {"image_reference": NAMED["api"], "image_references": NAMED}
    state = JobState.QUEUED if how == "awaited" else JobState.SUCCEEDED
    job = await rows.job(run, 1, Kind.DEPLOY, "production", state=state, spec=given)
    if how != "awaited":
        columns: dict[str, Any] = {"image": NAMED["api"], "images": NAMED}
        served = {"state": ReleaseState.RETIRED, "live_at": now()}
        await rows.release(
            job, **columns, **(served if how == "served" else {"state": ReleaseState.STARTING})
        )

    async with store.reading() as session:
        assert await images.kept(session) == sorted(NAMED.values())


async def test_a_release_is_known_only_with_all_of_its_images(store: Store, rows: Rows) -> None:
    run = await rows.run()
    release = await rows.release(
        await rows.job(run, 1, Kind.DEPLOY, "production"),
        image=NAMED["api"],
        images={**NAMED, "x": "x@sha256:3"},
    )
    await built(store, run.id)

    known = await images.known(store, REPOSITORY, [release], local=False)

    assert known == set(NAMED.values())
    assert not known.issuperset(images.of(release))


def test_a_worker_is_told_of_each_process_its_image_and_variables() -> None:
    spec = deploy()
    job = Job(
        id="1-3", run_id=1, repository_id=7, sha="a" * 40, kind=Kind.DEPLOY, name="production",
        environment="production", context="", pool="default", attempts=3, spec=spec,
    )  # fmt: skip
    release = Release(
        id=5, environment_id=1, run_id=1, job_id=job.id, sha=job.sha, image=NAMED["api"], images=NAMED,
        settings=spec,
    )  # fmt: skip
    repository = Repository(id=7, full_name="acme/shop", default_branch="main")

    told = specs.deploy(job, repository, release, Settings(registry="ghcr.io/acme"), "bot1")

    web, clock = told.processes
    assert (told.image, told.pull, web.image, clock.image) == (NAMED["api"], True, NAMED["web"], NAMED["api"])
    assert (web.port, web.served, clock.port, clock.served) == (3000, True, None, False)
    assert (clock.overlap, clock.grace, clock.probe.kind, clock.command) == (False, 3, "up", ["clock"])
    assert clock.env == {
        "LEVEL": "debug", "BLACKTREE_ENVIRONMENT": "production", "BLACKTREE_SHA": job.sha,
        "BLACKTREE_PROCESS": "clock",
    }  # fmt: skip
    assert web.env["LEVEL"] == "info"


@pytest.mark.parametrize(
    ("places", "there"),
    [
        ([{"one"}], {"one"}),
        ([{"one", "two"}, {"two"}], {"two"}),
        ([{"one"}, {None}], {"one"}),
        ([{None}], set()),
        ([{"one"}, {"two"}], {"one", "two"}),
    ],
)
def test_a_deploy_goes_to_who_has_all_images(places: list[set[str | None]], there: set[str]) -> None:
    assert having_all(places) == there
