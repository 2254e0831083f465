"""A real PostgreSQL as a service: migrated, left alone, changed; backed up, put back, a preview filled."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.parts.engine import Engine
from tests.parts.registry import Registry
from tests.workers.bot import Bot
from tests.workers.deploy import database
from tests.workers.deploy.database import Stock
from tests.workers.deploy.test_deploy import SERVE, spec
from tests.workers.deploy.test_services import PLACE, SECRET, service, standing
from workers.contract.backups import BackupResult, BackupSpec, Depot, Kept, RestoreSpec, Source
from workers.contract.messages import Credentials, Failed, Finished, Limits, Succeeded
from workers.contract.services import Services, ServiceSpec

pytestmark = [pytest.mark.usefixtures("worker"), pytest.mark.timeout(900)]
PREVIEW = "test.7.pr-1"
PSQL = "PGPASSWORD=$POSTGRES_PASSWORD psql -h 127.0.0.1 -U postgres -v ON_ERROR_STOP=1 -q"
DUMP = ["sh", "-c", "PGPASSWORD=$POSTGRES_PASSWORD pg_dump -h 127.0.0.1 -U postgres --clean --if-exists"]
RESTORE = ["sh", "-c", f"{PSQL} -1"]
SEVEN = "update carts set id = 7"
SUM = "select 'carts ' || sum(id) from carts"


@pytest.fixture(scope="module")
def made(engine: Engine, registry: Registry, base: str) -> Iterator[Stock]:
    image = partial(database.image, engine, base)
    with database.stocked(engine, registry, image, "stock/postgres:1", database.START, 5432) as stock:
        yield stock


def stands(made: Stock, volume: str, **more: Any) -> ServiceSpec:
    return service(
        made.pushed,
        volumes={volume: "/data"},
        generated=["POSTGRES_PASSWORD"],
        limits=Limits(memory=256 * 2**20, cpus=1, pids=100),
        timeout=150,
        **more,
    )


def known(made: Stock) -> Credentials:
    url = {"DATABASE_URL": f"postgresql://postgres:{SECRET}@db/postgres"}
    return made.store.credentials(url, db={"POSTGRES_PASSWORD": SECRET})


async def test_a_database_is_made_migrated_left_alone_and_changed_with_its_rows(
    bot: Bot, engine: Engine, name: str, made: Stock
) -> None:
    app, bot.credentials, db = made.app, known(made), stands(made, f"{name}.db.data")

    async def deployed(release: str, sql: str, one: ServiceSpec = db) -> Finished:
        # It listens a moment before it lets anybody in.
        there = 'until pg_isready -q -d "$DATABASE_URL"; do sleep 0.2; done'
        migrate = ["sh", "-c", f'{there}; psql -v ON_ERROR_STOP=1 -At "$DATABASE_URL" -c "{sql}"']
        told = Services(place=PLACE, wanted=[one])
        ended = await bot.run(
            release, spec(app, release, SERVE.format(release), services=told, release_command=migrate)
        )
        assert isinstance(ended.result, Succeeded), bot.log(release)
        return ended

    await deployed("r1", "create table carts (id int); insert into carts values (41), (1)")
    assert SECRET not in bot.log("r1")
    before = standing(engine, name)
    await deployed("r2", "select 'carts ' || sum(id) from carts")
    assert "carts 42" in bot.log("r2")
    assert standing(engine, name).id == before.id

    await deployed(
        "r3", "select 'carts ' || sum(id) from carts", db.model_copy(update={"env": {"TZ": "UTC"}})
    )

    assert standing(engine, name).id != before.id
    assert "carts 42" in bot.log("r3")


async def test_a_database_is_put_back_and_a_preview_has_its_scrubbed_rows_and_never_others(
    bot: Bot, engine: Engine, name: str, tmp_path: Path, made: Stock
) -> None:
    check = {"command": ["pg_isready", "-q", "-h", "127.0.0.1", "-U", "postgres"], "interval": 0.3}
    app, bot.credentials = made.app, known(made)
    db = stands(made, f"{name}.db.data", healthcheck=check)
    depot = Depot(url=str(tmp_path))

    async def deployed(release: str, sql: str, one: ServiceSpec, place: str, **more: Any) -> Finished:
        ask = ["sh", "-c", f'psql -v ON_ERROR_STOP=1 -At "$DATABASE_URL" -c "{sql}"']
        told = Services(place=place, wanted=[one])
        what = spec(app, release, SERVE.format(release), services=told, release_command=ask, **more)
        return await bot.run(release, what)

    async def succeeded(job: str, ended: Finished) -> BackupResult | None:
        assert isinstance(ended.result, Succeeded), bot.log(job)
        return ended.result.backup

    def asked(sql: str) -> str:
        said: Any = standing(engine, name).exec_run(["sh", "-c", f'{PSQL} -Atc "{sql}"'])
        return str(said.output.decode().strip())

    make = "create table carts (id int); insert into carts values (41), (1)"
    await succeeded("r1", await deployed("r1", make, db, PLACE))
    what: dict[str, Any] = {"place": PLACE, "service": "db", "depot": depot}

    taken = await succeeded("b1", await bot.run("b1", BackupSpec(command=DUMP, name="one.gz", **what)))

    assert taken is not None
    assert os.stat(tmp_path / "one.gz").st_size == taken.size
    kept = Kept(name="one.gz", sha256=taken.sha256, size=taken.size)
    assert asked("delete from carts returning id") == "41\n1"
    ended = await bot.run("b2", RestoreSpec(command=RESTORE, kept=kept, **what))
    await succeeded("b2", ended)
    assert [step.name for step in ended.steps] == ["verify", "restore"]
    assert asked(SUM) == "carts 42"

    def filled(scrub: str) -> ServiceSpec:
        source = Source(
            environment="production", command=RESTORE, depot=depot, kept=kept, scrub=["sh", "-c", scrub]
        )
        return db.model_copy(update={"source": source, "volumes": {f"{name}.pr.data": "/data"}})

    update = f"{PSQL} -c '{SEVEN}'"
    failed = await deployed("p1", SUM, filled(f"{update}; exit 5"), PREVIEW, environment="pr-1")

    assert isinstance(failed.result, Failed)
    assert failed.result.sentence.startswith("The scrub of db: sh ended with exit code 5")
    assert engine.containers(f"io.blacktree.place={PREVIEW}") == []
    assert engine.client.volumes.list(filters={"name": f"{name}.pr.data"}) == []
    assert (bot.news[-1].service, bot.news[-1].gone) == ("db", True)
    ended = await deployed("p2", SUM, filled(update), PREVIEW, environment="pr-1")
    await succeeded("p2", ended)
    assert [step.name for step in ended.steps][:5] == ["pull", "services", "verify", "restore", "scrub"]
    assert "carts 14" in bot.log("p2")
    assert (bot.news[-1].service, bot.news[-1].seeded) == ("db", True)
    for job in ("b1", "b2", "p1", "p2"):
        assert SECRET not in bot.log(job)
