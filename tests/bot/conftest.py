"""A real SQLite store, and rows to start from."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, select

from bot.store.database import Store
from bot.store.tables import Environment, Job, JobState, Release, Report, ReportKind, Repository, Run
from tests.bot.talk import Talk, talking
from tests.github import GitHub
from workers.contract.messages import Kind

OLD, NEW = "1" * 40, "2" * 40
REPOSITORY = 7


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Store.opened(f"sqlite:///{tmp_path / 'blacktree.db'}") as opened:
        yield opened


@pytest.fixture
async def talk(tmp_path: Path, github: GitHub, request: pytest.FixtureRequest) -> AsyncIterator[Talk]:
    """A bot whose repository has the module's FILE as its .blacktree.yml."""
    async with talking(tmp_path, github, {".blacktree.yml": request.module.FILE}) as here:
        yield here


@dataclass
class Rows:
    """Puts rows into a store and looks at them from outside."""

    store: Store
    runs: int = field(default=0)

    async def run(self, sha: str = OLD, ref: str = "refs/heads/main", **columns: Any) -> Run:
        self.runs += 1
        async with self.store.transaction() as session:
            if await session.get(Repository, REPOSITORY) is None:
                session.add(Repository(id=REPOSITORY, full_name="acme/shop", default_branch="main"))
            known = {"cause": "push", "cause_key": f"key {self.runs}", "actor": "ada"}
            run = Run(**{"repository_id": REPOSITORY, "ref": ref, "sha": sha, **known, **columns})
            session.add(run)
        return run

    async def job(
        self, run: Run, place: int = 1, kind: Kind = Kind.BUILD, name: str = "app", **columns: Any
    ) -> Job:
        known: dict[str, Any] = {
            "id": f"{run.id}-{place}",
            "run_id": run.id,
            "repository_id": run.repository_id,
            "sha": run.sha,
            "kind": kind,
            "name": name,
            "environment": name if kind is not Kind.BUILD else None,
            "context": "blacktree/build" if kind is Kind.BUILD else f"blacktree/deploy ({name})",
            "pool": "default",
            "attempts": 3,
        }
        async with self.store.transaction() as session:
            job = Job(**{**known, **columns})
            session.add(job)
        return job

    async def pair(self, run: Run, build: JobState, deploy: JobState = JobState.WAITING) -> tuple[Job, Job]:
        """A build, and the deploy that needs it."""
        first = await self.job(run, 1, state=build)
        return first, await self.job(run, 2, Kind.DEPLOY, "production", state=deploy, needs=[first.id])

    async def release(self, job: Job, **columns: Any) -> Release:
        async with self.store.transaction() as session:
            place = Environment(repository_id=job.repository_id, name=job.name, url="http://shop.test")
            session.add(place)
            await session.flush()
            known = {"run_id": job.run_id, "job_id": job.id, "sha": job.sha, "image": "shop@sha256:1"}
            release = Release(**{"environment_id": place.id, **known, **columns})
            session.add(release)
        return release

    async def again(self, job: Job) -> Job:
        """The job as it is in the store now."""
        async with self.store.reading() as session:
            return await session.get_one(Job, job.id)

    async def reports(self, kind: ReportKind | None = None) -> list[Report]:
        """All that is owed, oldest first."""
        wanted = select(Report).order_by(col(Report.id))
        async with self.store.reading() as session:
            rows = (await session.exec(wanted)).all()
        return [row for row in rows if kind in (None, row.kind)]


@pytest.fixture
def rows(store: Store) -> Rows:
    return Rows(store)
