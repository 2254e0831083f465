"""What is over and old goes; who changed what stays longer, and the newest of what comes by a clock."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, select

from bot.store import audit
from bot.store.audit import Changed
from bot.store.database import Store
from bot.store.logs import FileLogs
from bot.store.tables import (
    AttemptRow,
    AuditRow,
    BackupRow,
    Image,
    Job,
    JobState,
    Outgoing,
    OutgoingState,
    Run,
    StepRow,
    TokenRow,
    Trouble,
)
from bot.sweeps import retention
from tests.bot.conftest import Rows
from workers.contract.messages import Kind, now


async def test_who_changed_what_is_kept_as_long_as_it_is_set(store: Store, tmp_path: Path) -> None:
    await audit.written(store, Changed("ada", "a session", "deploys"))
    old: dict[str, Any] = {"who": "ada", "how": "a session"}
    async with store.transaction() as session:
        session.add(AuditRow(**old, what="older than the logs", at=now() - timedelta(days=100)))
        session.add(AuditRow(**old, what="older than all", at=now() - timedelta(days=400)))
        ended = now() - timedelta(days=400)
        session.add(TokenRow(mark="x", name="ci", scope="read", made_by="ada", expires_at=ended))

    await retention.sweep(store, FileLogs(tmp_path), 30, 365)

    async with store.reading() as session:
        rows = (await session.exec(select(AuditRow))).all()
        tokens = (await session.exec(select(TokenRow))).all()
    assert {row.what for row in rows} == {"deploys", "older than the logs"}
    assert tokens == []


async def test_of_what_receivers_were_owed_the_newest_stay_for_days_and_what_is_pending_stays(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_MOST_TOLD", 2)
    sent, old = OutgoingState.SENT, now() - timedelta(days=8)
    async with store.transaction() as session:
        for lane, event, more in (
            ("webhook:1", "one too many", {"state": sent}),
            ("webhook:1", "newest but one", {"state": sent}),
            ("webhook:1", "pending", {"created_at": old}),
            ("webhook:1", "newest", {"state": sent}),
            ("webhook:2", "old", {"state": sent, "created_at": old}),
        ):
            session.add(Outgoing(lane=lane, event=event, body="{}", **more))
            await session.flush()
        session.add(Trouble(repository_id=7, thing="approval::abc", since=now() - timedelta(days=40)))
        session.add(Trouble(repository_id=7, thing="deploy:production:", since=now() - timedelta(days=40)))

    await retention.sweep(store, FileLogs(tmp_path), 30, 365)

    async with store.reading() as session:
        kept = (await session.exec(select(Outgoing.event).order_by(col(Outgoing.id)))).all()
        troubles = (await session.exec(select(Trouble.thing))).all()
    assert kept == ["newest but one", "pending", "newest"]
    assert troubles == ["deploy:production:"]


async def test_old_runs_of_tasks_go_with_all_that_is_theirs_but_the_newest_of_each(
    store: Store, rows: Rows, tmp_path: Path
) -> None:
    old, kept = now() - timedelta(days=40), []
    for name, comment, ended, stays in (
        ("nightly", None, old, False),
        ("nightly", None, old, False),
        ("nightly", 7, old, True),
        ("hourly", None, old, True),
        ("nightly", None, now(), True),
    ):
        run = await rows.run(comment_id=comment)
        known = {"environment": "production", "state": JobState.SUCCEEDED, "ended_at": ended, "attempt": 1}
        job = await rows.job(run, 1, Kind.TASK, name, **known)
        kept += [job.id] if stays else []
        async with store.transaction() as session:
            session.add(StepRow(job_id=job.id, attempt=1, name="task", started_at=ended))
            session.add(AttemptRow(job_id=job.id, attempt=1, outcome="succeeded"))
    build = await rows.job(await rows.run(), state=JobState.SUCCEEDED, ended_at=old)

    await retention.sweep(store, FileLogs(tmp_path / "logs"), days=30, audit_days=365)

    async with store.reading() as session:
        jobs = (await session.exec(select(Job).order_by(col(Job.created_at)))).all()
        assert [job.id for job in jobs] == [*kept, build.id]
        assert {run.id for run in (await session.exec(select(Run))).all()} == {job.run_id for job in jobs}
        for owner in (StepRow.job_id, AttemptRow.job_id):
            assert set((await session.exec(select(owner))).all()) == set(kept)


async def test_old_runs_of_backups_go_but_the_newest_of_each_service_and_what_is_kept(
    store: Store, rows: Rows, tmp_path: Path
) -> None:
    old, kept = now() - timedelta(days=40), []
    known: dict[str, Any] = {"environment": "production", "state": JobState.SUCCEEDED, "ended_at": old}
    for services in ({"db": False}, {"db": True, "cache": False}, {"db": True}, {"cache": True}):
        run = await rows.run()
        for place, (name, stays) in enumerate(services.items(), 1):
            job = await rows.job(run, place, Kind.BACKUP, name, **known)
            kept += [job.id] if stays else []
    told: dict[str, Any] = {"environment": "production", "service": "db", "name": "x", "sha256": "ab" * 32}
    async with store.transaction() as session:
        sizes: dict[str, Any] = {"size": 1, "dumped": 2, "begun_at": old}
        session.add(BackupRow(repository_id=job.repository_id, job_id=kept[0], **sizes, **told))

    await retention.sweep(store, FileLogs(tmp_path / "logs"), days=30, audit_days=365)

    async with store.reading() as session:
        jobs = (await session.exec(select(Job).order_by(col(Job.run_id)))).all()
        assert [job.id for job in jobs] == kept
        assert {run.id for run in (await session.exec(select(Run))).all()} == {job.run_id for job in jobs}


async def test_old_looks_at_followed_tags_go_but_those_that_first_saw_an_image(
    store: Store, rows: Rows, tmp_path: Path
) -> None:
    old, kept = now() - timedelta(days=40), []
    for number, (key, ended, seen) in enumerate(
        (("follow:7:app:", old, True), ("follow:7:app:", old, False), ("follow:7:app:", now(), False),
         ("followed:1-1:production:", old, False))
    ):  # fmt: skip
        run = await rows.run(cause_key=f"{key}{number}")
        job = await rows.job(run, state=JobState.SUCCEEDED, ended_at=ended)
        if seen:
            image: dict[str, Any] = {"digest": "d", "reference": "r@d", "size": 0, "tree": "", "sha": job.sha}
            async with store.transaction() as session:
                session.add(Image(repository_id=7, name="app", job_id=job.id, **image))
        kept += [job.id] if number != 1 else []

    await retention.sweep(store, FileLogs(tmp_path / "logs"), days=30, audit_days=365)

    async with store.reading() as session:
        assert (await session.exec(select(Job.id).order_by(col(Job.run_id)))).all() == kept
        assert len((await session.exec(select(Run.id))).all()) == len(kept)
