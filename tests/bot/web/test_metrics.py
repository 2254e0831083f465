"""What /metrics tells, to whom, in which form; that it is true is the integration tests' to show."""

from __future__ import annotations

import asyncio
import re
import subprocess
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML
from sqlalchemy import event

from bot.metrics.instruments import Instruments
from bot.metrics.labels import Few
from bot.metrics.noting import note
from bot.store.database import Store
from bot.store.tables import (
    Delivery,
    DeliveryState,
    Environment,
    JobState,
    Report,
    ReportKind,
    UsageRow,
    WorkerRow,
)
from bot.web import uses
from bot.web.access import Access
from bot.web.standing import standing
from tests.bot.conftest import REPOSITORY, Rows
from tests.bot.intake.test_receiver import TOKEN, Door, door_to
from workers.contract.messages import now

READER = "reads the metrics alone"
PAGE = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text()
ROWS = dict(re.findall(r"^\| `((?:blacktree)_[a-z_]+)` \| (counter|gauge|histogram)", PAGE, re.M))


def family(name: str, kind: str) -> str:
    return name.removesuffix("_total") if kind == "counter" else name


def checked(what: str, given: str, *arguments: str) -> tuple[int, str]:
    """What promtool says of it."""
    argv = ["promtool", "check", what, *arguments]
    ended = subprocess.run(argv, input=given, capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout + ended.stderr


async def told(door: Door, **labels: str) -> dict[str, float]:
    """The samples without labels besides these, by name."""
    page = (await door.http.get("/metrics")).text
    return {
        sample.name: sample.value
        for metric in text_string_to_metric_families(page)
        for sample in metric.samples
        if sample.labels == labels
    }


@pytest.mark.parametrize(
    ("path", "authorization", "status"),
    [
        ("/metrics", f"Bearer {READER}", 200),
        ("/metrics", f"Bearer {TOKEN}", 200),
        ("/metrics", f"Bearer {READER}x", 401),
        ("/metrics", "Bearer", 401),
        ("/metrics", "", 401),
        ("/metrics/", f"Bearer {READER}", 401),
        ("//metrics", f"Bearer {READER}", 401),
        ("/api/v1/runs", f"Bearer {READER}", 401),
        ("/api/v1/metrics", f"Bearer {READER}", 401),
        ("/jobs/1-1", f"Bearer {READER}", 401),
    ],
)
async def test_the_metrics_token_reads_the_metrics_and_nothing_else(
    store: Store, tmp_path: Path, path: str, authorization: str, status: int
) -> None:
    async with door_to(store, tmp_path, access=Access(TOKEN, metrics=READER)) as door:
        answer = await door.http.get(path, headers={"authorization": authorization})
        posted = await door.http.post(path, headers={"authorization": f"Bearer {READER}"})
        ready = await door.http.get("/readyz", headers={"authorization": f"Bearer {READER}"})

    assert answer.status_code == status
    assert posted.status_code == 401
    assert ready.json() == {"status": "ready"}


async def test_where_no_metrics_token_is_set_an_empty_one_is_none(store: Store, tmp_path: Path) -> None:
    async with door_to(store, tmp_path) as door:
        for authorization in ("", "Bearer", "Basic Og=="):
            answer = await door.http.get("/metrics", headers={"authorization": authorization})
            assert answer.status_code == 401


async def test_promtool_finds_nothing_to_say_about_what_is_told(store: Store, tmp_path: Path) -> None:
    everything(store.instruments)
    async with door_to(store, tmp_path) as door:
        answer = await door.http.get("/metrics")

    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert await asyncio.to_thread(checked, "metrics", answer.text) == (0, "")


async def test_who_asks_for_openmetrics_gets_it(store: Store, tmp_path: Path) -> None:
    wanted = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
    async with door_to(store, tmp_path) as door:
        answer = await door.http.get("/metrics", headers={"accept": wanted})

    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


async def test_the_page_has_a_line_for_each_metric_with_its_kind_and_its_labels(
    store: Store, tmp_path: Path
) -> None:
    everything(store.instruments)
    async with door_to(store, tmp_path) as door:
        families = list(text_string_to_metric_families((await door.http.get("/metrics")).text))
    known = {one.name: one for one in families if one.name.startswith("blacktree_")}

    assert {family(name, kind): kind for name, kind in ROWS.items()} == {
        one.name: one.type for one in known.values()
    }
    for line in PAGE.splitlines():
        if found := re.match(r"\| `(blacktree_\w+)` \| (\w+)[^|]*\| ([^|]*)\|", line):
            labels = {
                label for sample in known[family(found[1], found[2])].samples for label in sample.labels
            }
            assert set(re.findall(r"`(\w+)`", found[3])) == labels - {"le"} or not labels, found[1]


def test_the_alert_rules_of_the_page_are_rules(tmp_path: Path) -> None:
    rules = PAGE.partition("## Five alerts")[2].partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "rules.yml").write_text(rules)
    code, said = checked("rules", "", str(tmp_path / "rules.yml"))

    assert (code, "5 rules found" in said) == (0, True), said
    named = set(re.findall(r"blacktree_\w+", rules))
    assert named <= set(ROWS)
    assert len(YAML(typ="safe").load(rules)["groups"][0]["rules"]) == 5


async def test_what_is_rolled_back_is_not_counted(store: Store, tmp_path: Path) -> None:
    async def broken() -> None:
        async with store.transaction() as session:
            note(session, Instruments.lease_lost)
            raise RuntimeError("and now it did not happen")

    with pytest.raises(RuntimeError):
        await broken()
    async with store.transaction() as session:
        note(session, Instruments.lease_lost)
        async with door_to(store, tmp_path) as door:
            assert (await told(door))["blacktree_leases_lost_total"] == 0
    async with door_to(store, tmp_path) as door:
        assert (await told(door))["blacktree_leases_lost_total"] == 1


async def test_how_things_stand_is_what_the_store_has(store: Store, rows: Rows, tmp_path: Path) -> None:
    run, old = await rows.run(), now() - timedelta(hours=1)
    build = await rows.job(run, 1, state=JobState.RUNNING, lease_until=old, worker="one")
    await rows.job(run, 2, state=JobState.QUEUED, pool="gpu")
    await rows.job(run, 3, state=JobState.FAILED)
    async with store.transaction() as session:
        workers_told: dict[str, dict[str, Any]] = {
            "ready": {}, "full": {"problem": "the disk"}, "drains": {"draining": True},
            "silent": {"seen_at": old}, "gone": {"stopped": True},
        }  # fmt: skip
        for name, more in workers_told.items():
            known: dict[str, Any] = {
                "instance": "i",
                "pool": "default",
                "slots": 4,
                "address": "",
                "software": "",
            }
            session.add(WorkerRow(name=name, **{**known, **more}))
        for at in (old, now()):
            session.add(
                Report(repository_id=build.repository_id, kind=ReportKind.STATUS, key=f"{at}", created_at=at)
            )
        session.add(Delivery(guid="waits", event="push", payload="{}", received_at=old))
        session.add(Delivery(guid="done", event="push", payload="{}", state=DeliveryState.PROCESSED))

    async with door_to(store, tmp_path) as door:
        plain, build_runs = await told(door), await told(door, pool="default", kind="build", state="running")
        queued = await told(door, pool="gpu", kind="build", state="queued")
        status = await told(door, kind="status")
        workers = {
            state: (await told(door, pool="default", state=state))["blacktree_workers"]
            for state in ("ready", "no_room", "draining", "silent")
        }
        slots = await told(door, pool="default")

    assert build_runs["blacktree_jobs"] == queued["blacktree_jobs"] == 1
    assert (plain["blacktree_leases"], plain["blacktree_leases_overdue"]) == (1, 1)
    assert workers == {"ready": 1, "no_room": 1, "draining": 1, "silent": 1}
    assert slots["blacktree_slots"] == 4
    assert status["blacktree_reports_pending"] == 2
    assert status["blacktree_reports_pending_age_seconds"] == pytest.approx(3600, abs=30)
    assert plain["blacktree_deliveries_pending"] == 1
    assert plain["blacktree_deliveries_pending_age_seconds"] == pytest.approx(3600, abs=30)
    assert plain["blacktree_store_up"] == plain["blacktree_queue_up"] == 1


async def test_without_the_store_the_bots_own_numbers_are_told(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise OSError("no route to the database")

    store.instruments.lease_lost()
    monkeypatch.setattr("bot.web.metrics.standing", away)
    async with door_to(store, tmp_path) as door:
        plain = await told(door)

    assert plain["blacktree_leases_lost_total"] == 1
    assert plain["blacktree_store_up"] == 0
    assert "blacktree_leases" not in plain


async def test_the_queries_read_indexes_alone_whatever_waits(store: Store, rows: Rows) -> None:
    await rows.job(await rows.run())
    asked: list[tuple[str, Any]] = []

    def hear(_connection: object, _cursor: object, sql: str, values: Any, *_: object) -> None:
        if sql.startswith("SELECT"):
            asked.append((sql, values))

    event.listen(store._engine.sync_engine, "before_cursor_execute", hear)
    async with store.reading() as session:
        await standing(session, 60, Few(9))
        event.remove(store._engine.sync_engine, "before_cursor_execute", hear)
        connection = await session.connection()
        plans = {
            sql: [
                list(row)[3] for row in await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)
            ]
            for sql, values in asked
        }

    assert len(plans) == 7
    for sql, plan in plans.items():
        if "FROM workers" in sql:
            continue  # some hundred rows
        if "FROM services" in sql:  # likewise; each of their backups by the index
            assert "backups" not in sql or any("COVERING INDEX backups_of" in step for step in plan), plan
            continue
        covering = "lease_until" not in sql
        assert ("USING COVERING INDEX" if covering else "USING INDEX") in plan[0], (sql, plan)


def everything(instruments: Instruments) -> None:
    """Each metric has a value."""
    with instruments.deciding(), instruments.committing(), instruments.queue_asked("offer"):
        pass
    with instruments.request("claim"), instruments.event("step"):
        pass
    with suppress(OSError), instruments.queue_asked("depth"):
        raise OSError
    instruments.received("push", "accepted", 0.01)
    instruments.decided("push", "run", 0.1)
    instruments.dispatched("build", 0.1)
    instruments.granted("build", 0.1)
    instruments.attempt_ended("build", "failed", "build_failed", 3)
    instruments.job_ended("deploy", "succeeded", "", "pr-7")
    instruments.step_ended("checkout", True, 1)
    instruments.built(7, 3, reused=False)
    instruments.switched("switched")
    instruments.lease_lost()
    instruments.reported("status", "sent", 0.1)
    instruments.github_answered("GET", 200, 0.1)
    instruments.github_answered("GET", None, 30)
    headers = {"remaining": "10", "limit": "5000", "reset": str(int(time.time()) + 60)}
    instruments.limits.heard("token", {f"x-ratelimit-{name}": value for name, value in headers.items()})
    instruments.statement(0.001, writes=True)
    instruments.swept("lost messages", 0.1)
    instruments.found("lost messages")
    instruments.sweep_broke("lost messages")
    instruments.lagged(0.001)
    instruments.scaled("default", wanted=3, actual=2)


async def test_what_environments_use_is_told_of_the_last_whole_minute_and_of_few(
    store: Store, rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rows.run()
    monkeypatch.setattr(uses, "_MOST", 2)
    monkeypatch.setattr(uses, "now", lambda: datetime(2026, 11, 28, 9, 2, 30, tzinfo=UTC))
    minutes = {minute: datetime(2026, 11, 28, 9, minute, tzinfo=UTC) for minute in (0, 1, 2)}
    async with store.transaction() as session:
        for name, pull in (("production", None), ("pr-1", 1), ("pr-2", 2), ("staging", None)):
            place = Environment(repository_id=REPOSITORY, name=name, pull_number=pull)
            session.add(place)
            await session.flush()
            for container, minute in (("web", 1), ("clock", 1), ("web", 0), ("web", 2)):
                known: dict[str, Any] = {"process": "web", "memory_limit": 0, "received": 0, "sent": 0}
                session.add(
                    UsageRow(
                        environment_id=place.id or 0, container=container, span=60, at=minutes[minute],
                        seconds=40, cpu=20, memory=100, restarts=3, **known,
                    )
                )  # fmt: skip
    async with door_to(store, tmp_path) as door:
        page = (await door.http.get("/metrics")).text
    told = {
        (sample.labels["environment"], sample.name.removeprefix("blacktree_environment_")): sample.value
        for metric in text_string_to_metric_families(page)
        for sample in metric.samples
        if sample.name.startswith("blacktree_environment_")
    }
    assert told == {
        ("production", "cpu"): 1, ("preview", "cpu"): 2, ("other", "cpu"): 1,
        ("production", "memory_bytes"): 200, ("preview", "memory_bytes"): 400, ("other", "memory_bytes"): 200,
        ("production", "restarts"): 6, ("preview", "restarts"): 12, ("other", "restarts"): 6,
    }  # fmt: skip
