"""What a worker is granted for a task: what the release that is live has, and where that is."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlmodel import select

from bot.fleet import roster, tasks
from bot.secrets.repositories import Secrets
from bot.secrets.vault import Vault
from bot.store.database import Store
from bot.store.tables import Job, JobState, Release, ReleaseState
from config.settings import Settings
from tests.bot.conftest import Rows
from tests.bot.decisions.commands.test_tasks_told import lives_at, main_is_live, newest, offered
from tests.bot.fleet.test_elsewhere import heard
from tests.bot.talk import Talk
from workers.contract.messages import Claim, Credentials, Grant, Kind, Refusal, TaskSpec, now
from workers.contract.seal import Keys

FILE = """
environments:
  production:
    secrets: [TOKEN]
    env: {COLOUR: green}
    volumes: {data: /data}
    services:
      db: {image: postgres:17, generate: [PASSWORD], provides: {DATABASE: "pg://{PASSWORD}@db"}}
    processes: {web: , worker: {command: ./work, env: {ROLE: worker}}}
    tasks: {report: {command: ./report, process: worker}}
"""


async def claimed(talk: Talk, job: str) -> tuple[TaskSpec, Credentials] | Refusal:
    keys = Keys()
    claim = Claim(job=job, worker="w", instance="i", nonce=job, public_key=keys.public)
    answer = await talk.queue.request(claim, 60)
    if isinstance(answer, Refusal):
        return answer
    assert isinstance(answer, Grant)
    assert isinstance(answer.spec, TaskSpec)
    assert "hidden" not in answer.model_dump_json()
    return answer.spec, keys.open(answer.sealed)


async def asked_for(talk: Talk) -> Job:
    place = await main_is_live(talk)
    await lives_at(talk, "w")
    answer = await talk.api.post(f"/environments/{place}/tasks/report/runs", json={})
    assert answer.status_code == 202, answer.text
    return await offered(talk)


async def told(talk: Talk, folder: Path) -> None:
    settings = Settings(data_dir=folder / "bot")
    await Secrets(talk.store, Vault(talk.store, settings)).set(talk.repository.id, "", "TOKEN", "hidden")


async def test_a_task_is_granted_what_its_release_has(talk: Talk, tmp_path: Path) -> None:
    await told(talk, tmp_path)
    job = await asked_for(talk)

    granted = await claimed(talk, job.id)

    assert not isinstance(granted, Refusal), granted
    spec, known = granted
    assert (spec.name, spec.command, spec.process, spec.timeout) == ("report", ["./report"], "worker", 3600)
    release = spec.release
    assert [one.name for one in release.processes] == ["web", "worker"]
    assert (list(release.volumes.values()), release.tasks) == (["/data"], 1)
    password = known.services["db"]["PASSWORD"]
    assert known.env == {"TOKEN": "hidden", "DATABASE": f"pg://{password}@db"}
    assert {"hidden", password} <= set(known.secrets())
    assert known.git_password == known.trust == ""


async def test_what_runs_in_a_strangers_release_gets_no_secret(talk: Talk, tmp_path: Path) -> None:
    await told(talk, tmp_path)
    job = await asked_for(talk)
    async with talk.store.transaction() as session:
        release = (await session.exec(select(Release))).one()
        release.settings = {**release.settings, "fork": True}

    granted = await claimed(talk, job.id)

    assert not isinstance(granted, Refusal), granted
    assert "TOKEN" not in granted[1].env
    assert granted[1].registries == []


async def test_where_another_release_goes_live_meanwhile_the_task_is_asked_for_again(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await asked_for(talk)
    known = tasks.known

    async def slowly(secrets: Secrets, settings: Settings, job: Job, release: Release) -> Credentials:
        async with talk.store.transaction() as session:
            old = (await session.exec(select(Release))).one()
            old.state = ReleaseState.RETIRED
            more = old.model_dump(exclude={"id", "job_id", "state"})
            session.add(Release(**more, job_id="another", state=ReleaseState.LIVE))
        return await known(secrets, settings, job, release)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(tasks, "known", slowly)
        first = await claimed(talk, job.id)

    assert first == Refusal(reason="another release is live by now, with secrets of its own", retry=True)
    assert (await newest(talk)).state is JobState.QUEUED
    assert not isinstance(await claimed(talk, job.id), Refusal)


@pytest.mark.parametrize(
    ("target", "image", "bound"),
    [("containers", "shop@sha256:1", True), ("swarm", "shop@sha256:1", False), ("swarm", "sha256:1", True)],
)
async def test_a_task_is_for_the_worker_that_has_its_release(
    store: Store, rows: Rows, target: str, image: str, bound: bool
) -> None:
    deploy = await rows.job(await rows.run(), 1, Kind.DEPLOY, "production", state=JobState.SUCCEEDED)
    live = {"state": ReleaseState.LIVE, "worker": "right", "live_at": now(), "image": image}
    await rows.release(deploy, **live, settings={"target": target})
    task = await rows.job(
        await rows.run(), 2, Kind.TASK, "nightly", environment="production", state=JobState.QUEUED
    )
    await heard(store, "right")
    await heard(store, "wrong")

    async with store.reading() as session:
        wrong = await roster.elsewhere(session, task, "wrong", lease=30, local=False)
        right = await roster.elsewhere(session, task, "right", lease=30, local=False)

    assert right is None
    assert (wrong is not None and wrong.free == ("right",)) is bound
