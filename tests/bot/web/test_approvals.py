"""What waits for an approval, and how that is given or refused: over HTTP, to a bot without a worker."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, select

from bot.store.tables import AuditRow, Lock, Mark
from tests.bot.decisions.test_environments_told import ALWAYS, served
from tests.bot.talk import Talk
from tests.github import User
from workers.contract.messages import Kind, now

FILE = """
environments:
  production: {branch: main, gates: {approval: true}}
  staging: {branch: null}
  preview: {}
"""
AT = "/repositories/acme/shop"
PRODUCTION = "blacktree/deploy (production)"


async def of_a_fork(talk: Talk, folder: Path) -> tuple[int, str]:
    """A stranger's pull request, and its head."""
    eve = talk.github.user("eve")
    talk.repository.collaborators["eve"] = "read"
    fork = await talk.github.fork(talk.repository, eve)
    work = await fork.clone(folder / "fork", eve)
    await work.checkout("feature", create=True)
    sha = await work.commit({"a": "1"})
    await work.push(branch="feature")
    number = await talk.github.open_pull(talk.repository, eve, head="eve:feature")
    await talk.status(sha, "blacktree/build", "pending")
    return number, sha


async def said(talk: Talk, path: str, status: int, **body: Any) -> Any:
    answer = await talk.api.post(f"{AT}{path}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


async def answered(talk: Talk, how: str, number: int, sha: str, user: User) -> list[str]:
    """Somebody approves; what they are told, a line for each thing."""
    if how == "comment":
        return (await talk.done(number, f"/approve {sha}", user)).splitlines()
    told = await said(talk, "/approvals", 202, sha=sha, actor=user.login)
    assert told["run"]
    return str(told["message"]).split("; ")


async def waits(talk: Talk) -> list[Any]:
    return list((await talk.api.get("/approvals", params={"repository": "acme/shop"})).json())


async def test_a_forks_commit_that_waits_is_listed_and_one_approval_builds_exactly_it(
    talk: Talk, tmp_path: Path
) -> None:
    number, sha = await of_a_fork(talk, tmp_path)
    [one] = await waits(talk)
    assert (one["environment"], one["pull_number"], one["sha"]) == ("", number, sha)

    stranger = await said(talk, "/approvals", 422, sha=sha, actor="eve")
    other = await said(talk, "/approvals", 422, sha="0" * 40, actor="ada")
    done = await said(talk, "/approvals", 202, sha=sha, actor="ada", why="looked at it")

    assert "sign in with GitHub" in stranger["detail"]
    assert "nothing waits for it" in other["detail"]
    [run] = [run for run in await talk.runs() if run.cause == "api approve"]
    assert (done["run"], run.sha, run.actor, run.fork, run.pull_number) == (run.id, sha, "ada", True, number)
    assert all(job.spec["fork"] for job in await talk.jobs(run))
    assert await waits(talk) == []


async def test_what_is_denied_waits_no_more_and_its_status_says_who_and_why(
    talk: Talk, tmp_path: Path
) -> None:
    number, sha = await of_a_fork(talk, tmp_path)

    told = await said(talk, "/denials", 201, sha=sha, actor="ada", why="it mines coins")

    assert told["message"] == "Denied by ada: it mines coins"
    assert await talk.status(sha, "blacktree/build", "failure") == "Denied by ada: it mines coins"
    assert await waits(talk) == []
    await talk.shown(number, "Denied by ada")
    assert (await said(talk, "/approvals", 202, sha=sha, actor="ada"))["run"], "whoever thinks again may"


async def test_a_deploy_that_an_approval_holds_goes_on_with_it_but_not_by_its_own_authors(talk: Talk) -> None:
    grace = talk.github.user("grace")
    talk.repository.collaborators["grace"] = "write"
    sha = await talk.push({"a": "1"})
    await talk.status(sha, "blacktree/deploy (production)", "error")
    [one] = await waits(talk)
    assert (one["environment"], one["pull_number"], one["sha"], one["actor"]) == ("production", 0, sha, "ada")
    assert "nobody has approved this commit" in one["why"]

    own = await said(talk, "/approvals", 202, sha=sha, actor="ada")
    assert (own["run"], "still held by approval" in own["message"]) == (None, True)
    done = await said(talk, "/approvals", 202, sha=sha, actor=grace.login, why="goes out")

    [run] = [run for run in await talk.runs() if run.cause == "api approve"]
    assert (done["run"], run.sha, run.actor) == (run.id, sha, "ada")
    assert await waits(talk) == []
    async with talk.store.reading() as session:
        [*_, entry] = (await session.exec(select(AuditRow))).all()
    assert entry.what.startswith(f"approved {sha[:7]}")


@pytest.mark.parametrize("how", ["comment", "api"])
async def test_a_push_that_waits_goes_on_with_its_approval_whoever_takes_it(talk: Talk, how: str) -> None:
    number, _ = await talk.open_pull({"a": "1"})
    await talk.work.checkout("main")
    grace = talk.github.user("grace")
    talk.repository.collaborators["grace"] = "write"
    sha = await talk.push({"b": "1"})
    await talk.status(sha, PRODUCTION, "error")
    said = await answered(talk, how, number, sha, grace)

    assert said == [f"grace approves of {sha[:7]}", f"deploys {sha[:7]} to production"]
    run = (await talk.runs())[-1]
    assert (run.sha, run.actor, run.ref, run.pull_number) == (sha, "ada", "refs/heads/main", None)
    assert [job.name for job in await talk.jobs(run) if job.kind is Kind.DEPLOY] == ["production"]
    assert await waits(talk) == []


async def test_what_something_else_holds_too_says_so_and_goes_on_when_it_is_approved_again(
    talk: Talk,
) -> None:
    talk.github.user("grace")
    talk.repository.collaborators["grace"] = "write"
    await talk.open_pull({"b": "1"})
    await talk.work.checkout("main")
    await said(talk, "/locks", 201, environment="production", actor="grace", why="a demo")
    sha = await talk.push({"a": "1"})
    await talk.status(sha, PRODUCTION, "error")

    await said(talk, "/denials", 201, sha=sha, actor="grace", why="not now")
    assert await waits(talk) == []
    first = await said(talk, "/approvals", 202, sha=sha, actor="grace")
    [one] = await waits(talk)
    [lock] = (await talk.api.get(f"{AT}/locks")).json()
    await talk.api.delete(f"{AT}/locks/{lock['id']}")
    second = await said(talk, "/approvals", 202, sha=sha, actor="grace")

    assert (first["run"], "still held by lock" in first["message"]) == (None, True)
    assert one["why"].startswith("approved by grace, and held by lock: production is locked by grace")
    assert second["run"]
    assert await waits(talk) == []


@pytest.mark.parametrize("how", ["comment", "api"])
async def test_a_promotion_that_an_approval_holds_waits_for_it_and_is_that_very_release(
    talk: Talk, how: str
) -> None:
    grace = talk.github.user("grace")
    talk.repository.collaborators["grace"] = "write"
    place = await served(talk, "production", talk.first)
    sha = await talk.push({"a": "# [skip ci]"}, message="[skip ci]")
    await served(talk, "staging", sha)
    number, _ = await talk.open_pull({"b": "1"})
    if how == "api":
        order = {"from": "staging", "actor": "ada"}
        held = await talk.api.post(f"/environments/{place.id}/promote", json=order)
        assert held.status_code == 409, held.text
    else:
        assert "approval" in await talk.refused(number, "/promote staging production")
    [one] = await waits(talk)
    assert (one["environment"], one["pull_number"], one["sha"], one["actor"]) == ("production", 0, sha, "ada")

    await answered(talk, how, number, sha, grace)

    run = (await talk.runs())[-1]
    [job] = await talk.jobs(run)
    assert (run.sha, run.actor, run.ref) == (sha, "ada", "environment/production")
    assert job.spec["image_reference"], "nothing is built"
    assert await waits(talk) == []


async def test_what_a_freeze_holds_too_goes_out_by_itself_when_that_ends(talk: Talk) -> None:
    grace = talk.github.user("grace")
    talk.repository.collaborators["grace"] = "write"
    gates = "gates: {approval: true}"
    frozen = FILE.replace(gates, f"{gates}, freeze: [{ALWAYS}]")
    sha = await talk.push({".blacktree.yml": frozen})
    await talk.status(sha, PRODUCTION, "error")

    told = await said(talk, "/approvals", 202, sha=sha, actor=grace.login)

    assert "production is deployed when nothing freezes it" in told["message"]
    assert (told["run"], await waits(talk)) == (None, [])
    async with talk.store.reading() as session:
        mark = (await session.exec(select(Mark).where(col(Mark.name).startswith("thaw:")))).one()
    assert json.loads(mark.value)["sha"] == sha


async def test_what_was_overtaken_is_said_and_waits_no_more(talk: Talk) -> None:
    grace = talk.github.user("grace")
    talk.repository.collaborators["grace"] = "write"
    sha = await talk.push({"a": "1"})
    await talk.status(sha, PRODUCTION, "error")
    await talk.push({"a": "# [skip ci]"}, message="[skip ci]")

    told = await said(talk, "/approvals", 202, sha=sha, actor=grace.login)

    assert "production is not deployed: main is at" in told["message"]
    assert (told["run"], await waits(talk)) == (None, [])


async def test_a_forks_commit_that_nobody_approved_has_an_end_when_it_is_closed(
    talk: Talk, tmp_path: Path
) -> None:
    number, sha = await of_a_fork(talk, tmp_path)

    await talk.github.close_pull(talk.repository, number, talk.ada)

    assert await talk.status(sha, "blacktree/build", "error") == f"Not built: #{number} was closed"
    assert await waits(talk) == []


async def test_a_lock_that_has_ended_holds_nothing_and_is_anybodys(talk: Talk) -> None:
    await talk.open_pull({"a": "1"})
    held = await said(talk, "/locks", 201, environment="staging", actor="ada", **{"for": "2h"})
    again = await said(talk, "/locks", 201, environment="staging", actor="ada", why="a demo")
    other = await said(talk, "/locks", 409, environment="staging", actor="grace")
    assert held["expires_at"] is not None
    assert (again["id"], again["expires_at"], again["reason"]) == (held["id"], held["expires_at"], "a demo")
    assert "locked by ada" in other["detail"]
    async with talk.store.transaction() as session:
        (await session.exec(select(Lock))).one().expires_at = now() - timedelta(seconds=1)

    assert (await talk.api.get(f"{AT}/locks")).json() == []
    taken = await said(talk, "/locks", 201, environment="staging", actor="grace")
    assert (taken["owner"], taken["expires_at"]) == ("grace", None)


async def test_a_command_locks_for_a_time(talk: Talk) -> None:
    number, _ = await talk.open_pull({"a": "1"})

    assert "until 20" in await talk.done(number, "/lock staging --for=2h a demo")
    assert "--for=soon: must be a time" in await talk.refused(number, "/lock staging --for=soon")

    [lock] = await talk.locks()
    assert lock.reason == "a demo"
    assert lock.expires_at is not None
    assert abs((lock.expires_at - now()).total_seconds() - 7200) < 60
