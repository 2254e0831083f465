"""A tag that is followed: where it is another image by now, that is deployed, and nothing else is."""

from __future__ import annotations

import json

from sqlmodel import select

from bot.jobs.following import moved, why
from bot.store.tables import Delivery, Image, Job, JobState, Release, Repository
from bot.sweeps import marks
from tests.bot.decisions.commands.test_promotions_told import live
from tests.bot.decisions.events.test_elsewhere_told import DIGEST, Waits
from tests.bot.talk import Talk
from workers.contract.messages import Kind

FILE = """
images: {app: {from: ghcr.io/acme/app, tag: stable, follow: "0 4 * * *"}}
environments: {production: }
"""
OLD = "ghcr.io/acme/app@sha256:" + "b" * 64
NEW = f"ghcr.io/acme/app@{DIGEST}"


async def time_comes(talk: Talk) -> str:
    """As the sweep says it; the delivery's GUID."""
    guid = marks.guid()
    async with talk.store.transaction() as session:
        owner = (await session.exec(select(Repository))).one()
        payload = marks.surroundings(owner, marks.about(owner)) | {"follow": {"image": "app", "at": guid}}
        told = json.dumps(payload)
        session.add(Delivery(guid=guid, event="follow", repository_id=owner.id, payload=told))
    return guid


async def main_is_live(talk: Talk, image: str) -> str:
    sha = await Waits(talk).begun()
    await talk.until_run("push")
    await live(talk, "production", sha)
    async with talk.store.transaction() as session:
        for job in (await session.exec(select(Job))).all():
            job.state = JobState.SUCCEEDED
        for release in (await session.exec(select(Release))).all():
            release.image, release.worker = image, "w"
    return sha


async def looked(talk: Talk) -> None:
    """The registry was asked, and says DIGEST."""

    async def asked() -> bool:
        return any(run.ref == "follow/app" for run in await talk.runs())

    await talk._until(asked)
    [sha] = {run.sha for run in await talk.runs() if run.ref == "follow/app"}
    async with talk.store.transaction() as session:
        pushed = select(Job).where(Job.kind == Kind.BUILD, Job.state == JobState.SUCCEEDED)
        for job in (await session.exec(pushed)).all():
            job.sha = "0" * 40  # what the push built is not what is looked for
    await Waits(talk).there(sha)


async def test_another_digest_is_deployed_and_said(talk: Talk) -> None:
    sha = await main_is_live(talk, OLD)

    await time_comes(talk)
    await looked(talk)
    await talk.until_reason(f"deploys to production: {why('ghcr.io/acme/app:stable', OLD, NEW)}")

    deploys = await talk._all(select(Job).where(Job.kind == Kind.DEPLOY, Job.state != JobState.SUCCEEDED))
    assert [(job.sha, job.spec["image_reference"]) for job in deploys] == [(sha, NEW)]
    assert deploys[0].spec["why"] == f"ghcr.io/acme/app:stable changed: sha256:{'b' * 12} → sha256:{'a' * 12}"


async def test_where_nothing_has_changed_nothing_happens(talk: Talk) -> None:
    sha = await main_is_live(talk, NEW)
    await time_comes(talk)
    await looked(talk)
    await talk.until_reason("unchanged: production runs what ghcr.io/acme/app:stable is")

    await time_comes(talk)
    await looked(talk)
    await talk.until_reasons("unchanged: production runs what ghcr.io/acme/app:stable is", 2)

    assert len(await talk._all(select(Job).where(Job.kind == Kind.DEPLOY))) == 1
    found = await talk._all(select(Image).where(Image.reference == NEW))
    assert len(found) == 1, "no look that finds the same leaves another row"
    contexts = {status.context for status in talk.github.statuses(talk.repository, sha)}
    assert contexts <= {"blacktree/build", "blacktree/deploy (production)"}, "nothing but what the push told"


def test_only_the_image_that_has_moved_changes_in_a_release_of_several() -> None:
    release = Release(
        environment_id=1, run_id=1, job_id="1-1", sha="s", image=OLD,
        images={"app": OLD, "worker": "w@sha256:1"}, settings={"image": "app"},
    )  # fmt: skip

    assert moved(release, "worker", "w@sha256:2") == {
        "image": "app",
        "image_reference": OLD,
        "image_references": {"app": OLD, "worker": "w@sha256:2"},
    }
    assert moved(release, "app", OLD) is None
    assert moved(release, "other", NEW) is None
