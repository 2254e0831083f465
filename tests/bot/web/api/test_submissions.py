"""Runs that a program asks for, of a bot that has no worker and a repository at the stand-in."""

from __future__ import annotations

from typing import Any

from bot.decisions.plan import PlannedJob
from bot.store.tables import Job, JobState
from bot.web.api.submissions import around
from tests.bot.talk import Talk
from workers.contract.messages import Kind

FILE = """
images:
  web: {context: .}
  other: {context: .}
environments:
  production: {image: web}
  staging: {image: other, on: [command]}
  preview: {image: web}
"""


async def ask(talk: Talk, path: str, **body: Any) -> tuple[int, dict[str, Any]]:
    answer = await talk.api.post(path, json=body)
    return answer.status_code, answer.json()


async def names(talk: Talk, run: int) -> list[str]:
    [found] = [one for one in await talk.runs() if one.id == run]
    return [f"{job.kind.value} {job.name}" for job in await talk.jobs(found)]


async def test_what_is_asked_for_is_what_a_push_or_a_command_would_do(talk: Talk) -> None:
    await talk.push({"a": "1"})
    await talk.until_run("push")
    asked: tuple[tuple[dict[str, Any], list[str]], ...] = (
        ({}, ["build web", "deploy production"]),
        ({"branch": "main"}, ["build web", "deploy production"]),
        ({"environment": "staging"}, ["build other", "deploy staging"]),
        ({"images": ["other"]}, ["build other"]),
        ({"images": []}, ["build web", "build other"]),
    )
    for body, jobs in asked:
        status, told = await ask(talk, "/runs", repository="acme/shop", actor="ada", why="by hand", **body)
        assert (status, await names(talk, told["run"])) == (202, jobs), body

    number, head = await talk.open_pull({"b": "1"})
    status, told = await ask(talk, "/runs", repository="acme/shop", pull=number)
    assert (status, await names(talk, told["run"])) == (202, ["build web", f"deploy pr-{number}"])
    [run] = [run for run in await talk.runs() if run.id == told["run"]]
    assert (run.cause, run.sha, run.pull_number) == ("api run", head, number)


async def test_a_run_is_held_by_what_holds_a_deploy_and_refused_with_what_to_do(talk: Talk) -> None:
    await talk.push({"a": "1"})
    await talk.until_run("push")
    number, _ = await talk.open_pull({"b": "1"})
    await talk.done(number, "/lock production the fair is on")
    runs = len(await talk.runs())
    refused: tuple[tuple[dict[str, Any], int, str], ...] = (
        ({"environment": "production"}, 409, "production is locked by ada"),
        ({"environment": "prodution"}, 422, "there is no environment prodution"),
        ({"branch": "none"}, 422, "there is no branch none"),
        ({"tag": "v1"}, 422, "the tag v1 is gone"),
        ({"pull": 99}, 422, "GitHub"),
        ({"images": ["webb"]}, 422, "there is no image webb. Did you mean web?"),
    )
    for body, expected, said in refused:
        status, told = await ask(talk, "/runs", repository="acme/shop", **body)
        assert (status, said in told["detail"]) == (expected, True), told
    assert len(await talk.runs()) == runs


async def test_a_job_is_run_once_more_with_what_needs_it_while_its_commit_is_the_newest(talk: Talk) -> None:
    await talk.push({"a": "1"})
    await talk.until_run("push")
    [run] = await talk.runs()
    for job in await talk.jobs(run):
        async with talk.store.transaction() as session:
            (await session.get_one(Job, job.id)).state = JobState.FAILED
    [build, deploy] = await talk.jobs(run)

    status, told = await ask(talk, f"/jobs/{build.id}/retry", actor="ada")
    assert (status, await names(talk, told["run"])) == (202, ["build web", "deploy production"])
    again = await talk.api.post(f"/jobs/{deploy.id}/retry", headers={"idempotency-key": "one"})
    same = await talk.api.post(f"/jobs/{deploy.id}/retry", headers={"idempotency-key": "one"})
    assert (again.status_code, same.json()) == (202, again.json())

    newest = await talk.push({"a": "2"})
    await talk.until_reason(f"runs {newest[:7]} of main")
    status, told = await ask(talk, f"/jobs/{build.id}/retry")
    assert (status, told["code"]) == (422, "moved")


def test_a_job_stands_with_all_that_need_it_and_all_that_those_need() -> None:
    jobs = (
        PlannedJob(Kind.BUILD, "web", "", needs=()),
        PlannedJob(Kind.BUILD, "api", "", needs=()),
        PlannedJob(Kind.BUILD, "docs", "", needs=()),
        PlannedJob(Kind.DEPLOY, "production", "", needs=(0, 1)),
        PlannedJob(Kind.DEPLOY, "pages", "", needs=(2,)),
    )
    assert around(jobs, Kind.BUILD, "web") == {0, 1, 3}
    assert around(jobs, Kind.DEPLOY, "pages") == {2, 4}
    assert around(jobs, Kind.BUILD, "none") == set()
