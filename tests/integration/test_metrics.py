"""What /metrics says is what happened: an instance is driven, and its numbers are held against its rows."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from config.trust import trusted
from tests.instance import Instance
from tests.integration.conftest import PAGE, Developer, dockerfile

READER = "reads the metrics alone"
FILE = "environments: {production: {stability: 0, drain: 1, grace: 1}}\n"


class Numbers:
    """One look at /metrics."""

    def __init__(self, page: str) -> None:
        self._samples = [
            sample for metric in text_string_to_metric_families(page) for sample in metric.samples
        ]

    def by(self, name: str, *labels: str, **where: str) -> dict[Any, float]:
        """The values of a metric that are not 0, by these labels, summed over the others."""
        found: Counter[Any] = Counter()
        for sample in self._samples:
            if sample.name == f"blacktree_{name}" and where.items() <= sample.labels.items():
                values = tuple(sample.labels[label] for label in labels)
                found[values if len(values) > 1 else values[0] if values else ""] += sample.value  # type: ignore[assignment]
        return {key: value for key, value in found.items() if value}

    def one(self, name: str, **where: str) -> float:
        return self.by(name, **where).get("", 0)


async def numbers(blacktree: Instance) -> Numbers:
    async with httpx2.AsyncClient(verify=trusted(), timeout=60) as http:
        answer = await http.get(f"{blacktree.url}/metrics", headers={"authorization": f"Bearer {READER}"})
    assert answer.status_code == 200
    return Numbers(answer.text)


def seconds(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def counted(rows: Iterable[Mapping[str, Any]], *fields: str) -> dict[Any, float]:
    return dict(Counter(tuple(row[field] for field in fields) for row in rows))


@pytest.mark.usefixtures("clean_engine")
async def test_the_numbers_are_those_of_what_happened(developer: Developer, blacktree: Instance) -> None:
    begun = time.time()
    await blacktree.start("up", metrics_token=READER)
    await blacktree.ready()
    ready = time.time()
    second = f"second of {ready}"  # the engine knows the layers of files that other tests had
    good = await developer.push({PAGE: second, ".blacktree.yml": FILE})
    await developer.status(good, "blacktree/deploy (production)", "success")
    # The same tree again: nothing is built.
    await developer.push({PAGE: "third"})
    await blacktree.until(lambda: deploys(blacktree, 2), "the second deploy")
    again = await developer.push({PAGE: second})
    await developer.status(again, "blacktree/deploy (production)", "success")
    bad = await developer.push({"Dockerfile": dockerfile("RUN exit 3")})
    await developer.status(bad, "blacktree/build", "failure")
    await developer.status(bad, "blacktree/deploy (production)", "failure")
    crash = dockerfile().replace('CMD ["httpd", "-f", "-p", "8080", "-h", "/www"]', 'CMD ["false"]')
    unhealthy = await developer.push({"Dockerfile": crash})
    await developer.status(unhealthy, "blacktree/deploy (production)", "failure")
    async with httpx2.AsyncClient(verify=trusted(), timeout=60) as http:
        await http.post(f"{blacktree.url}/webhooks/github", json={})

    async def swept() -> bool:
        last = (await numbers(blacktree)).by("sweep_last_run_timestamp_seconds", "sweep")
        return {"stale_workers", "lost_messages", "heads", "missed_deliveries"} <= last.keys()

    async def told_all() -> bool:
        """All reports are sent, and the look at the store is newer than that."""
        seen = await numbers(blacktree)
        return not seen.by("reports_pending", "kind") and not seen.by("jobs", "state")

    await blacktree.until(told_all, "everything to be told to GitHub")
    await blacktree.until(swept, "each sweep to have run")
    jobs, deliveries = await blacktree.jobs(), await blacktree.api("/deliveries?limit=100")
    asked = time.time()
    seen = await numbers(blacktree)

    # Deliveries and what was decided about them.
    received = seen.by("deliveries_received_total", "outcome")
    assert received.pop("refused") == 1
    assert received == {"accepted": len(deliveries)}
    events = counted(deliveries, "event")
    assert {(event,): many for event, many in seen.by("deliveries_decided_total", "event").items()} == events
    runs = sum(one["run_id"] is not None for one in deliveries)
    assert runs == 5
    assert seen.one("deliveries_decided_total", outcome="run") == runs
    assert seen.one("decision_seconds_count") == len(deliveries) == seen.one("delivery_wait_seconds_count")
    assert seen.one("delivery_receive_seconds_count") == len(deliveries) + 1

    # Jobs, attempts, steps.
    assert seen.by("jobs_ended_total", "kind", "state", "reason") == counted(jobs, "kind", "state", "reason")
    history = [{**one, "kind": job["kind"]} for job in jobs for one in job["history"]]
    assert seen.by("attempts_ended_total", "kind", "outcome", "reason") == counted(
        history, "kind", "outcome", "reason"
    )
    lasted = sum(seconds(one["started_at"], one["ended_at"]) for one in history)
    assert seen.one("attempt_seconds_sum") == pytest.approx(lasted, abs=0.5)
    steps = [
        {**step, "outcome": "succeeded" if step["ok"] else "failed"} for job in jobs for step in job["steps"]
    ]
    assert seen.by("step_seconds_count", "step", "outcome") == counted(steps, "name", "outcome")
    took = sum(seconds(step["started_at"], step["ended_at"]) for step in steps)
    assert seen.one("step_seconds_sum") == pytest.approx(took, abs=0.01)
    granted = [job for job in jobs if job["started_at"]]
    waited = sum(seconds(job["offered_at"], job["started_at"]) for job in granted)
    assert seen.one("job_queue_wait_seconds_count") == len(granted)
    assert seen.one("job_queue_wait_seconds_sum") == pytest.approx(waited, abs=0.01)
    builds = [job for job in jobs if job["kind"] == "build"]
    assert seen.one("job_dispatch_wait_seconds_count", kind="build") == len(builds) == 5
    assert seen.one("job_dispatch_wait_seconds_count", kind="deploy") == 0
    dispatched = sum(seconds(job["created_at"], job["offered_at"]) for job in builds)
    # It counts up to when the queue has it, which is after the row says so.
    assert dispatched - 0.2 < seen.one("job_dispatch_wait_seconds_sum") < dispatched + 20

    # Builds and deploys.
    assert seen.by("builds_total", "result") == {"built": 3, "reused": 1}
    layers = seen.by("build_layers_total", "source")
    assert layers["cache"] > 0
    assert layers["built"] > 0
    assert seen.by("deploys_ended_total", "place", "outcome") == {
        ("production", "succeeded"): 3, ("production", "failed"): 1, ("production", "cancelled"): 1,
    }  # fmt: skip
    assert seen.by("switches_total", "outcome") == {"switched": 3}

    # GitHub.
    shas = {run["sha"] for run in await blacktree.api("/runs")}
    statuses = sum(len(developer.github.statuses(developer.repository, sha)) for sha in shas)
    assert seen.one("reports_total", kind="status", outcome="sent") == statuses
    assert seen.one("report_delay_seconds_count", kind="status") == statuses
    assert seen.by("reports_total", "outcome").keys() == {"sent"}
    assert seen.one("github_request_seconds_count", method="POST", answer="2xx") >= statuses

    # Workers, and the bot itself.
    (worker,) = await blacktree.api("/workers")
    assert seen.by("workers", "pool", "state") == {("default", "ready"): 1}
    assert seen.by("slots", "pool") == {"default": worker["slots"]}
    assert seen.one("leases") == seen.one("leases_overdue") == seen.one("leases_lost_total") == 0
    assert seen.one("worker_request_seconds_count", kind="claim") == len(granted)
    assert seen.one("worker_event_seconds_count", kind="finished") == len(granted)
    assert seen.one("worker_request_seconds_count", kind="ready") == 3
    assert seen.one("queue_seconds_count", operation="offer") == seen.one("job_offers_total") == len(granted)
    assert seen.one("leading") == seen.one("store_up") == seen.one("queue_up") == 1
    assert seen.one("store_commit_seconds_count") > len(deliveries) + len(jobs)
    assert seen.by("store_statement_seconds_count", "kind").keys() == {"read", "write"}
    least, most = (asked - ready) / 4, time.time() - begun + 3  # a look each second, later when all is slow
    assert least < seen.one("loop_lag_seconds_count") < most
    last = seen.by("sweep_last_run_timestamp_seconds", "sweep")
    assert last["cancels"] == pytest.approx(asked, abs=20)
    assert {"stale_workers", "lost_messages", "heads", "missed_deliveries"} <= last.keys()
    assert least < seen.one("sweep_seconds_count", sweep="cancels") < most
    assert seen.by("sweep_failures_total", "sweep") == {}


async def deploys(blacktree: Instance, many: int) -> bool:
    done = [job for job in await blacktree.jobs() if (job["kind"], job["state"]) == ("deploy", "succeeded")]
    return len(done) == many
