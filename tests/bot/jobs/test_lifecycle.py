"""How a job moves: which moves there are, and what each brings with it in its transaction."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update
from sqlmodel import col

from bot.jobs import lifecycle
from bot.store.database import Store
from bot.store.tables import (
    CommandRow,
    CommandState,
    Job,
    JobState,
    Release,
    ReleaseState,
    ReportKind,
    ReportState,
)
from tests.bot.conftest import NEW, OLD, REPOSITORY, Rows
from workers.contract.messages import Fault, Kind

MOVES = {
    ("waiting", "queued"),
    ("waiting", "cancelled"),
    ("queued", "running"),
    ("queued", "failed"),
    ("queued", "cancelled"),
    ("running", "succeeded"),
    ("running", "failed"),
    ("running", "queued"),
    ("running", "cancelled"),
}


async def moved(store: Store, job: Job, to: JobState, **changes: object) -> bool:
    async with store.transaction() as session:
        return await lifecycle.move(session, await session.get_one(Job, job.id), to, **changes)


def test_the_table_has_these_moves_and_no_others() -> None:
    assert {(here, to) for here, allowed in lifecycle.MOVES.items() for to in allowed} == MOVES


def test_final_states_and_only_they_have_no_moves() -> None:
    assert set(lifecycle.MOVES) == set(JobState)
    assert {state for state, allowed in lifecycle.MOVES.items() if not allowed} == {
        state for state in JobState if state.final
    }
    assert {state for state in JobState if not state.final} == set(lifecycle.LIVE)


@pytest.mark.parametrize("to", JobState)
@pytest.mark.parametrize("here", JobState)
async def test_a_move_is_made_exactly_if_the_table_has_it(
    store: Store, rows: Rows, here: JobState, to: JobState
) -> None:
    job = await rows.job(await rows.run(), state=here)

    if (here, to) in MOVES:
        assert await moved(store, job, to)
        assert (await rows.again(job)).state is to
        assert ((await rows.again(job)).ended_at is not None) is to.final
    else:
        with pytest.raises(lifecycle.NotAllowed, match=f"job {job.id}: {here} to {to}"):
            await moved(store, job, to)
        assert (await rows.again(job)).state is here
        assert await rows.reports() == []


@pytest.mark.parametrize(
    "meanwhile", [{"state": JobState.CANCELLED}, {"attempt": 2}], ids=["another state", "another attempt"]
)
async def test_a_lost_race_returns_false_and_writes_nothing(
    store: Store, rows: Rows, meanwhile: dict[str, object]
) -> None:
    job = await rows.job(await rows.run(), state=JobState.RUNNING, attempt=1)

    async with store.transaction() as session:
        seen = await session.get_one(Job, job.id)
        await session.exec(
            update(Job).where(col(Job.id) == job.id).values(**meanwhile),
            execution_options={"synchronize_session": False},
        )
        won = await lifecycle.move(session, seen, JobState.SUCCEEDED, sentence="Built")

    assert not won
    after = await rows.again(job)
    assert {name: getattr(after, name) for name in meanwhile} == meanwhile
    assert (after.sentence, after.ended_at) == ("", None)
    assert await rows.reports() == []


async def test_a_move_owes_its_status_in_the_same_transaction(store: Store, rows: Rows) -> None:
    job = await rows.job(await rows.run(), state=JobState.QUEUED)

    async with store.transaction() as session:
        await lifecycle.move(session, await session.get_one(Job, job.id), JobState.RUNNING, worker="one")
        assert await rows.reports() == [], "not seen by others before the commit"
    [status] = await rows.reports()

    assert (status.kind, status.state) == (ReportKind.STATUS, ReportState.PENDING)
    assert status.payload["state"] == "pending"
    assert status.payload["description"] == "Building on one"


async def test_a_move_that_is_rolled_back_owes_nothing(store: Store, rows: Rows) -> None:
    job = await rows.job(await rows.run(), state=JobState.QUEUED)

    async def broken() -> None:
        async with store.transaction() as session:
            await lifecycle.move(session, await session.get_one(Job, job.id), JobState.RUNNING)
            raise RuntimeError("the power went out")

    with pytest.raises(RuntimeError):
        await broken()

    assert (await rows.again(job)).state is JobState.QUEUED
    assert await rows.reports() == []


async def test_a_failing_build_cancels_what_needs_it_and_their_statuses_say_so(
    store: Store, rows: Rows
) -> None:
    build, deploy = await rows.pair(await rows.run(), JobState.RUNNING)
    later = await rows.job(
        await rows.run(ref="refs/heads/other"), 1, Kind.DEPLOY, "staging", needs=[build.id]
    )

    await moved(store, build, JobState.FAILED, fault=Fault.USER, failed_step="build", sentence="exit 1")

    gone = await rows.again(deploy)
    assert (gone.state, gone.reason) == (JobState.CANCELLED, "needs_failed")
    said = {row.payload["context"]: row.payload for row in await rows.reports(ReportKind.STATUS)}
    assert said["blacktree/build"]["state"] == "failure"
    assert said["blacktree/build"]["description"] == "build: exit 1"
    assert said["blacktree/deploy (production)"]["state"] == "failure"
    assert said["blacktree/deploy (production)"]["description"] == "Not run: blacktree/build did not succeed"
    assert (await rows.again(later)).state is JobState.WAITING, "another run's"


async def test_a_cancelled_build_hands_its_reason_on(store: Store, rows: Rows) -> None:
    build, deploy = await rows.pair(await rows.run(), JobState.RUNNING)

    await moved(store, build, JobState.CANCELLED, reason="superseded", sentence="Superseded by 2222222")

    gone = await rows.again(deploy)
    assert (gone.state, gone.reason, gone.sentence) == (
        JobState.CANCELLED,
        "superseded",
        "Superseded by 2222222",
    )


async def test_a_build_that_succeeds_or_is_tried_again_leaves_what_needs_it_waiting(
    store: Store, rows: Rows
) -> None:
    build, deploy = await rows.pair(await rows.run(), JobState.RUNNING)

    await moved(store, build, JobState.QUEUED)
    assert (await rows.again(deploy)).state is JobState.WAITING
    await moved(store, build, JobState.RUNNING)
    await moved(store, build, JobState.SUCCEEDED)

    assert (await rows.again(deploy)).state is JobState.WAITING


@pytest.mark.parametrize("end", [JobState.FAILED, JobState.CANCELLED])
async def test_a_deploy_that_does_not_succeed_ends_its_release(
    store: Store, rows: Rows, end: JobState
) -> None:
    deploy = await rows.job(await rows.run(), 1, Kind.DEPLOY, "production", state=JobState.RUNNING, attempt=1)
    release = await rows.release(deploy, attempt=1)

    await moved(store, deploy, end, fault=Fault.USER)

    async with store.reading() as session:
        assert (await session.get_one(Release, release.id)).state is ReleaseState.FAILED
    [owed] = await rows.reports(ReportKind.DEPLOYMENT)
    assert owed.payload["state"] == ("failure" if end is JobState.FAILED else "inactive")


async def test_the_status_of_a_deploy_that_succeeded_links_to_its_place(store: Store, rows: Rows) -> None:
    deploy = await rows.job(await rows.run(), 1, Kind.DEPLOY, "production", state=JobState.RUNNING, attempt=1)
    await rows.release(deploy, attempt=1, state=ReleaseState.LIVE)

    await moved(store, deploy, JobState.SUCCEEDED, sentence="Live at http://shop.test")

    [status] = await rows.reports(ReportKind.STATUS)
    assert status.payload["url"] == "http://shop.test"
    [owed] = await rows.reports(ReportKind.DEPLOYMENT)
    assert owed.payload["state"] == "success"


@pytest.mark.parametrize(
    ("ends", "answer"),
    [
        ((JobState.SUCCEEDED, JobState.SUCCEEDED), "rocket"),
        ((JobState.SUCCEEDED, JobState.FAILED), "confused"),
        ((JobState.FAILED, None), "confused"),
    ],
)
async def test_a_command_is_answered_once_when_the_last_job_of_its_run_has_ended(
    store: Store, rows: Rows, ends: tuple[JobState, JobState | None], answer: str
) -> None:
    run = await rows.run(comment_id=5, pull_number=42)
    build, deploy = await rows.pair(run, JobState.RUNNING)
    told: dict[str, Any] = {"repository_id": REPOSITORY, "pull_number": 42, "comment_id": 5, "run_id": run.id}
    said: dict[str, Any] = {"line": "/redeploy", "actor": "ada", "sha": OLD, "answer": ""}
    async with store.transaction() as session:
        session.add(CommandRow(state=CommandState.ACCEPTED, **told, **said))

    await moved(store, build, ends[0])
    if ends[1]:
        assert await rows.reports(ReportKind.REACTION) == []
        await moved(store, deploy, JobState.QUEUED)
        await moved(store, deploy, JobState.RUNNING)
        await moved(store, deploy, ends[1])

    reactions = [reaction.payload["content"] for reaction in await rows.reports(ReportKind.REACTION)]
    assert reactions == ["eyes", answer]


async def test_a_job_of_a_pull_request_owes_its_living_comment(store: Store, rows: Rows) -> None:
    job = await rows.job(await rows.run(pull_number=42), state=JobState.QUEUED)

    await moved(store, job, JobState.RUNNING)

    [comment] = await rows.reports(ReportKind.COMMENT)
    assert comment.payload == {"number": 42}


async def supersede(store: Store, rows: Rows, ref: str = "refs/heads/main") -> None:
    newer = await rows.run(NEW, ref)
    async with store.transaction() as session:
        await lifecycle.supersede(session, newer)


async def test_a_newer_run_cancels_what_waits_and_marks_what_runs(store: Store, rows: Rows) -> None:
    build, deploy = await rows.pair(await rows.run(), JobState.RUNNING)

    await supersede(store, rows)

    running, waiting = await rows.again(build), await rows.again(deploy)
    assert (running.state, running.cancelling) == (JobState.RUNNING, "Superseded by 2222222")
    assert (waiting.state, waiting.reason) == (JobState.CANCELLED, "superseded")
    assert [row.payload["description"] for row in await rows.reports()] == ["Superseded by 2222222"]


@pytest.mark.parametrize("state", [JobState.WAITING, JobState.QUEUED])
async def test_a_newer_run_cancels_a_build_that_has_not_begun_and_what_needs_it(
    store: Store, rows: Rows, state: JobState
) -> None:
    build, deploy = await rows.pair(await rows.run(), state)

    await supersede(store, rows)

    for job in (await rows.again(build), await rows.again(deploy)):
        assert (job.state, job.reason, job.sentence) == (
            JobState.CANCELLED,
            "superseded",
            "Superseded by 2222222",
        )


async def test_a_newer_run_leaves_other_refs_other_repositories_and_what_has_ended(
    store: Store, rows: Rows
) -> None:
    ended = await rows.job(await rows.run(), state=JobState.SUCCEEDED)
    branch = await rows.job(await rows.run(ref="refs/heads/other"), state=JobState.QUEUED)
    other = await rows.job(await rows.run(repository_id=8), state=JobState.QUEUED)

    await supersede(store, rows)

    assert (await rows.again(ended)).state is JobState.SUCCEEDED
    assert (await rows.again(branch)).state is JobState.QUEUED
    assert (await rows.again(other)).state is JobState.QUEUED
