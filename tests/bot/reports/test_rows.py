"""What is owed to GitHub: only the newest for a key, and nothing twice."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import update
from sqlmodel import col

from bot.reports.rows import job_changed, owe, owe_reaction
from bot.store.database import Store
from bot.store.tables import Report, ReportKind, ReportState
from tests.bot.conftest import REPOSITORY, Rows
from workers.contract.messages import now


async def owing(
    store: Store, state: str, key: str = "k", kind: ReportKind = ReportKind.STATUS, to: int = REPOSITORY
) -> None:
    payload: dict[str, Any] = {"state": state}
    async with store.transaction() as session:
        await owe(session, to, kind, key, payload)


async def settle(store: Store, state: ReportState) -> None:
    async with store.transaction() as session:
        pending = update(Report).where(col(Report.state) == ReportState.PENDING)
        await session.exec(pending.values(state=state, sent_at=now()))


async def owed(rows: Rows) -> list[tuple[str, str]]:
    return [(row.payload["state"], row.state.value) for row in await rows.reports()]


async def test_only_the_newest_report_for_a_key_is_to_be_sent(store: Store, rows: Rows) -> None:
    for state in ("queued", "running", "done"):
        await owing(store, state)

    assert await owed(rows) == [("queued", "superseded"), ("running", "superseded"), ("done", "pending")]


async def test_other_keys_and_other_repositories_stay_as_they_are(store: Store, rows: Rows) -> None:
    await owing(store, "a", key="one")
    await owing(store, "b", key="two")
    await owing(store, "c", key="one", to=REPOSITORY + 1)

    assert await owed(rows) == [("a", "pending"), ("b", "pending"), ("c", "pending")]


async def test_what_was_sent_stays_sent(store: Store, rows: Rows) -> None:
    await owing(store, "running")
    await settle(store, ReportState.SENT)
    await owing(store, "done")

    assert await owed(rows) == [("running", "sent"), ("done", "pending")]


async def test_an_identical_report_is_not_owed_twice_whether_pending_or_sent(
    store: Store, rows: Rows
) -> None:
    await owing(store, "done")
    await owing(store, "done")
    await settle(store, ReportState.SENT)
    await owing(store, "done")

    assert await owed(rows) == [("done", "sent")]


async def test_what_github_refused_may_be_said_again(store: Store, rows: Rows) -> None:
    await owing(store, "done")
    await settle(store, ReportState.REFUSED)
    await owing(store, "done")

    assert await owed(rows) == [("done", "refused"), ("done", "pending")]


async def test_a_state_that_comes_back_is_told_again(store: Store, rows: Rows) -> None:
    for state in ("done", "running", "done"):
        await owing(store, state)
        await settle(store, ReportState.SENT)

    assert await owed(rows) == [("done", "sent"), ("running", "sent"), ("done", "sent")]


async def test_a_comment_is_edited_again_after_a_pause_though_its_payload_is_the_same(
    store: Store, rows: Rows
) -> None:
    await owing(store, "look", kind=ReportKind.COMMENT)
    await settle(store, ReportState.SENT)
    await owing(store, "look", kind=ReportKind.COMMENT)

    first, second = await rows.reports()
    assert (first.state, second.state) == (ReportState.SENT, ReportState.PENDING)
    assert first.sent_at is not None
    assert second.due_at - first.sent_at >= timedelta(seconds=2)


async def test_contexts_that_differ_in_case_are_one_key(store: Store, rows: Rows) -> None:
    run = await rows.run()
    upper, lower = await rows.job(run, 1, context="Blacktree/Build"), await rows.job(run, 2)

    async with store.transaction() as session:
        await job_changed(session, upper, run, None)
        await job_changed(session, lower, run, None)

    assert [row.state for row in await rows.reports()] == [ReportState.SUPERSEDED, ReportState.PENDING]


async def test_a_job_without_a_context_owes_no_status(store: Store, rows: Rows) -> None:
    run = await rows.run()
    job = await rows.job(run, context="")

    async with store.transaction() as session:
        await job_changed(session, job, run, None)

    assert await rows.reports() == []


async def test_a_reaction_is_owed_once_for_its_content(store: Store, rows: Rows) -> None:
    async with store.transaction() as session:
        for content in ("eyes", "rocket", "eyes"):
            await owe_reaction(session, REPOSITORY, 5, content)

    assert [row.payload["content"] for row in await rows.reports()] == ["eyes", "rocket"]
