"""An image that GitHub Actions builds: it is waited for, found, deployed; or it is told why not."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import col, select

from bot.github import forge
from bot.github.client import GitHubError
from bot.jobs import awaiting
from bot.store.tables import AwaitRow, Image, Job, JobState, Repository
from bot.web.pages import jobs
from config.settings import Settings
from tests.bot.talk import Talk
from workers.contract.messages import (
    Claim,
    Credentials,
    DeploySpec,
    Failed,
    Fault,
    Finished,
    Grant,
    Heartbeat,
    ImageResult,
    Kind,
    PinSpec,
    Succeeded,
    now,
)
from workers.contract.seal import Keys

FILE = """
images:
  app: {from: ghcr.io/acme/app, check: build}
  moved: {from: ghcr.io/acme/moved, tag: ["{branch}", "{sha}"], check: build}
environments:
  production: {image: app}
  staging: {image: moved, branch: staging}
"""
DIGEST = "sha256:" + "a" * 64
CONTEXT = "blacktree/build (app)"
KEYS = Keys()


class Waits:
    """A push to main that waits, and a worker that looks."""

    def __init__(self, talk: Talk) -> None:
        self.talk = talk

    async def begun(self, branch: str = "main") -> str:
        beat = Heartbeat(worker="w", instance="i", pool="default", slots=9, address="127.0.0.1", software="")
        await self.talk.queue.request(beat, 60)
        return await self.talk.push({"a": "1"}, branch)

    async def job(self, sha: str, kind: Kind = Kind.BUILD) -> Job:
        found: list[Job] = await self.talk._all(select(Job).where(Job.sha == sha, Job.kind == kind))
        return found[0]

    async def granted(self, sha: str, kind: Kind = Kind.BUILD) -> Grant:
        """Once it is looked for: what the worker is told."""

        async def offered() -> bool:
            found = await self.talk._all(select(Job).where(Job.sha == sha, Job.kind == kind))
            return bool(found) and found[0].offered_at is not None and found[0].state is JobState.QUEUED

        await self.talk._until(offered)
        job = await self.job(sha, kind)
        nonce = f"{job.id}.{job.attempt}"
        claim = Claim(job=job.id, worker="w", instance="i", nonce=nonce, public_key=KEYS.public)
        answer = await self.talk.queue.request(claim, 60)
        assert isinstance(answer, Grant), answer
        return answer

    async def ends(self, grant: Grant, result: Any) -> None:
        await self.talk.queue.tell(
            Finished(job=grant.job, attempt=grant.attempt, at=now(), result=result, steps=[])
        )

    async def not_there(self, sha: str, reason: str = "image_awaited", sentence: str = "it is not") -> Grant:
        grant = await self.granted(sha)
        await self.ends(grant, Failed(fault=Fault.OURS, reason=reason, sentence=sentence))

        async def back() -> bool:
            return (await self.job(sha)).state is not JobState.RUNNING

        await self.talk._until(back)
        return grant

    async def there(self, sha: str) -> None:
        grant = await self.granted(sha)
        assert isinstance(grant.spec, PinSpec)
        name = grant.spec.reference.rpartition(":")[0]
        image = ImageResult(digest=DIGEST, reference=f"{name}@{DIGEST}", size=0, tree="", key="")
        await self.ends(grant, Succeeded(image=image))


async def test_what_actions_push_is_waited_for_without_a_slot_and_deployed_by_its_digest(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(awaiting, "_FIRST", 60.0)  # it is not looked for again before it is woken
    waits = Waits(talk)
    sha = await waits.begun()
    talk.github.check_run(talk.repository, sha, "build", None)
    await talk.until_reason("looks for what waits for")  # which wakes it too

    grant = await waits.not_there(sha)

    assert isinstance(grant.spec, PinSpec)
    assert grant.spec.reference == f"ghcr.io/acme/app:{sha}"
    assert KEYS.open(grant.sealed) == Credentials()  # no token for a clone, no other registry's login
    said = await talk.status(sha, CONTEXT, "pending")
    assert said == f"Waiting for ghcr.io/acme/app:{sha}"
    waiting = await waits.job(sha)
    assert (waiting.state, waiting.worker is None or waiting.offered_at is None) == (JobState.QUEUED, True)

    talk.github.check_run(talk.repository, sha, "build")  # which wakes it
    await waits.there(sha)

    assert await talk.status(sha, CONTEXT, "success") == f"ghcr.io/acme/app:{sha} is {DIGEST[:19]}"
    deploy = await waits.granted(sha, Kind.DEPLOY)
    assert isinstance(deploy.spec, DeploySpec)
    assert (deploy.spec.image, deploy.spec.pull) == (f"ghcr.io/acme/app@{DIGEST}", True)
    assert not await talk._all(select(AwaitRow))
    images: list[Image] = await talk._all(select(Image))
    assert [image.worker for image in images] == [None]


async def test_a_check_that_fails_ends_the_wait_with_a_sentence_that_says_so(talk: Talk) -> None:
    waits = Waits(talk)
    sha = await waits.begun()
    await waits.not_there(sha, "registry_denied", "ghcr.io refuses it")
    said = f"Waiting for ghcr.io/acme/app:{sha} (ghcr.io refuses it)"
    await talk.github.until(lambda: _description(talk, sha) == said)

    talk.github.check_run(talk.repository, sha, "build", "failure")

    async def known() -> bool:
        return any(row.ended_at for row in await talk._all(select(AwaitRow)))

    await talk._until(known)
    await waits.not_there(sha)
    said = await talk.status(sha, CONTEXT, "failure")
    assert said == f"ghcr.io/acme/app:{sha} is not there: check build failed"
    deploy = await waits.job(sha, Kind.DEPLOY)
    assert deploy.state is JobState.CANCELLED
    assert not await talk._all(select(AwaitRow))


async def test_a_newer_push_ends_the_wait_of_an_older_one(talk: Talk) -> None:
    waits = Waits(talk)
    old = await waits.begun()
    await waits.not_there(old)

    new = await talk.push({"a": "2"})

    assert await talk.status(old, CONTEXT, "error") == f"Superseded by {new[:7]}"


async def test_a_branchs_tag_is_not_asked_for_before_the_check_that_makes_it_has_succeeded(
    talk: Talk,
) -> None:
    waits = Waits(talk)
    await talk.work.checkout("staging", create=True)
    sha = await waits.begun("staging")
    context = "blacktree/build (moved)"
    assert await talk.status(sha, context, "pending") == "Waiting for ghcr.io/acme/moved:staging"
    assert (await waits.job(sha)).attempt == 0

    talk.github.check_run(talk.repository, sha, "build")
    await waits.there(sha)

    assert await talk.status(sha, context, "success")


async def test_a_branchs_tag_whose_check_fails_is_never_asked_for(talk: Talk) -> None:
    waits = Waits(talk)
    await talk.work.checkout("staging", create=True)
    sha = await waits.begun("staging")
    await talk.status(sha, "blacktree/build (moved)", "pending")

    talk.github.check_run(talk.repository, sha, "build", "failure")

    said = await talk.status(sha, "blacktree/build (moved)", "failure")
    assert said == "ghcr.io/acme/moved:staging is not there: check build failed"
    assert (await waits.job(sha)).attempt == 0


async def test_a_wait_that_ends_since_no_check_could_be_read_says_so(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: Any) -> None:
        raise GitHubError("checks: read is missing")

    monkeypatch.setattr(forge.GitHub, "checks_of", refused)
    waits = Waits(talk)
    await talk.work.checkout("staging", create=True)
    sha = await waits.begun("staging")

    async def asked() -> bool:
        return any(row.said for row in await talk._all(select(AwaitRow)))

    await talk._until(asked)
    async with talk.store.transaction() as session:
        (await session.exec(select(AwaitRow))).one().until = now()

    said = await talk.status(sha, "blacktree/build (moved)", "failure")
    assert said.endswith("GitHub did not tell of its checks: checks: read is missing")


def _description(talk: Talk, sha: str) -> str | None:
    status = talk.github.latest_statuses(talk.repository, sha).get(CONTEXT)
    return status.description if status else None


async def test_what_others_say_of_a_commit_is_all_read_and_what_we_say_is_left_out(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own check of a wait would else never let it be seen that nothing makes the image any more."""
    monkeypatch.setattr(forge, "MOST", 1)
    for installation in talk.github.world.installations.values():
        installation.permissions["checks"] = "write"
    sha = await Waits(talk).begun()
    await talk.github.until(lambda: [one for one in talk.github.world.check_runs.values() if one.app])
    talk.github.check_run(talk.repository, sha, "build", "failure")
    talk.github.check_run(talk.repository, sha, "lint", "failure")
    talk.github.check_run(talk.repository, sha, "build", apart=True)  # a push's, and its pull request's
    owner = (await talk._all(select(Repository)))[0]
    app = talk.github.app
    settings = Settings(
        github_api_url=talk.github.api_url, github_app_id=app.id, github_app_private_key=app.private_key
    )

    async with forge.GitHub.connected(settings) as github:
        ended = await github.checks_of(owner, sha)
        talk.github.check_run(talk.repository, sha, "build", None)
        again = await github.checks_of(owner, sha)

    assert ended == ({"build": "success", "lint": "failure"}, True)
    assert again == ({"build": "pending", "lint": "failure"}, False)


async def test_a_wait_is_shown_as_one_wherever_jobs_are(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(awaiting, "_FIRST", 60.0)  # it is not looked for again meanwhile
    waits = Waits(talk)
    sha = await waits.begun()
    await waits.not_there(sha, "registry_denied", "ghcr.io refuses it")
    said = f"Waiting for ghcr.io/acme/app:{sha} (ghcr.io refuses it)"

    job = await waits.job(sha)
    listed = (await talk.api.get("/jobs", params={"state": "queued"})).json()
    why = (await talk.api.get("/why", params={"q": sha})).json()

    async with talk.store.reading() as session:
        views = await jobs.in_state(session, col(Job.id) == job.id, JobState.QUEUED, limit=1)

    [shown] = [one for one in listed if one["id"] == job.id]
    assert (shown["reason"], shown["sentence"]) == ("image_awaited", said)
    assert why["verdict"] == f"build app waits: {said}"
    assert [view.says for view in views] == [said]
