"""A store in which something of everything has happened, for pages to show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bot.store.database import Store
from bot.store.logs import FileLogs
from bot.store.tables import Job, JobState, Run
from tests.bot.conftest import Rows
from tests.bot.web.pages import surroundings
from tests.bot.web.pages.surroundings import before, step
from workers.contract.messages import Fault, Kind

FAILING = """── checkout
shop at 4444444
── checkout took 0.8 s
── build
#1 [1/4] FROM docker.io/library/node:22
#2 [2/4] COPY package.json package-lock.json ./
#3 [3/4] RUN npm ci
added 214 packages in 11s
#4 [4/4] RUN npm test
\x1b[44m\x1b[97m RUNS \x1b[0m \x1b[2mnode\x1b[22m \x1b[30mblack\x1b[33m yellow\x1b[34m blue
\x1b[35m magenta\x1b[36m cyan\x1b[37m white
> shop@1.4.0 test
> node --test
\x1b[32m✔\x1b[39m the basket is \x1b[1;4mempty\x1b[0m at first \x1b[90m(1.2ms)\x1b[0m
✔ a thing is put into the basket (0.8ms)
\x1b[31m✖ the price has its currency\x1b[0m (3.1ms)
  AssertionError [ERR_ASSERTION]: Expected values to be strictly equal:
  + actual - expected
  + '12.50'
  - '12.50 €'
ERROR: process "/bin/sh -c npm test" did not complete successfully: exit code: 1
── build did not succeed after 19.4 s
✗ RUN npm test: exit code 1
"""
RUNNING = "── checkout\nshop at 3333333\n── checkout took 0.7 s\n── build\n#1 FROM node\n"


PAGES = {
    "overview": "/",
    "repository": "/repositories/acme/shop",
    "run": "/runs/{failed.run_id}",
    "run that went well": "/runs/{again.run_id}",
    "failed job": "/jobs/{failed.id}",
    "running job": "/jobs/{running.id}",
    "job of two attempts": "/jobs/{again.id}",
    "attempts side by side": "/jobs/{again.id}/attempts",
    "log without scripts": "/jobs/{failed.id}/lines",
    "environment": "/environments/1",
    "output": "/environments/1/output",
    "sick environment": "/environments/2",
    "workers": "/workers",
    "deliveries": "/deliveries",
    "delivery": "/deliveries/{delivery}",
    "why": "/why?q={failed.sha}",
    "why not": "/why?q=abcdef1",
    "sessions": "/sessions",
    "tokens": "/tokens",
    "who changed what": "/audit",
    "approvals": "/approvals",
    "what changed": "/environments/1/changes",
    "secrets": "/repositories/acme/shop/secrets",
    "settings": "/settings",
    "notifications": "/notifications",
    "notifications of a repository": "/repositories/acme/shop/notifications",
    "first steps": "/start",
    "nothing": "/runs/99",
}


@dataclass(frozen=True)
class Town:
    """Where to look."""

    failed: Job
    running: Job
    again: Job
    delivery: str = "6f1c0000-4"

    @property
    def pages(self) -> dict[str, str]:
        """A path of each page, by its name."""
        known = {"failed": self.failed, "running": self.running, "again": self.again}
        return {name: path.format(**known, delivery=self.delivery) for name, path in PAGES.items()}


async def made(store: Store, logs: FileLogs) -> Town:
    """All of it."""
    rows = Rows(store)
    first = await rows.run("1" * 40, delivery_guid="6f1c0000-1", created_at=before(days=2))
    second = await rows.run("2" * 40, actor="grace", created_at=before(hours=3))
    third = await rows.run(
        "3" * 40, "refs/pull/42/head", pull_number=42, cause="pull_request", created_at=before(minutes=9)
    )
    fourth = await rows.run("4" * 40, delivery_guid="6f1c0000-4", created_at=before(minutes=2))
    live = (await _well(rows, first, 172_800, 1))[1]
    again, promoted = await _well(rows, second, 10_800, 2)
    failed = await rows.job(
        fourth, 1, name="web", state=JobState.FAILED, attempt=1, worker="oak-1", fault=Fault.USER,
        reason="build", failed_step="build", sentence="RUN npm test: exit code 1",
        started_at=before(seconds=90), ended_at=before(seconds=69),
    )  # fmt: skip
    await rows.job(
        fourth, 2, Kind.DEPLOY, "production", state=JobState.CANCELLED, needs=[failed.id],
        reason="needs_failed", sentence="blacktree/build failed", ended_at=before(seconds=69),
    )  # fmt: skip
    running = await rows.job(
        third, 1, name="web", state=JobState.RUNNING, attempt=1, worker="oak-2", started_at=before(seconds=25)
    )
    await rows.job(third, 2, name="worker", state=JobState.QUEUED)
    await rows.job(third, 3, Kind.DEPLOY, "pr-42", needs=[running.id], unmet=1)
    async with store.transaction() as session:
        await surroundings.places(session, live, promoted)
        surroundings.pulls(session)
        surroundings.fleet(session)
        surroundings.deliveries(session, "builds web, deploys production")
        surroundings.tries(session, failed, again)
        await surroundings.told(session)
        session.add_all([
            step(failed, "checkout", 0, 0.8), step(failed, "build", 0.8, 20.2, ok=False),
            step(running, "checkout", 0, 0.7), step(running, "build", 0.7, None),
            step(again, "build", 0, 38, attempt=2), step(promoted, "pull", 0, 4),
            step(promoted, "start", 4, 12), step(promoted, "check", 12, 22),
        ])  # fmt: skip
    await logs.append(failed.id, 1, 0, FAILING)
    await logs.append(running.id, 1, 0, RUNNING)
    await logs.append(again.id, 1, 0, "── build\nthe registry is away\n")
    await logs.append(again.id, 2, 0, "── build\nwell\n── build took 38.0 s\n")
    return Town(failed, running, again)


async def _well(rows: Rows, run: Run, ago: float, attempt: int) -> tuple[Job, Job]:
    """A build and the deploy after it, so many seconds ago."""
    known: dict[str, Any] = {"state": JobState.SUCCEEDED, "worker": "oak-1", "unmet": 0}
    built = await rows.job(
        run, 1, name="web", attempt=attempt, sentence="Built in 38.2 s, 84 MB",
        started_at=before(seconds=ago - 2), ended_at=before(seconds=ago - 40), **known,
    )  # fmt: skip
    deployed = await rows.job(
        run, 2, Kind.DEPLOY, "production", attempt=1, sentence="Deployed", needs=[built.id],
        started_at=before(seconds=ago - 41), ended_at=before(seconds=ago - 63), **known,
    )  # fmt: skip
    return built, deployed
