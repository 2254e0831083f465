"""What a worker is granted, asked for as a worker asks: an attempt knows what it needs, and no more."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr
from sqlmodel import select

from bot.reports import texts
from bot.secrets.repositories import Secrets
from bot.secrets.vault import Vault
from bot.store.tables import Job, JobState, Secret
from config.settings import Settings
from tests.bot.talk import Talk, talking
from tests.github import GitHub
from workers.contract.messages import (
    BuildSpec,
    Claim,
    Credentials,
    Grant,
    Heartbeat,
    HeartbeatAnswer,
    Kind,
    Refusal,
    now,
)
from workers.contract.seal import Keys

_AUTHS = {"auths": {"quay.io": {"username": "bob", "password": "further"}}}


@pytest.fixture
async def talk(tmp_path: Path, github: GitHub) -> AsyncIterator[Talk]:
    """A bot that has logins of two registries."""
    settings: dict[str, Any] = {
        "registry": "ghcr.io/acme",
        "registry_username": "ada",
        "registry_password": SecretStr("pushes"),
        "registry_auths": SecretStr(json.dumps(_AUTHS)),
    }
    async with talking(tmp_path, github, **settings) as here:
        yield here


async def granted(talk: Talk, job: Job) -> tuple[BuildSpec, Credentials]:
    keys = Keys()
    claim = Claim(job=job.id, worker="w", instance="i", nonce=uuid4().hex, public_key=keys.public)
    answer = await talk.queue.request(claim, 60)
    assert isinstance(answer, Grant), answer
    assert "pushes" not in answer.model_dump_json()
    assert isinstance(answer.spec, BuildSpec)
    return answer.spec, keys.open(answer.sealed)


async def newest(talk: Talk) -> Job:
    """The build of the newest run, which has been offered."""

    async def offered() -> bool:
        return (await talk.jobs((await talk.runs())[-1]))[0].offered_at is not None

    await talk._until(offered)
    return (await talk.jobs((await talk.runs())[-1]))[0]


async def test_main_a_pull_request_and_a_fork_share_no_name_no_domain_and_no_login(
    talk: Talk, github: GitHub, tmp_path: Path
) -> None:
    await talk.push({"a": "0"})
    await talk.until_run("push")
    main, trusted = await granted(talk, await newest(talk))
    number, _ = await talk.open_pull({"a": "1"})
    await talk.until_run("pull_request")
    pull, shown = await granted(talk, await newest(talk))
    head = await _approved_fork(talk, github, tmp_path)
    fork, strange = await granted(talk, await newest(talk))

    assert (main.reference, main.push) == ("ghcr.io/acme/acme/shop", True)
    assert (pull.reference, pull.push) == ("ghcr.io/acme/acme/shop/app_pulls", True)
    assert fork.reference == f"ghcr.io/acme/acme/shop/app_fork-{number + 1}"
    assert (fork.source.sha, fork.push, fork.fork) == (head, False, True)
    assert len({trusted.trust, shown.trust, strange.trust}) == 3
    assert all(len(one.trust) == 64 for one in (trusted, shown, strange))
    for known in (trusted, shown):
        assert {login.password for login in known.registries} == {"pushes", "further"}
    assert strange.registries == []
    assert strange.build == strange.env == {}


async def _approved_fork(talk: Talk, github: GitHub, folder: Path) -> str:
    eve = github.user("eve")
    talk.repository.collaborators["eve"] = "read"
    fork = await github.fork(talk.repository, eve)
    work = await fork.clone(folder / "fork", eve)
    await work.checkout("idea", create=True)
    head = await work.commit({"b": "1"}, message="An idea")
    await work.push(branch="idea")
    number = await github.open_pull(talk.repository, eve, head="eve:idea")
    await talk.announced(number, head)
    await talk.accepted(number, f"/approve {head}")
    return head


async def test_a_job_whose_secrets_no_key_opens_ends_with_a_sentence(talk: Talk, tmp_path: Path) -> None:
    sha = await talk.push({"a": "0"})
    await talk.until_run("push")
    job = await newest(talk)
    settings = Settings(data_dir=tmp_path / "bot")
    await Secrets(talk.store, Vault(talk.store, settings)).set(talk.repository.id, "", "TOKEN", "hidden")
    async with talk.store.transaction() as session:
        row = await session.get_one(Job, job.id)
        row.spec = {**row.spec, "secrets": ["TOKEN"]}
        (await session.exec(select(Secret))).one().value = "v1:sealed with another key"

    claim = Claim(job=job.id, worker="w", instance="i", nonce="n", public_key=Keys().public)
    answer = await talk.queue.request(claim, 60)

    assert isinstance(answer, Refusal)
    assert (answer.retry, answer.reason) == (False, texts.NO_KEY)
    assert await talk.status(sha, "blacktree/build", "error") == texts.NO_KEY
    assert (await talk.jobs((await talk.runs())[-1]))[0].reason == "no_key"


async def test_a_deploy_for_which_no_tcp_port_is_left_ends_with_a_sentence_before_anything_starts(
    talk: Talk,
) -> None:
    await talk.push({"a": "0"})
    await talk.until_run("push")
    async with talk.store.transaction() as session:
        deploy = (await session.exec(select(Job).where(Job.kind == Kind.DEPLOY))).one()
        said = {"served": False, "expose": 5432, "overlap": True, "image": "app"}
        deploy.state, deploy.needs, deploy.unmet = JobState.QUEUED, [], 0
        deploy.spec = {**deploy.spec, "processes": {"db": said}, "image_reference": "shop@sha256:1"}

    claim = Claim(job=deploy.id, worker="w", instance="i", nonce="n", public_key=Keys().public)
    answer = await talk.queue.request(claim, 60)

    assert isinstance(answer, Refusal), answer
    assert "TCP_PORTS" in answer.reason
    async with talk.store.reading() as session:
        ended = await session.get_one(Job, deploy.id)
    assert (ended.state, ended.reason) == (JobState.FAILED, "no_tcp_port")
    assert "TCP_PORTS" in ended.sentence


async def test_no_claim_brings_a_repository_over_its_limit_and_the_job_stands_in_line_again(
    tmp_path: Path, github: GitHub
) -> None:
    async with talking(tmp_path, github, repository_jobs=1) as talk:
        await talk.push({"a": "0"})
        await talk.until_run("push")
        first = await newest(talk)
        await granted(talk, first)
        async with talk.store.transaction() as session:
            copied = {**first.model_dump(), "id": "another", "pool": "gpu", "state": JobState.QUEUED}
            session.add(Job(**{**copied, "attempt": 0, "worker": None, "offered_at": now()}))

        claim = Claim(job="another", worker="w", instance="i", nonce="m", public_key=Keys().public)
        answer = await talk.queue.request(claim, 60)

        assert isinstance(answer, Refusal)
        assert "1 jobs running of 1 at once" in answer.reason
        async with talk.store.reading() as session:
            again = await session.get_one(Job, "another")
        assert (again.state, again.offered_at, again.attempt) == (JobState.QUEUED, None, 0)


async def test_a_job_with_labels_is_refused_to_whoever_lacks_them_and_stands_in_line_again(
    talk: Talk,
) -> None:
    await talk.push({"a": "0"})
    await talk.until_run("push")
    job = await newest(talk)
    async with talk.store.transaction() as session:
        row = await session.get_one(Job, job.id)
        row.pool, row.spec = "default+gpu", {**row.spec, "runs_on": ["gpu"]}
    for worker, labels in (("w", ["amd64"]), ("strong", ["amd64", "gpu"])):
        beat = Heartbeat(
            worker=worker, instance="i", pool="default", slots=1, address="", software="", labels=labels
        )
        told = await talk.queue.request(beat, 60)
        assert isinstance(told, HeartbeatAnswer)
        assert told.lines == (["default+gpu"] if worker == "strong" else [])

    claim = Claim(job=job.id, worker="w", instance="i", nonce="m", public_key=Keys().public)
    answer = await talk.queue.request(claim, 60)
    assert answer == Refusal(reason="it asks for a worker with gpu")
    again = await talk.queue.request(claim.model_copy(update={"worker": "strong"}), 60)
    while isinstance(again, Refusal) and again.reason == "it is queued":  # it was put off for a moment
        again = await talk.queue.request(claim.model_copy(update={"worker": "strong"}), 60)
    assert isinstance(again, Grant), again
