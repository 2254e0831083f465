"""Heartbeats: who still has what, what is told once, and how little it costs."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlmodel import select

from bot.fleet import keeping
from bot.fleet.heartbeats import Heartbeats
from bot.store.database import Store
from bot.store.tables import ContainerRow, JobState, Release, ReleaseState, WorkerRow
from config.settings import Settings
from tests.bot.conftest import Rows
from workers.contract.messages import AttemptRef, ContainerState, Heartbeat, Kind, edition, now


def beat(**more: Any) -> Heartbeat:
    known = {"worker": "one", "instance": "i", "pool": "default", "slots": 2, "address": "", "software": ""}
    return Heartbeat(**{**known, **more})


@pytest.fixture
def heartbeats(store: Store, tmp_path: Path) -> Heartbeats:
    return Heartbeats(store, Settings(data_dir=tmp_path, lease=60))


@pytest.fixture
async def release(rows: Rows) -> Release:
    run = await rows.run()
    job = await rows.job(run, 2, Kind.DEPLOY, "production", state=JobState.SUCCEEDED)
    return await rows.release(job, state=ReleaseState.LIVE, live_at=now(), attempt=1, worker="one")


def container(store: Store, release: Release, **more: Any) -> ContainerState:
    name = f"{store.instance}.{release.id}.{release.attempt}"
    known = {"release": name, "environment": "production", "name": "web", "running": True, "restarts": 0}
    return ContainerState(**{**known, **more})


async def test_the_images_to_keep_are_told_once_and_again_when_there_are_others(
    heartbeats: Heartbeats, store: Store, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "_FRESH", 0)
    monkeypatch.setattr(keeping, "_SHARE", 0)
    first = (await heartbeats.answer(beat())).kept
    assert first == ["shop@sha256:1"]
    assert (await heartbeats.answer(beat(kept=edition(first)))).kept is None
    assert (await heartbeats.answer(beat(kept="another"))).kept == first

    async with store.transaction() as session:
        (await session.get_one(Release, release.id)).image = "shop@sha256:2"
    assert (await heartbeats.answer(beat(kept=edition(first)))).kept == ["shop@sha256:2"]


async def test_an_attempt_is_renewed_lost_or_cancelled(heartbeats: Heartbeats, rows: Rows) -> None:
    run = await rows.run()
    held: dict[str, Any] = {"state": JobState.RUNNING, "worker": "one", "instance": "i", "attempt": 2}
    soon = now() + timedelta(seconds=1)
    columns: list[dict[str, Any]] = [
        {}, {"cancelling": "you said so"}, {"instance": "of another life"}, {"worker": "two"},
        {"attempt": 3}, {"state": JobState.SUCCEEDED},
    ]  # fmt: skip
    jobs = [
        await rows.job(run, number, **{**held, "lease_until": soon, **more})
        for number, more in enumerate(columns)
    ]
    refs = [AttemptRef(job=job.id, attempt=2) for job in jobs]
    gone = AttemptRef(job="9-9", attempt=1)

    begun = now()
    answer = await heartbeats.answer(beat(attempts=[*refs, gone]))

    assert answer.lost == [*refs[2:], gone]
    assert answer.cancelled == [refs[1]]
    ends = [(await rows.again(job)).lease_until for job in jobs]
    later = [end is not None and end >= begun + timedelta(seconds=60) for end in ends]
    assert later == [True, True, False, False, False, False]


async def test_what_an_earlier_life_left_is_tried_again_and_what_the_worker_has_anew_goes_on(
    heartbeats: Heartbeats, rows: Rows
) -> None:
    run = await rows.run()
    held: dict[str, Any] = {"state": JobState.RUNNING, "worker": "one", "attempt": 1, "started_at": now()}
    old = await rows.job(run, 1, instance="i", **held)
    await heartbeats.answer(beat(attempts=[AttemptRef(job=old.id, attempt=1)]))
    new = await rows.job(run, 2, instance="ii", **held)

    answer = await heartbeats.answer(beat(instance="ii", attempts=[AttemptRef(job=new.id, attempt=1)]))

    assert answer.lost == []
    again = await rows.again(old)
    assert (again.state, again.reason) == (JobState.QUEUED, "worker_lost")
    assert (await rows.again(new)).state is JobState.RUNNING
    # A claim of the earlier life that was answered a moment later.
    late = await rows.job(run, 3, instance="i", **held)
    await heartbeats.answer(beat(instance="ii"))
    assert (await rows.again(late)).state is JobState.QUEUED


async def test_a_heartbeat_without_news_wakes_nobody_and_one_with_news_does(
    heartbeats: Heartbeats, store: Store, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What looks now and then whether the file was changed by others cannot tell these writes from theirs.
    monkeypatch.setattr(store._changes, "anything", lambda: None)
    web = container(store, release)
    await heartbeats.answer(beat(containers=[web]))
    with store.changes() as changed:
        await heartbeats.answer(beat(containers=[web], disk_free=7))
        assert not changed.is_set()
        every: list[dict[str, Any]] = [
            {"draining": True}, {"problem": "the disk is full"}, {"slots": 3}, {"containers": []}, {},
        ]  # fmt: skip
        for news in every:
            await heartbeats.answer(beat(**{"containers": [web], **news}))
            assert changed.is_set(), news
            changed.clear()
    async with store.reading() as session:
        row = await session.get_one(WorkerRow, "one")
    assert (row.disk_free, row.slots, row.draining) == (0, 2, False), "as the last one said"


async def test_what_another_bot_heard_in_between_is_no_reason_to_believe_an_old_word(
    heartbeats: Heartbeats, store: Store, release: Release, tmp_path: Path
) -> None:
    other = Heartbeats(store, Settings(data_dir=tmp_path))

    async def health() -> str:
        async with store.reading() as session:
            return (await session.exec(select(ContainerRow))).one().health

    well, ill = (container(store, release, health=word) for word in ("healthy", "unhealthy"))
    await heartbeats.answer(beat(containers=[well]))
    await other.answer(beat(containers=[ill]))
    assert await health() == "unhealthy"
    await heartbeats.answer(beat(containers=[well]))
    assert await health() == "healthy"


async def test_nothing_new_costs_three_statements_whatever_the_worker_has(
    heartbeats: Heartbeats, store: Store, rows: Rows, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.fleet.heartbeats._CLAIMS", -1)
    run = await rows.run()
    held: dict[str, Any] = {"state": JobState.RUNNING, "worker": "one", "instance": "i", "attempt": 1}
    jobs = [await rows.job(run, number, **held) for number in range(8)]
    said = beat(
        attempts=[AttemptRef(job=job.id, attempt=1) for job in jobs],
        containers=[container(store, release, name=f"web-{number}") for number in range(8)],
    )
    await heartbeats.answer(said)
    asked: list[str] = []

    def hear(_connection: object, _cursor: object, sql: str, *_: object) -> None:
        asked.append(sql)

    event.listen(store._engine.sync_engine, "before_cursor_execute", hear)
    await heartbeats.answer(said)

    assert [sql.split()[0] for sql in asked if not sql.startswith("BEGIN")] == ["UPDATE", "UPDATE", "SELECT"]
