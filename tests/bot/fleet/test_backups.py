"""The bot's side of backups: when they are due, who takes them, what is kept, told and put back."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from pydantic import SecretStr
from sqlalchemy import update
from sqlmodel import col, select
from starlette.applications import Starlette
from typer.testing import CliRunner

from bot.cli import app
from bot.decisions import backups as decided
from bot.decisions import plan
from bot.decisions.decision import Refused
from bot.fleet.claims import Claims
from bot.fleet.heartbeats import Heartbeats
from bot.fleet.requests import Requests
from bot.fleet.watching import Watcher
from bot.jobs import ending
from bot.jobs.dispatch import Dispatcher
from bot.metrics.labels import Few
from bot.outbox.troubles import turns
from bot.routing.router import Router
from bot.secrets.repositories import Secrets
from bot.secrets.vault import Vault
from bot.store.tables import (
    AuditRow,
    BackupRow,
    Environment,
    Happening,
    Job,
    JobState,
    Lock,
    Pull,
    ReportKind,
    Run,
    ServiceRow,
)
from bot.sweeps import backups as sweep
from bot.web.api.mounted import mounted
from bot.web.backups import Backups
from bot.web.standing import standing
from config.repository import parse
from config.settings import Settings
from tests.bot.conftest import NEW, OLD, REPOSITORY
from tests.bot.fleet.test_services import settings_of, stood
from tests.bot.fleet.test_watching import BOT, LEASE, REGISTRY, Watch
from tests.bot.fleet.test_watching import watch as plain  # noqa: F401
from workers.contract.backups import BackupResult, BackupSpec, RestoreSpec
from workers.contract.messages import (
    Claim,
    Credentials,
    DeploySpec,
    Failed,
    Fault,
    Finished,
    Grant,
    Kind,
    Succeeded,
    now,
)
from workers.contract.seal import Keys

BACKUP = "{cron: '30 2 * * *', command: [dump, --all], restore: [load], keep: 2}"
FILE = """
environments:
  production:
    services:
      db: {image: postgres:17, backup: BACKUP}
      cache: redis:8
  preview:
    services:
      db: {image: postgres:17, seed: {from: production, scrub: [./scrub.sh]}}
""".replace("BACKUP", BACKUP)


@pytest.fixture
def watch(plain: Watch, tmp_path: Path) -> Watch:  # noqa: F811
    """With a place for backups."""
    known: dict[str, Any] = {
        "service_backups": "s3://safe/of/shop",
        "service_backups_key_id": "AKIA",
        "service_backups_secret": SecretStr("opens-sesame"),
    }
    settings = Settings(data_dir=tmp_path, registry=REGISTRY, lease=LEASE, **known)
    store, queue = plain.store, plain.queue
    secrets = Secrets(store, Vault(store, settings))
    router = Router(store, plain.proxy, settings, secrets, BOT)
    none: Any = None
    requests = Requests(
        store,
        Claims(store, queue, none, router, secrets, settings),
        Heartbeats(store, settings),
        router,
        none,
        local=False,
    )
    return Watch(
        plain.rows, store, queue, plain.proxy, settings, Watcher(store, queue, router, settings), requests
    )


async def deployed(watch: Watch, file: str = FILE, **spec: Any) -> None:
    """A deploy of production ends well, which has services from before."""
    run, told = await watch.rows.run(NEW), settings_of(file) | {"image_reference": "shop@sha256:1"}
    job = await watch.rows.job(
        run, 1, Kind.DEPLOY, "production", spec={**told, **spec}, state=JobState.RUNNING
    )
    await end(watch, job, Succeeded())


async def standing_place(watch: Watch, **columns: Any) -> Environment:
    place = await watch.place()
    await watch.serves(place, OLD, settings=settings_of(FILE), steady_at=now() - timedelta(minutes=1))
    async with watch.store.transaction() as session:
        for name in ("db", "cache"):
            session.add(ServiceRow(environment_id=place.id or 0, name=name, worker="one"))
    await watch.beat()
    await deployed(watch)
    if columns:
        await set_row(watch, **columns)
    return place


async def set_row(watch: Watch, **columns: Any) -> None:
    async with watch.store.transaction() as session:
        await session.exec(update(ServiceRow).where(ServiceRow.name == "db").values(**columns))  # type: ignore[arg-type]


async def row(watch: Watch, name: str = "db") -> ServiceRow:
    (found,) = await watch.all(ServiceRow, ServiceRow.name == name)
    return ServiceRow.model_validate(found)


async def backups(watch: Watch) -> list[Job]:
    return await watch.all(Job, Job.kind == Kind.BACKUP)


async def by_hand(watch: Watch, service: str | None = "db", key: str = "") -> Job:
    async with watch.store.transaction() as session:
        place = (await watch.all(Environment, Environment.name == "production"))[0]
        _, run = await decided.run(
            session, place, service, watch.settings, actor="ada", cause="api backup", key=key or uuid4().hex
        )
    (job,) = await watch.all(Job, Job.run_id == run)
    return Job.model_validate(job)


async def granted(watch: Watch, job: Job, worker: str = "one") -> tuple[Any, Credentials]:
    async with watch.store.transaction() as session:
        mine = await session.get_one(Job, job.id)
        mine.state, mine.not_before = JobState.QUEUED, now() - timedelta(seconds=1)
    keys = Keys()
    claim = Claim(job=job.id, worker=worker, instance="i", nonce=uuid4().hex, public_key=keys.public)
    answer = await watch.requests.answer(claim)
    assert isinstance(answer, Grant), answer
    return answer.spec, keys.open(answer.sealed)


async def end(watch: Watch, job: Job, result: Succeeded | Failed) -> None:
    async with watch.store.transaction() as session:
        mine = await session.get_one(Job, job.id)
        told = Finished(job=job.id, attempt=mine.attempt, at=now(), result=result, steps=[])
        await ending.finished(session, mine, told)


async def taken(watch: Watch, **more: Any) -> BackupSpec:
    """A backup by hand that ends well; what its worker was told."""
    job = await by_hand(watch)
    spec, _ = await granted(watch, job)
    result = BackupResult(sha256="ab" * 32, size=1000, dumped=5000, **more)
    await end(watch, job, Succeeded(backup=result))
    assert isinstance(spec, BackupSpec)
    return spec


async def failed(watch: Watch) -> None:
    job = await by_hand(watch)
    await granted(watch, job)
    said = "The backup of db: dump ended with exit code 1"
    await end(watch, job, Failed(fault=Fault.USER, reason="command_failed", sentence=said))


# -- when ------------------------------------------------------------------------------------------------


async def test_what_the_deployed_file_says_of_backups_is_kept_until_another_is_deployed(watch: Watch) -> None:
    await standing_place(watch)
    said = await row(watch)
    assert said.backup is not None
    assert (said.backup["command"], said.backup["keep"]) == (["dump", "--all"], 2)
    assert said.backup_since is not None
    assert (await row(watch, "cache")).backup_since is None
    since = said.backup_since

    await deployed(watch, FILE.replace("keep: 2", "keep: 5"))
    assert (await row(watch)).backup_since == since, "the same times"
    await deployed(
        watch, FILE.replace(f", backup: {BACKUP}", "").partition("  preview")[0], services_stay=True
    )
    assert (await row(watch)).backup is not None, (
        "a release of before that came back says nothing of services"
    )
    await deployed(watch, FILE.replace(f", backup: {BACKUP}", "").partition("  preview")[0])
    assert ((await row(watch)).backup, (await row(watch)).backup_since) == (None, None)


async def test_a_time_of_a_schedule_has_one_job_whoever_looks_and_however_often(watch: Watch) -> None:
    await standing_place(watch, backup_since=now() - timedelta(days=3))

    await asyncio.gather(*(sweep.sweep(watch.store, watch.settings) for _ in range(3)))
    await sweep.sweep(watch.store, watch.settings)

    (job,) = await backups(watch)
    assert (job.name, job.environment, job.pool, job.context) == ("db", "production", "default", "")
    (run,) = await watch.all(Run, Run.id == job.run_id)
    last = (await row(watch)).backup_since
    assert last is not None
    assert (last.hour, last.minute, last > now() - timedelta(days=1)) == (2, 30, True)
    assert run.cause_key.endswith(f":db:{last.isoformat()}")


async def test_a_bot_that_read_before_another_one_made_the_job_makes_none(watch: Watch) -> None:
    place = await standing_place(watch, backup_since=now() - timedelta(days=3))
    before = await row(watch)
    await sweep.sweep(watch.store, watch.settings)
    fires = (await row(watch)).backup_since
    assert fires is not None

    await sweep._begin(watch.store, before, place, fires, watch.settings)
    await set_row(watch, backup_since=before.backup_since)  # as if it had been killed before it wrote that
    (first,) = await backups(watch)
    await end_now(watch, first)
    await sweep._begin(watch.store, before, place, fires, watch.settings)

    assert [job.id for job in await backups(watch)] == [first.id]


async def end_now(watch: Watch, job: Job) -> None:
    async with watch.store.transaction() as session:
        (await session.get_one(Job, job.id)).state = JobState.CANCELLED


async def test_one_backup_of_a_service_at_a_time(watch: Watch) -> None:
    await standing_place(watch, backup_since=now() - timedelta(days=3))
    job = await by_hand(watch)
    with pytest.raises(Refused, match="db of production is being backed up already"):
        await by_hand(watch)
    await sweep.sweep(watch.store, watch.settings)
    assert len(await backups(watch)) == 1
    await end_now(watch, job)
    await sweep.sweep(watch.store, watch.settings)
    assert len(await backups(watch)) == 2, "it is due still"


@pytest.mark.parametrize("columns", [{"stopped": True}, {"asleep": True}])
async def test_nothing_is_due_where_nothing_runs(watch: Watch, columns: dict[str, bool]) -> None:
    await standing_place(watch, backup_since=now() - timedelta(days=3))
    async with watch.store.transaction() as session:
        await session.exec(update(Environment).values(**columns))
    await sweep.sweep(watch.store, watch.settings)
    assert await backups(watch) == []


async def test_no_deploy_waits_for_a_backup_and_no_backup_for_a_deploy(watch: Watch) -> None:
    await standing_place(watch)
    dispatcher = Dispatcher(watch.store, watch.queue, 10)
    first = await by_hand(watch)
    await dispatcher._admit()
    deploy = await watch.rows.job(await watch.rows.run(NEW), 1, Kind.DEPLOY, "production")
    later = await watch.rows.job(await watch.rows.run(NEW), 1, Kind.BACKUP, "production", context="")
    await dispatcher._admit()

    states = {job.id: job.state for job in await watch.all(Job)}
    assert (states[first.id], states[deploy.id]) == (JobState.QUEUED, JobState.QUEUED)
    assert states[later.id] is JobState.WAITING, "one backup after the other"
    restore = await watch.rows.job(await watch.rows.run(NEW), 1, Kind.RESTORE, "production", context="")
    await dispatcher._admit()
    assert (await watch.rows.again(restore)).state is JobState.WAITING, "a restore is alone with its place"


# -- who, what, where ------------------------------------------------------------------------------------


async def test_the_worker_that_has_the_service_takes_it_with_keys_that_nobody_else_reads(
    watch: Watch,
) -> None:
    await standing_place(watch)
    await watch.beat(worker="two")
    job = await by_hand(watch)
    with pytest.raises(AssertionError, match="its services are at one"):
        await granted(watch, job, "two")

    spec, known = await granted(watch, job)

    assert isinstance(spec, BackupSpec)
    assert (spec.place, spec.service) == (f"{watch.store.instance}.{REPOSITORY}.production", "db")
    assert (spec.command, spec.depot.url, spec.depot.encryption) == (
        ["dump", "--all"],
        "s3://safe/of/shop",
        "AES256",
    )
    assert spec.name.startswith(f"{REPOSITORY}/production/db/{now():%Y%m%dT}")
    assert spec.name.endswith(f"Z-{job.id}-1.gz")
    assert (known.depot_id, known.depot_secret) == ("AKIA", "opens-sesame")
    assert "opens-sesame" in known.secrets()
    assert "opens-sesame" not in spec.model_dump_json()


async def test_what_was_taken_is_listed_and_only_the_newest_are_kept(watch: Watch) -> None:
    await standing_place(watch)
    names = [(await taken(watch)).name for _ in range(2)]

    third = await taken(watch, removed=names[:1])

    assert third.expired == names[:1]
    rows = await watch.all(BackupRow)
    assert [one.name for one in rows] == [names[1], third.name]
    assert (rows[0].sha256, rows[0].size, rows[0].dumped, rows[0].restore) == (
        "ab" * 32,
        1000,
        5000,
        ["load"],
    )
    job = (await backups(watch))[-1]
    assert job.sentence == "db is backed up: 0.0 MB, kept as 0.0 MB"
    fourth = await taken(watch)
    assert fourth.expired == [names[1]]
    assert len(await watch.all(BackupRow)) == 3, "what could not be removed is listed, and goes the next time"


async def test_what_a_lost_attempt_may_have_finished_goes_with_the_next(watch: Watch) -> None:
    await standing_place(watch)
    job = await by_hand(watch)
    first, _ = await granted(watch, job)
    await end(watch, job, Failed(fault=Fault.OURS, reason="depot_down", sentence="away"))
    assert (await watch.rows.again(job)).state is JobState.QUEUED

    second, _ = await granted(watch, job)

    assert second.name != first.name
    assert second.expired == [first.name]


# -- what is told ----------------------------------------------------------------------------------------


async def said(watch: Watch) -> tuple[str, str]:
    """What GitHub's deployment says of production."""
    (live,) = [
        one for one in await watch.last_said(ReportKind.DEPLOYMENT) if one[0] in ("failure", "success")
    ]
    return live


async def looked(watch: Watch) -> None:
    await watch.beat(services=[stood(watch), stood(watch, service="cache", name="c")])
    await watch.watcher.look()


async def test_a_failed_backup_is_told_at_github_until_one_succeeds(watch: Watch) -> None:
    await standing_place(watch)
    await failed(watch)
    await looked(watch)

    problem = "service db: its backup failed: The backup of db: dump ended with exit code 1"
    assert await said(watch) == ("failure", problem)
    assert await watch.all(BackupRow) == []
    async with watch.store.reading() as session:
        text = str(list((await standing(session, 10, Few(5))).families()))
    assert "blacktree_service_backups_unwell" in text
    await taken(watch)
    await looked(watch)
    assert (await said(watch))[0] == "success"


async def test_an_overdue_backup_is_told(watch: Watch) -> None:
    await standing_place(watch, backup_since=now() - timedelta(days=3))
    await sweep.sweep(watch.store, watch.settings)
    assert (await row(watch)).backup_trouble == "", "it has just become due"
    async with watch.store.transaction() as session:
        (job,) = await backups(watch)
        (await session.get_one(Job, job.id)).created_at = datetime(2026, 1, 2, 2, 30, tzinfo=UTC)

    await sweep.sweep(watch.store, watch.settings)
    await looked(watch)

    problem = "its backup of 2026-01-02 02:30 UTC is overdue"
    assert await said(watch) == ("failure", f"service db: {problem}")
    turned = [turn for one in await watch.all(Happening) for turn in turns(one.kind, one.about)]
    assert ("backup", "db", problem) in [(turn.kind, turn.name, turn.problem) for turn in turned]
    assert [turn for turn in turned if turn.kind == "crash" and turn.problem] == [], "it is told as a backup"


async def test_where_backups_have_no_place_that_is_told_and_not_passed_over(watch: Watch) -> None:
    await standing_place(watch, backup_since=now() - timedelta(days=3))
    none = watch.settings.model_copy(update={"service_backups": ""})
    await sweep.sweep(watch.store, none)
    assert (await backups(watch), (await row(watch)).backup_trouble) == ([], decided.NO_PLACE)
    await sweep.sweep(watch.store, watch.settings)
    assert (await row(watch)).backup_trouble == ""
    watch.settings = none
    with pytest.raises(Refused, match="its administrator sets SERVICE_BACKUPS"):
        await by_hand(watch)


async def test_metrics_tell_when_each_scheduled_service_was_backed_up_last(watch: Watch) -> None:
    await standing_place(watch)
    key = ("acme/shop", "production", "db")
    async with watch.store.reading() as session:
        assert (await standing(session, 10, Few(5))).backups == {key: 0.0}
    await taken(watch)
    async with watch.store.reading() as session:
        found = await standing(session, 10, Few(5))
    assert abs(found.backups[key] - now().timestamp()) < 60
    assert found.unwell == 0


# -- putting back ----------------------------------------------------------------------------------------


async def put_back(
    watch: Watch, confirm: str = "production", actor: str = "ada", place: str = "production"
) -> Job:
    (kept, *_) = await watch.all(BackupRow)
    async with watch.store.transaction() as session:
        (target,) = await watch.all(Environment, Environment.name == place)
        _, run = await decided.restore(
            session, target, kept, watch.settings, confirm=confirm, actor=actor, key=uuid4().hex
        )
    (job,) = await watch.all(Job, Job.run_id == run)
    return Job.model_validate(job)


async def test_a_backup_is_put_back_by_whoever_says_the_environments_name(watch: Watch) -> None:
    await standing_place(watch)
    spec = await taken(watch)
    for other in ("", "yes", "staging"):
        with pytest.raises(Refused, match="confirm it with the environment's name, production"):
            await put_back(watch, other)

    job = await put_back(watch)
    told, known = await granted(watch, job)

    assert isinstance(told, RestoreSpec)
    assert (told.command, told.kept.name, told.kept.sha256) == (["load"], spec.name, "ab" * 32)
    assert known.depot_secret == "opens-sesame"
    assert job.attempts == 1
    await end(watch, job, Failed(fault=Fault.OURS, reason="depot_down", sentence="away"))
    assert (await watch.rows.again(job)).state is JobState.FAILED, "nobody repeats what half of one did"


async def test_what_holds_an_environment_holds_a_restore_and_a_fork_gets_no_data(watch: Watch) -> None:
    await standing_place(watch)
    await taken(watch)
    async with watch.store.transaction() as session:
        session.add(Lock(repository_id=REPOSITORY, environment="production", owner="bob", reason="a look"))
    with pytest.raises(Refused, match="production is locked by bob: a look"):
        await put_back(watch)
    place = await watch.place("pr-7", pull_number=7)
    async with watch.store.transaction() as session:
        session.add(Pull(repository_id=REPOSITORY, number=7, head_sha=NEW, head_ref="x", fork=True))
        session.add(ServiceRow(environment_id=place.id or 0, name="db", worker="one"))
    with pytest.raises(Refused, match="a fork's code gets no data of another environment"):
        await put_back(watch, "pr-7", place="pr-7")
    with pytest.raises(Refused, match="confirm it with the environment's name, pr-7"):
        await put_back(watch, "production", place="pr-7")


async def preview(watch: Watch, **spec: Any) -> tuple[DeploySpec, Credentials]:
    told = plan.preview(parse(FILE), 7, NEW)[-1].spec | {"image_reference": "shop@sha256:1"}
    job = await watch.rows.job(await watch.rows.run(NEW), 1, Kind.DEPLOY, "pr-7", spec={**told, **spec})
    found, known = await granted(watch, job)
    async with watch.store.transaction() as session:
        (await session.get_one(Job, job.id)).state = JobState.FAILED
    assert isinstance(found, DeploySpec)
    return found, known


async def test_a_preview_is_filled_from_the_last_backup_and_a_forks_is_not(watch: Watch) -> None:
    await standing_place(watch)
    await watch.place("pr-7", pull_number=7)
    spec, _ = await preview(watch)
    assert spec.services is not None
    (db,) = spec.services.wanted
    assert db.source is not None
    assert (db.source.environment, db.source.kept) == ("production", None)
    await taken(watch)
    last = await taken(watch)

    spec, known = await preview(watch)

    assert spec.services is not None
    source = spec.services.wanted[0].source
    assert source is not None
    assert source.kept is not None
    assert (source.kept.name, source.command, source.scrub) == (last.name, ["load"], ["./scrub.sh"])
    assert known.depot_secret == "opens-sesame"
    spec, known = await preview(watch, fork=True)
    assert spec.services is not None
    source = spec.services.wanted[0].source
    assert source is not None
    assert source.refused == "a fork's code gets no data of another environment"
    assert known.depot_secret == ""


# -- by the API and the command line ---------------------------------------------------------------------


async def test_the_api_takes_lists_and_restores(watch: Watch) -> None:
    place = await standing_place(watch)
    web = Starlette(routes=[mounted([Backups(watch.store, watch.settings)], watch.store)])
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=web), base_url=f"http://bot/api/v1/environments/{place.id}"
    ) as api:
        once = {"idempotency-key": "once"}
        first = await api.post("/backups", json={"service": "db", "actor": "ada"}, headers=once)
        assert (first.status_code, first.json()["message"]) == (202, "backs up db of production")
        same = await api.post("/backups", json={"service": "db", "actor": "ada"}, headers=once)
        assert same.json()["run"] == first.json()["run"]
        busy = await api.post("/backups", json={})
        assert (busy.status_code, "already" in busy.text) == (422, True)
        (job,) = await backups(watch)
        await granted(watch, job)
        await end(watch, job, Succeeded(backup=BackupResult(sha256="ab" * 32, size=1, dumped=2)))
        again = await api.post("/backups", json={"service": "db", "actor": "ada"}, headers=once)
        assert again.json()["run"] == first.json()["run"]
        none = await api.post("/backups", json={"service": "cache"})
        assert "nothing says how cache of production is backed up" in none.text
        (shown,) = (await api.get("/backups")).json()
        assert (shown["service"], shown["size"], shown["environment"]) == ("db", 1, "production")

        refused = await api.post("/restore", json={"confirm": "yes"})
        assert (refused.status_code, "confirm it" in refused.text) == (422, True)
        unsaid = await api.post("/restore", json={"backup": shown["id"]})
        assert (unsaid.status_code, unsaid.text) == (400, unsaid.text)
        unknown = await api.post("/restore", json={"confirm": "production", "backup": 999})
        assert (unknown.status_code, "has no backup 999" in unknown.text) == (422, True)
        done = await api.post("/restore", json={"confirm": "production"})
    assert done.json()["message"] == f"restores db of production from backup {shown['id']} of production"


async def test_the_command_line_takes_lists_and_restores(watch: Watch) -> None:
    await standing_place(watch)
    env = {
        "BLACKTREE_DATA_DIR": str(watch.settings.data_dir),
        "BLACKTREE_SERVICE_BACKUPS": "/backups",
        "COLUMNS": "160",
    }

    def invoked(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["backups", *words], env=env)
        return result.exit_code, result.output + str(result.exception or "")

    async def called(*words: str) -> tuple[int, str]:
        return await asyncio.to_thread(invoked, *words)

    here = ("Acme/Shop", "production")
    assert await called("list", *here) == (0, "Acme/Shop has no backups of production\n")
    code, out = await called("run", *here, "db")
    assert (code, "backs up db of production: run" in out) == (0, True), out
    (job,) = await backups(watch)
    await granted(watch, job)
    await end(watch, job, Succeeded(backup=BackupResult(sha256="ab" * 32, size=10**6, dumped=4 * 10**6)))
    code, out = await called("list", *here)
    assert "1 db" in " ".join(out.split())
    assert "1.0 MB 4.0 MB abababababab" in " ".join(out.split())
    code, out = await called("restore", *here)
    assert (code, "confirm it with the environment's name" in out) == (1, True), out
    code, out = await called("restore", *here, "1", "--confirm", "production")
    assert (code, "restores db of production from backup 1" in out) == (0, True), out
    async with watch.store.reading() as session:
        rows = (await session.exec(select(AuditRow).order_by(col(AuditRow.id)))).all()
    assert [(row.how, row.what) for row in rows] == [
        ("the command line", "production: backs up db of production"),
        ("the command line", "production: restores db of production from backup 1 of production"),
    ]
    code, out = await called("run", "acme/other", "production")
    assert (code, "this instance does not know it" in out) == (1, True)
