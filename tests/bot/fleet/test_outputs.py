"""What workers say that their containers print and use: believed of their own environments, and no others."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from bot.fleet import outputs, usage
from bot.jobs import services
from bot.store.database import Store
from bot.store.outputs import Outputs
from bot.store.tables import Environment, JobState, Release, ReleaseState, ServiceRow, UsageRow
from bot.web.pages import figures
from tests.bot.conftest import Rows
from workers.contract.messages import Kind, Measured, Printed, now
from workers.contract.outputs import Line, Output, Sample, Whose


@pytest.fixture
async def release(rows: Rows) -> Release:
    run = await rows.run()
    job = await rows.job(run, 2, Kind.DEPLOY, "production", state=JobState.SUCCEEDED)
    return await rows.release(job, state=ReleaseState.LIVE, live_at=now(), attempt=1, worker="one")


@pytest.fixture
def kept(tmp_path: Path) -> Outputs:
    return Outputs(tmp_path)


def whose(store: Store, of: Release, **more: Any) -> Whose:
    known = {
        "container": "c1",
        "name": "shop",
        "process": "web",
        "release": f"{store.instance}.{of.id}.1",
    }
    return Whose(**{**known, **more})


def printed(of: Whose, *lines: Line, worker: str = "one") -> Printed:
    return Printed(worker=worker, outputs=[Output(whose=of, lines=list(lines))])


async def test_an_environments_own_worker_is_believed_and_told_how_far_the_bot_is(
    store: Store, release: Release, kept: Outputs
) -> None:
    mine = whose(store, release)
    assert (await outputs.kept(store, kept, printed(mine))).at == {"c1": 0}
    line = Line(at=5, text="hello")
    assert (await outputs.kept(store, kept, printed(mine, line))).at == {"c1": 5}
    assert (await outputs.kept(store, kept, printed(mine, line))).at == {"c1": 5}
    (there,) = await kept.tail(release.environment_id, 10)
    assert (there.said.text, there.said.release, there.said.process) == ("hello", release.id, "web")


@pytest.mark.parametrize(
    ("worker", "label"),
    [("two", "{}.{}.1"), ("one", "another.{1}.1"), ("one", "{}.99.1"), ("one", "{}.x.1"), ("one", "")],
)
async def test_nobody_else_is_and_what_he_says_is_nowhere(
    store: Store, release: Release, kept: Outputs, worker: str, label: str
) -> None:
    other = whose(store, release, release=label.format(store.instance, release.id))
    answer = await outputs.kept(store, kept, printed(other, Line(at=5, text="a lie"), worker=worker))
    sample = Sample(whose=other, seconds=20, cpu=1, memory=1)
    await usage.noted(store, Measured(worker=worker, samples=[sample]))
    assert answer.at == {}
    assert await kept.tail(release.environment_id, 10) == []
    assert await usage.of(store, release.environment_id, now() - timedelta(days=1)) == []


async def test_a_release_that_starts_is_its_jobs_workers(store: Store, rows: Rows, kept: Outputs) -> None:
    run = await rows.run()
    held: dict[str, Any] = {"state": JobState.RUNNING, "worker": "one", "attempt": 1}
    job = await rows.job(run, 2, Kind.DEPLOY, "production", **held)
    starting = await rows.release(job, attempt=1)
    line = Line(at=5, text="starting")
    assert (await outputs.kept(store, kept, printed(whose(store, starting), line))).at == {"c1": 5}
    two = printed(whose(store, starting), line, worker="two")
    assert (await outputs.kept(store, kept, two)).at == {}


async def test_a_service_is_the_workers_that_has_it(store: Store, release: Release, kept: Outputs) -> None:
    async with store.transaction() as session:
        place = await session.get_one(Environment, release.environment_id)
        session.add(ServiceRow(environment_id=place.id or 0, name="db", worker="one"))
        label = services.place(store.instance, place.repository_id, place.name)
    db = Whose(container="c2", name="shop-db", process="db", place=label)
    line = Line(at=5, text="ready to accept connections")
    assert (await outputs.kept(store, kept, printed(db, line, worker="two"))).at == {}
    assert (await outputs.kept(store, kept, printed(db, line))).at == {"c2": 5}
    (there,) = await kept.tail(release.environment_id, 10)
    assert (there.said.process, there.said.release) == ("db", None)


async def test_a_time_far_ahead_is_not_kept(store: Store, release: Release, kept: Outputs) -> None:
    lines = [Line(at=-1, text="before all"), Line(at=2**80, text="after all")]
    assert (await outputs.kept(store, kept, printed(whose(store, release), *lines))).at == {"c1": 0}
    assert await kept.tail(release.environment_id, 10) == []


async def test_nothing_that_a_worker_says_steers_a_terminal_or_ends_a_line(
    store: Store, release: Release, kept: Outputs
) -> None:
    odd = "a\x1b]0;title\x07\x9b2J\u2028b\x85c\nd\x00"
    mine = whose(store, release, process=odd, name=odd, container=odd)
    assert (await outputs.kept(store, kept, printed(mine, Line(at=5, text=odd)))).at == {odd: 5}
    await usage.noted(store, Measured(worker="one", samples=[Sample(whose=mine, seconds=1, cpu=1, memory=1)]))

    (there,) = await kept.tail(release.environment_id, 10)
    (used,) = await usage.of(store, release.environment_id, now() - timedelta(days=1))
    said = there.said
    for text in (said.text, said.process, said.name, said.container, used.container, used.process):
        assert text == "a ]0;title  2J b c d "


@pytest.mark.parametrize("store_kind", ["sqlite", "postgresql"])
async def test_numbers_that_cannot_be_break_nothing_and_are_not_kept(
    store: Store, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = now()
    monkeypatch.setattr(usage, "now", lambda: at)  # all of it in one minute
    nan, endless = float("nan"), float("inf")
    mine = whose(store, release)
    told: list[dict[str, Any]] = [
        {"seconds": nan, "cpu": endless},
        {"seconds": -1, "cpu": nan},
        {"seconds": 20, "cpu": 1, "received": 2**80, "restarts": 2**80},
    ]
    for numbers in told:
        sample = Sample(whose=mine, memory=1, **numbers)
        await usage.noted(store, Measured(worker="one", samples=[sample]))
    async with store.transaction() as session:
        for row in (await session.exec(select(UsageRow))).all():
            row.at, row.received = row.at - timedelta(days=1), usage._MOST
            begin = usage._begin(row.at, usage.QUARTER)
            session.add(UsageRow(**row.model_dump(exclude={"at", "span"}), span=usage.QUARTER, at=begin))
    await usage.sweep(store)

    (quarter,) = await usage.of(store, release.environment_id, now() - timedelta(days=2))
    json.dumps(figures.told([quarter]), allow_nan=False)
    assert quarter.received == usage._MOST


async def test_a_worker_that_makes_names_up_fills_no_store(
    store: Store, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = now()
    monkeypatch.setattr(usage, "_CONTAINERS", 3)
    for start, minutes in ((0, 0), (2, 0), (3, 1), (0, 2)):
        moment = at + timedelta(minutes=minutes)
        monkeypatch.setattr(usage, "now", lambda moment=moment: moment)
        samples = [
            Sample(whose=whose(store, release, name=f"c{number}"), seconds=1, cpu=1, memory=1)
            for number in range(start, start + 4)
        ]
        await usage.noted(store, Measured(worker="one", samples=samples))

    rows = await usage.of(store, release.environment_id, at - timedelta(days=1))
    assert sum(row.cpu for row in rows) == 7
    assert {row.container for row in rows} == {"c0", "c1", "c2"}


async def test_samples_of_a_minute_are_one_row_and_old_minutes_become_quarters_and_go(
    store: Store, release: Release
) -> None:
    told = [
        Sample(whose=whose(store, release), seconds=20, cpu=cpu, memory=memory, received=10, restarts=2)
        for cpu, memory in ((2, 500), (6, 300))
    ]
    for sample in told:
        await usage.noted(store, Measured(worker="one", samples=[sample]))
    since = now() - timedelta(days=30)
    rows = await usage.of(store, release.environment_id, since)
    assert sum(row.cpu for row in rows) == 8
    assert sum(row.received for row in rows) == 20
    assert {row.restarts for row in rows} == {2}
    assert max(row.memory for row in rows) == 500

    async with store.transaction() as session:
        first = (await session.exec(select(UsageRow))).first()
        assert first
        known = first.model_dump(exclude={"at"})
        for row in (await session.exec(select(UsageRow))).all():
            await session.delete(row)
        quarter = usage._begin(now() - timedelta(days=1), usage.QUARTER)
        for minute in range(20):
            session.add(UsageRow(**{**known, "cpu": 1}, at=quarter + timedelta(minutes=minute)))
    await usage.sweep(store)
    assert [(row.span, row.cpu) for row in await usage.of(store, release.environment_id, since)] == [
        (900, 15), (900, 5),
    ]  # fmt: skip

    async with store.transaction() as session:
        for row in (await session.exec(select(UsageRow))).all():
            session.add(UsageRow(**{**row.model_dump(), "at": row.at - timedelta(days=8)}))
            await session.delete(row)
    await usage.sweep(store)
    assert await usage.of(store, release.environment_id, since) == []
