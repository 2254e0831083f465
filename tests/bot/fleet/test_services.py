"""The bot's side of services: secrets made once, what is kept of them, and whose they are."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr
from sqlalchemy import update

from bot.decisions import plan
from bot.fleet import services as fleet
from bot.fleet.stability import fate
from bot.jobs import ending, releases, services
from bot.secrets.repositories import Secrets
from bot.secrets.vault import Vault
from bot.store.tables import (
    Job,
    JobState,
    Release,
    ReleaseState,
    ReportKind,
    Repository,
    Sealed,
    ServiceRow,
    WorkerRow,
)
from config.repository import parse
from config.settings import Settings
from tests.bot.conftest import NEW, OLD, REPOSITORY
from tests.bot.fleet.test_watching import Watch
from tests.bot.fleet.test_watching import watch as watch
from workers.contract.messages import (
    Claim,
    Credentials,
    DeploySpec,
    Finished,
    Grant,
    Kind,
    Noted,
    Refusal,
    ServiceNews,
    ServiceState,
    StopSpec,
    Succeeded,
    now,
)
from workers.contract.seal import Keys
from workers.contract.services import Services

FILE = """
environments:
  production:
    services:
      db:
        image: postgres:17
        env: {USER: ada}
        volumes: {data: /data}
        generate: [PASSWORD]
        provides: {DATABASE_URL: "db://{USER}:{PASSWORD}@db/{{x}}"}
        healthcheck: {command: [ask], interval: 2, timeout: 30}
      cache: redis:8
"""


def settings_of(file: str = FILE) -> dict[str, Any]:
    """What a deploy to production is planned with."""
    jobs = plan.deploy(parse(file), "production", NEW, "main", None)
    return next(job.spec for job in jobs if job.kind is Kind.DEPLOY)


async def deploying(watch: Watch, name: str = "production", **spec: Any) -> Job:
    image = {"image_reference": "registry.test/acme/shop@sha256:1"}
    told = {**settings_of(), **image, **spec}
    return await watch.rows.job(
        await watch.rows.run(NEW), 1, Kind.DEPLOY, name, spec=told, state=JobState.QUEUED
    )


async def granted(watch: Watch, job: Job, worker: str = "one") -> tuple[Any, Credentials]:
    keys = Keys()
    claim = Claim(job=job.id, worker=worker, instance="i", nonce=uuid4().hex, public_key=keys.public)
    answer = await watch.requests.answer(claim)
    assert isinstance(answer, Grant), answer
    return answer.spec, keys.open(answer.sealed)


async def tell(watch: Watch, of: Job, **more: Any) -> Noted | Refusal:
    known = {"job": of.id, "attempt": 1, "service": "db", "image": "postgres@sha256:1", **more}
    answer = await watch.requests.answer(ServiceNews(**known))
    assert isinstance(answer, Noted | Refusal)
    return answer


def stood(watch: Watch, environment: str = "production", **more: Any) -> ServiceState:
    place = services.place(watch.store.instance, REPOSITORY, environment)
    known = {"place": place, "service": "db", "name": f"{environment}-db", "running": True, "restarts": 0}
    return ServiceState(**{**known, **more})


async def test_a_deploy_knows_its_services_and_their_secrets_are_made_once_for_each_environment(
    watch: Watch,
) -> None:
    await watch.place()
    await watch.place("staging")
    await watch.beat()

    spec, known = await granted(watch, first := await deploying(watch))

    assert isinstance(spec, DeploySpec)
    assert spec.services is not None
    assert spec.services.place == f"{watch.store.instance}.{REPOSITORY}.production"
    db, cache = spec.services.wanted
    assert (db.image, db.pinned, db.generated) == ("postgres:17", "", ["PASSWORD"])
    assert db.volumes == {f"blacktree-{spec.services.place}.db.data": "/data"}
    assert (db.healthcheck and db.healthcheck.command, db.timeout) == (["ask"], 30)
    assert (cache.name, cache.image, cache.healthcheck) == ("cache", "redis:8", None)
    password = known.services["db"]["PASSWORD"]
    assert len(password) == 48
    assert known.env == {"DATABASE_URL": f"db://ada:{password}@db/{{x}}"}
    assert password in known.secrets()
    assert password not in spec.model_dump_json()
    async with watch.store.transaction() as session:
        (await session.get_one(Job, first.id)).state = JobState.FAILED
    _, again = await granted(watch, await deploying(watch))
    _, other = await granted(watch, await deploying(watch, "staging"))
    assert again.services == known.services
    assert other.services != known.services


async def test_what_is_generated_is_sealed_and_follows_the_newest_key(watch: Watch) -> None:
    place = await watch.place()

    def secrets(key: str) -> Secrets:
        settings = watch.settings.model_copy(update={"secret_key": SecretStr(key)})
        return Secrets(watch.store, Vault(watch.store, settings))

    made = await secrets("old").services.of(place.id or 0, {"db": ["PASSWORD"]})
    (row,) = await watch.all(ServiceRow)
    assert made["db"]["PASSWORD"] not in str(row.sealed)
    assert await watch.all(Sealed) == []

    await secrets("new,old").reseal()

    assert await secrets("new").services.of(place.id or 0, {"db": ["PASSWORD"]}) == made
    more = await secrets("new").services.of(place.id or 0, {"db": ["PASSWORD", "TOKEN"]})
    assert more["db"]["PASSWORD"] == made["db"]["PASSWORD"]
    assert len(more["db"]["TOKEN"]) == 48


async def test_a_digest_is_kept_from_the_first_start_on_until_the_file_says_another_image(
    watch: Watch,
) -> None:
    await watch.place()
    await watch.beat()
    await granted(watch, job := await deploying(watch))

    assert isinstance(await tell(watch, job, fresh=True), Noted)
    assert isinstance(await tell(watch, job, image="", seeded=True), Noted)

    (row,) = await watch.all(ServiceRow, ServiceRow.name == "db")
    assert (row.image, row.pinned, row.seeded, row.worker) == (
        "postgres:17",
        "postgres@sha256:1",
        True,
        "one",
    )
    async with watch.store.transaction() as session:
        (await session.get_one(Job, job.id)).state = JobState.FAILED
    spec, _ = await granted(watch, second := await deploying(watch))
    assert next((one.pinned, one.seeded) for one in spec.services.wanted) == ("postgres@sha256:1", True)
    async with watch.store.transaction() as session:
        (await session.get_one(Job, second.id)).state = JobState.FAILED
    other = settings_of(FILE.replace("postgres:17", "postgres:18"))
    spec, _ = await granted(watch, await deploying(watch, services=other["services"]))
    assert spec.services.wanted[0].pinned == ""


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"attempt": 2}, "not the job's any more"),
        ({"job": "9-9"}, "not the job's any more"),
        ({"service": "another"}, "no such service"),
    ],
)
async def test_what_is_told_of_a_service_counts_from_its_own_attempt_alone(
    watch: Watch, more: dict[str, Any], why: str
) -> None:
    await watch.place()
    await watch.beat()
    await granted(watch, job := await deploying(watch))

    answer = await tell(watch, job, **more)

    assert isinstance(answer, Refusal)
    assert why in answer.reason
    assert all(not row.worker for row in await watch.all(ServiceRow))


async def test_an_environment_with_services_is_for_the_worker_that_has_them(watch: Watch) -> None:
    await watch.place()
    await watch.beat()
    await watch.beat(worker="two")
    await granted(watch, job := await deploying(watch))
    await tell(watch, job)
    async with watch.store.transaction() as session:
        (await session.get_one(Job, job.id)).state = JobState.FAILED
    stop = await watch.rows.job(await watch.rows.run(NEW), 1, Kind.STOP, "production", state=JobState.QUEUED)

    for other in (await deploying(watch), await deploying(watch, services={}), stop):
        with pytest.raises(AssertionError, match="its services are at one"):
            await granted(watch, other, "two")

    spec, _ = await granted(watch, bare := await deploying(watch, services={}))
    assert (spec.services.wanted, spec.services.needed) == ([], [])
    await tell(watch, bare, image="", gone=True)
    async with watch.store.reading() as session:
        assert await fleet.workers(session, REPOSITORY, "production") == set()


async def test_services_of_the_release_that_serves_are_needed_still(watch: Watch) -> None:
    place = await watch.place()
    await watch.serves(place, OLD, settings=settings_of())
    await watch.beat()
    only = {"cache": settings_of()["services"]["cache"]}
    spec, _ = await granted(watch, await deploying(watch, services=only))
    assert spec.services.needed == ["db"]


async def test_what_is_brought_out_again_leaves_services_as_they_are(watch: Watch) -> None:
    place = await watch.place()
    live = await watch.serves(place, OLD, settings=settings_of())
    await watch.beat()

    spec, known = await granted(watch, job := await deploying(watch, **releases.again(live)))

    assert spec.services.stay is True
    assert known.env["DATABASE_URL"].startswith("db://ada:")
    (release,) = await watch.all(Release, Release.job_id == job.id)
    assert release.settings == live.settings


async def test_the_end_of_a_preview_forgets_its_services_and_sleep_does_not(watch: Watch) -> None:
    await watch.place("pr-7", pull_number=7)
    await watch.beat()
    await granted(watch, job := await deploying(watch, "pr-7"))
    await tell(watch, job)
    async with watch.store.transaction() as session:
        (await session.get_one(Job, job.id)).state = JobState.FAILED

    for spec, left in (({"sleeps": True}, True), ({"volumes": True}, False)):
        stop = await watch.rows.job(
            await watch.rows.run(NEW), 1, Kind.STOP, "pr-7", spec=spec, state=JobState.QUEUED
        )
        told, _ = await granted(watch, stop)
        assert isinstance(told, StopSpec)
        assert told.place == services.place(watch.store.instance, REPOSITORY, "pr-7")
        async with watch.store.transaction() as session:
            row = await session.get_one(Job, stop.id)
            end = Finished(job=stop.id, attempt=1, at=now(), result=Succeeded(), steps=[])
            await ending.finished(session, row, end)
        assert bool(await watch.all(ServiceRow)) is left


async def test_a_fork_has_secrets_of_its_own_previews_services_and_no_login_for_their_images(
    watch: Watch,
) -> None:
    await watch.place("pr-7", pull_number=7)
    await watch.place("pr-8", pull_number=8)
    await watch.beat()
    logins = {"registry_username": "ada", "registry_password": SecretStr("pushes")}
    settings = watch.settings.model_copy(update=logins)
    secrets = Secrets(watch.store, Vault(watch.store, settings))
    services = {"db": {**settings_of()["services"]["db"], "image": "registry.test/tools/db:1"}}

    async def known(name: str, *, fork: bool) -> Credentials:
        job = await deploying(watch, name, services=services, fork=fork)
        return await fleet.known(watch.store, secrets.services, settings, job, Credentials())

    fork, own = await known("pr-7", fork=True), await known("pr-8", fork=False)

    assert fork.registries == []
    assert [login.password for login in own.registries] == ["pushes"]
    assert fork.services != own.services
    assert fork.services["db"]["PASSWORD"] in fork.env["DATABASE_URL"]


async def test_what_a_service_suffers_is_told_and_so_is_that_it_is_well_again(watch: Watch) -> None:
    place = await watch.place()
    live = await watch.serves(place, OLD, settings=settings_of(), steady_at=now() - timedelta(minutes=1))
    async with watch.store.transaction() as session:
        session.add(ServiceRow(environment_id=place.id or 0, name="db", worker="one"))

    async def heard(*told: ServiceState) -> str:
        await watch.beat(watch.told(live), services=list(told))
        await watch.watcher.look()
        return (await watch.again(live)).problem

    assert await heard(stood(watch)) == ""
    assert await heard(stood(watch, running=False, exit_code=3, last_lines="no room")) == (
        "service db: it ended with exit code 3"
    )
    assert (await watch.again(live)).last_lines == "no room"
    assert ("failure", "service db: it ended with exit code 3") in await watch.last_said(
        ReportKind.DEPLOYMENT
    )
    assert (await watch.again(live)).state is ReleaseState.LIVE
    assert await heard(stood(watch)) == ""
    assert await heard(stood(watch, restarts=1)) == "service db: it restarted 1 time"
    async with watch.store.transaction() as session:
        await session.exec(update(WorkerRow).values(started_at=now() - timedelta(hours=1)))
    assert await heard() == "service db: its container was removed by somebody"


async def test_an_exposed_service_is_followed_where_its_own_worker_publishes_it_and_nowhere_else(
    watch: Watch,
) -> None:
    place = await watch.place()
    file = FILE.replace("        image: postgres:17", "        image: postgres:17\n        expose: tcp/5432")
    before = {"db": ["10.0.0.9:22001"]}
    live = await watch.serves(place, OLD, settings=settings_of(file), further=before)

    async def heard(**more: Any) -> Any:
        await watch.beat(watch.told(live), services=[stood(watch, **more)])
        return (await watch.again(live)).further

    assert await heard(address="10.0.0.8:22005") == before, "another machine's"
    assert await heard(address="10.0.0.9:5432") == before, "a port that no worker publishes at"
    assert await heard(address="10.0.0.9:22005", environment="staging") == before
    assert await heard(address="10.0.0.9:22005", running=False) == before
    assert await heard(address="10.0.0.9:22005") == {"db": ["10.0.0.9:22005"]}


async def test_what_happens_to_a_service_while_a_deploy_changes_it_is_not_told(watch: Watch) -> None:
    place = await watch.place()
    live = await watch.serves(place, OLD, settings=settings_of(), steady_at=now() - timedelta(minutes=1))
    async with watch.store.transaction() as session:
        row: dict[str, Any] = {"running": False, "health": "gone", "worker": "one"}
        session.add(ServiceRow(environment_id=place.id or 0, name="db", **row))
    await watch.beat(watch.told(live))
    await granted(watch, job := await deploying(watch))

    down = stood(watch, running=False, exit_code=1)
    await watch.beat(watch.told(live), services=[down])
    await watch.watcher.look()

    assert (await watch.again(live)).problem == ""
    async with watch.store.transaction() as session:
        (await session.get_one(Job, job.id)).state = JobState.FAILED
    await watch.beat(watch.told(live), services=[down])
    await watch.watcher.look()
    assert (await watch.again(live)).problem == "service db: it ended with exit code 1", (
        "told again it is heard"
    )


def test_a_release_with_services_waits_for_the_worker_that_has_them() -> None:
    known: dict[str, Any] = {"environment_id": 1, "run_id": 1, "job_id": "1-2", "sha": OLD, "worker": "one"}
    release = Release(image="registry.test/shop@sha256:1", settings=settings_of(), **known)
    assert fate(release, "default", {"two": "default"}, local=False).said == (
        "its services are there, so it waits for that worker"
    )


async def test_a_service_of_no_environment_goes_and_no_other(watch: Watch) -> None:
    ended = {"stopped": True, "pull_number": 1}
    await watch.place()
    await watch.place("halted", stopped=True)
    await watch.place("pr-1", **ended)
    await watch.place("pr-2", **{**ended, "pull_number": 2, "asleep": True})
    await watch.place("pr-3", **{**ended, "pull_number": 3})
    await watch.rows.job(await watch.rows.run(NEW), 1, Kind.DEPLOY, "pr-3", state=JobState.QUEUED)
    names = ["production", "halted", "pr-1", "pr-2", "pr-3", "unknown"]
    strange = ServiceState(place="other.7.unknown", service="db", name="other", running=True, restarts=0)
    odd = strange.model_copy(update={"place": "nonsense", "name": "odd"})

    answer = await watch.beat(services=[*(stood(watch, name) for name in names), strange, odd])

    assert answer.over == ["pr-1-db", "unknown-db"]


def test_a_place_is_read_as_it_is_written() -> None:
    assert services.placed(services.place("abc", 7, "a-b"), "abc") == (7, "a-b")
    for other in ("abc.7.", "abc.x.a", "abd.7.a", "abc", ""):
        assert services.placed(other, "abc") is None


def test_where_there_never_were_services_nothing_is_told_of_any() -> None:
    owner = Repository(id=7, full_name="acme/shop", default_branch="main")
    known = services.services({}, owner, "production", "i", [], {}, Settings())
    assert known is None
    row = ServiceRow(environment_id=1, name="db", worker=None)
    assert services.services({"services": {}}, owner, "production", "i", [row], {}, Settings()) is None
    told = services.services(
        settings_of(), owner, "production", "i", [], {}, Settings(registry="ghcr.io/acme")
    )
    assert isinstance(told, Services)
    assert "ghcr.io/acme" in told.reserved
    assert any("acme/shop" in pattern.replace("\\", "") for pattern in told.permitted)
