"""Check runs in the place of statuses, where the App may write those: by a bot that has no worker."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete
from sqlmodel import select

from bot.github.checks import Checks
from bot.github.client import GitHubRefused
from bot.jobs import lifecycle
from bot.reports.checks import Told, body, conclusion
from bot.store.logs import FileLogs
from bot.store.tables import Check, Job, JobState, Report, ReportKind
from tests.bot.talk import Talk
from tests.github.model import CheckRun
from workers.contract.messages import Fault, Kind, now

FILE = "environments:\n  staging: {branch: null}\n  preview: {}\n"


def grant(talk: Talk, level: str = "write") -> None:
    for installation in talk.github.world.installations.values():
        installation.permissions["checks"] = level


def runs(talk: Talk, sha: str, name: str = "blacktree/build") -> list[CheckRun]:
    """Ours of that name, oldest first."""
    known = talk.github.world.check_runs.values()
    return sorted(
        (one for one in known if (one.sha, one.name, one.app) == (sha, name, True)), key=lambda one: one.id
    )


async def until(talk: Talk, sha: str, status: str, count: int = 1) -> CheckRun:
    """Wait until the newest is so."""

    def there() -> CheckRun | None:
        found = runs(talk, sha)
        newest = found[-1] if len(found) == count else None
        said = newest and (newest.conclusion or newest.status)
        return newest if said == status else None

    found = await talk.github.until(there)
    assert isinstance(found, CheckRun)
    return found


async def build(talk: Talk, sha: str) -> Job:
    """Of the newest run, once a worker could have it."""
    [run] = [run for run in await talk.runs() if run.sha == sha][-1:]
    return await talk.queued(next(job for job in await talk.jobs(run) if job.kind is Kind.BUILD))


async def moved(talk: Talk, job: Job, state: JobState, **columns: Any) -> None:
    async with talk.store.transaction() as session:
        row = await session.get_one(Job, job.id)
        assert await lifecycle.move(session, row, state, **columns)


async def test_a_job_has_one_check_run_with_its_name_from_its_first_word_to_its_last(talk: Talk) -> None:
    grant(talk)
    _, sha = await talk.open_pull({"a": "1"})
    first = await until(talk, sha, "queued")
    job = await build(talk, sha)
    lines = "".join(f"src/a.c:{line}:1: error: wrong\n" for line in range(1, 71))
    logs = FileLogs(talk.folder / "logs")
    await logs.append(job.id, 1, 0, lines)

    begun = {"attempt": 1, "worker": "oak-1", "started_at": now()}
    await moved(talk, job, JobState.RUNNING, **begun)
    await until(talk, sha, "in_progress")
    assert [one["identifier"] for one in first.actions] == ["cancel"]
    failed = {"fault": Fault.USER, "failed_step": "build", "sentence": "make: exit code 2", "ended_at": now()}
    await moved(talk, job, JobState.FAILED, **failed)
    last = await until(talk, sha, "failure")
    await talk.github.until(lambda: len(last.annotations) == 70)

    assert (last.id, last.external_id, last.title) == (first.id, job.id, "build: make: exit code 2")
    assert last.annotations[0]["path"] == "src/a.c"
    assert last.details_url.endswith(f"/jobs/{job.id}")
    assert last.actions == []
    assert talk.github.latest_statuses(talk.repository, sha) == {}, "nothing is said twice"

    await talk.github.rerequest_check(talk.repository, sha, "run", user=talk.ada, name="blacktree/build")
    again = await until(talk, sha, "queued", count=2)
    assert again.id != first.id
    assert again.external_id == (await build(talk, sha)).id != job.id


async def test_a_job_whose_annotations_github_refuses_ends_there_all_the_same(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant(talk)
    _, sha = await talk.open_pull({"a": "1"})
    await until(talk, sha, "queued")
    job = await build(talk, sha)
    await FileLogs(talk.folder / "logs").append(job.id, 1, 0, "src/a.c:1:1: error: wrong\n")
    whole = Checks.update

    async def picky(self: Checks, repository: Any, check_id: int, body: dict[str, Any]) -> None:
        if body["output"]["annotations"]:
            raise GitHubRefused(422, "Invalid request: annotations")
        await whole(self, repository, check_id, body)

    monkeypatch.setattr(Checks, "update", picky)
    await moved(talk, job, JobState.RUNNING, attempt=1, worker="oak-1", started_at=now())
    failed = {"fault": Fault.USER, "failed_step": "build", "sentence": "make: exit code 2", "ended_at": now()}
    await moved(talk, job, JobState.FAILED, **failed)

    assert (await until(talk, sha, "failure")).annotations == []


async def test_a_check_whose_begin_was_never_answered_is_not_begun_twice(talk: Talk) -> None:
    """The bot ends between GitHub's answer and its own row; and what it tells then is of something else."""
    grant(talk)
    _, sha = await talk.open_pull({"a": "1"})
    first = await until(talk, sha, "queued")
    job = await build(talk, sha)
    async with talk.store.transaction() as session:
        await session.exec(delete(Check))
        await session.exec(delete(Report))
    first.external_id = "report 1"

    await moved(talk, job, JobState.CANCELLED, reason="cancelled", sentence="Enough", ended_at=now())

    assert (await until(talk, sha, "cancelled")).id == first.id


async def test_the_button_cancels_the_job_for_whoever_may_write(talk: Talk) -> None:
    grant(talk)
    eve = talk.github.user("eve")
    talk.repository.collaborators["eve"] = "read"
    _, sha = await talk.open_pull({"a": "1"})
    run = await until(talk, sha, "queued")

    talk.github.request_action(run, "cancel", eve)
    await talk.until_reason("denied: eve has no write access")
    talk.github.request_action(run, "cancel", talk.ada)

    assert (await until(talk, sha, "cancelled")).title == "Cancelled by ada"


async def test_what_a_status_said_first_statuses_say_to_the_end(talk: Talk) -> None:
    _, sha = await talk.open_pull({"a": "1"})
    await talk.status(sha, "blacktree/build", "pending")
    job = await build(talk, sha)
    grant(talk)

    await moved(talk, job, JobState.CANCELLED, reason="cancelled", sentence="Enough", ended_at=now())

    assert await talk.status(sha, "blacktree/build", "error") == "Enough"
    assert runs(talk, sha) == []


async def test_where_the_app_may_only_read_checks_statuses_say_it(talk: Talk) -> None:
    _, sha = await talk.open_pull({"a": "1"})

    assert await talk.status(sha, "blacktree/build", "pending")
    assert runs(talk, sha) == []
    async with talk.store.reading() as session:
        assert (await session.exec(select(Check))).all() == []


def told(state: str, job: JobState | None) -> Told:
    payload = {"sha": "1" * 40, "context": "blacktree/build", "state": state, "description": "said @ada"}
    report = Report(id=3, repository_id=7, kind=ReportKind.STATUS, key="k", payload=payload)
    row = None
    if job is not None:
        known = {
            "id": "1-1",
            "run_id": 1,
            "repository_id": 7,
            "sha": "1" * 40,
            "kind": Kind.BUILD,
            "name": "web",
        }
        row = Job.model_validate({**known, "state": job, "context": "", "pool": "default", "attempts": 3})
    return Told(report, row, "https://x.test/jobs/1-1")


@pytest.mark.parametrize(
    ("state", "job", "ends"),
    [
        ("success", JobState.SUCCEEDED, "success"),
        ("success", None, "success"),
        ("failure", JobState.FAILED, "failure"),
        ("error", JobState.FAILED, "failure"),
        ("error", JobState.CANCELLED, "cancelled"),
        ("failure", JobState.CANCELLED, "failure"),
        ("error", None, "action_required"),
        ("failure", None, "failure"),
    ],
)
def test_how_it_ended_in_githubs_words(state: str, job: JobState | None, ends: str) -> None:
    assert conclusion(told(state, job)) == ends


def test_nobody_is_pinged_and_what_waits_for_somebody_has_no_button() -> None:
    waiting = body(told("pending", None), [])

    assert (waiting["status"], waiting["actions"]) == ("queued", [])
    assert "@ada" not in waiting["output"]["summary"]
    assert body(told("pending", JobState.RUNNING), [])["status"] == "in_progress"
    ended = told("failure", JobState.FAILED)
    assert ended.job is not None
    ended.job.ended_at = now() - timedelta(minutes=5)
    assert body(dataclasses.replace(ended), [])["completed_at"] == ended.job.ended_at.isoformat()
