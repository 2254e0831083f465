"""A real SQLite store, and rows to start from."""

from __future__ import annotations

import asyncio
import os
import shutil
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
from tests.parts.postgres import Postgres
from workers.contract.messages import Kind

OLD, NEW = "1" * 40, "2" * 40
REPOSITORY = 7


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with all tables and nothing in them: a copy is there sooner than another like it."""
    file = tmp_path_factory.mktemp("tables") / "blacktree.db"

    async def made() -> None:
        async with Store.opened(f"sqlite:///{file}"):
            pass

    asyncio.run(made())
    return file


@pytest.fixture(scope="session")
def tables_there(postgres: Postgres) -> str:
    """The same at PostgreSQL: its name."""
    name = f"tables_{os.getpid()}"

    async def made() -> None:
        async with Store.opened(postgres.create_database(name)):
            pass

    asyncio.run(made())
    return name


# What they claim is kept by the database itself, so that each kind has to.
_ON_BOTH = {
    "test_at_once", "test_dispatch", "test_grants", "test_lifecycle", "test_needs", "test_restored",
    "test_rows",
}  # fmt: skip


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "store_kind" in metafunc.fixturenames and metafunc.module.__name__.rpartition(".")[2] in _ON_BOTH:
        metafunc.parametrize("store_kind", ["sqlite", "postgresql"])


@pytest.fixture
def store_kind() -> str:
    return "sqlite"


@pytest.fixture
def store_url(store_kind: str, tmp_path: Path, tables: Path, request: pytest.FixtureRequest) -> str:
    """Of a database with nothing in it."""
    if store_kind == "sqlite":
        return f"sqlite:///{shutil.copy(tables, tmp_path)}"
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.create_database(f"bot_test_{os.getpid()}", like=request.getfixturevalue("tables_there"))


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    async with Store.opened(store_url) as opened:
        yield opened


@pytest.fixture
async def talk(
    tmp_path: Path, github: GitHub, tables: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Talk]:
    """A bot whose repository has the module's FILE as its .blacktree.yml."""
    (tmp_path / "bot").mkdir(mode=0o700)
    shutil.copy(tables, tmp_path / "bot")
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
            "unmet": len(columns.get("needs", ())),
        }
        async with self.store.transaction() as session:
            job = Job(**{**known, **columns})
            session.add(job)
        return job

    async def pair(self, run: Run, build: JobState, deploy: JobState = JobState.WAITING) -> tuple[Job, Job]:
        """A build, and the deploy that needs it."""
        first = await self.job(run, 1, state=build)
        return first, await self.job(
            run,
            2,
            Kind.DEPLOY,
            "production",
            state=deploy,
            needs=[first.id],
            unmet=0 if build is JobState.SUCCEEDED else 1,
        )

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
