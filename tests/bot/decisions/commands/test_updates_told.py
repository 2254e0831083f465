"""`/update`, its twin in the API and its schedule: which service, where, who may, and what is said of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import select

from bot.decisions.decision import Refused
from bot.decisions.updates import place_of
from bot.store.tables import Environment, Job, JobState, Lock, Release, Run, ServiceRow
from bot.sweeps import updates
from config.settings import Settings
from tests.bot.decisions.commands.test_promotions_told import live
from tests.bot.decisions.commands.test_tasks_told import granted, lives_at
from tests.bot.talk import Talk
from workers.contract.messages import (
    Failed,
    Fault,
    Finished,
    Kind,
    Noted,
    ServiceNews,
    Succeeded,
    UpdateSpec,
    now,
)

FILE = """
images: {app: , search: {context: search}}
environments:
  production:
    image: app
    services:
      db: {image: "postgres:17", update: "0 4 * * 0"}
      fixed: {image: "redis@sha256:%s"}
      search: search
  preview: {image: app}
  guarded: {image: app, branches: [guarded], deployers: [grace], services: {cache: "redis:8"}}
""" % ("c" * 64)
OLD, NEW = (f"docker.io/library/postgres@sha256:{letter * 64}" for letter in "ab")
OWN = "localhost:5000/acme/shop/search@sha256:" + "d" * 64


async def main_is_live(talk: Talk) -> int:
    """production runs main, with its services, on a worker; its id."""
    await talk.push({"a": "0", "search/Dockerfile": "FROM scratch\n"})
    await talk.until_run("push")
    await live(talk, "production", (await talk.runs())[-1].sha)
    await lives_at(talk, "w")
    async with talk.store.transaction() as session:
        place = (await session.exec(select(Environment).where(Environment.name == "production"))).one()
        for release in (await session.exec(select(Release))).all():
            release.images = {"app": release.image, "search": OWN}
        for name, image in (("db", "postgres:17"), ("fixed", "redis"), ("search", "search")):
            row = ServiceRow(environment_id=place.id or 0, name=name, image=image, pinned=OLD, worker="w")
            session.add(row)
    return place.id or 0


async def offered(talk: Talk) -> Job:
    """The update, once its pool has it."""

    async def there() -> bool:
        found = await talk._all(select(Job).where(Job.kind == Kind.UPDATE))
        return bool(found) and found[-1].offered_at is not None

    await talk._until(there)
    found: list[Job] = await talk._all(select(Job).where(Job.kind == Kind.UPDATE))
    return found[-1]


async def ends(talk: Talk, job: str, attempt: int, result: Any) -> None:
    await talk.queue.tell(Finished(job=job, attempt=attempt, at=now(), result=result, steps=[]))


async def test_a_service_gets_what_its_tag_is_now_and_the_answer_says_what_changed(talk: Talk) -> None:
    await main_is_live(talk)
    number, _ = await talk.open_pull({"a": "1"})

    await talk.accepted(number, "/update db")
    job = await offered(talk)
    grant = await granted(talk.queue, job.id)
    spec = grant.spec
    assert isinstance(spec, UpdateSpec)
    assert (spec.service, spec.before, spec.image) == ("db", OLD, "")
    assert spec.release.services is not None
    assert {one.name for one in spec.release.services.wanted} == {"db", "fixed", "search"}
    news = ServiceNews(job=job.id, attempt=grant.attempt, service="db", image=NEW)
    assert isinstance(await talk.queue.request(news, 60), Noted)
    await ends(talk, job.id, grant.attempt, Succeeded())

    told = f"db runs postgres:17 as it is now: sha256:{'a' * 12} → sha256:{'b' * 12}"

    async def said() -> bool:
        return (await talk.answer()) == f"updated db: {told}"

    await talk._until(said)
    [row] = await talk._all(select(ServiceRow).where(ServiceRow.name == "db"))
    assert (row.pinned, row.image) == (NEW, "postgres:17")


async def test_a_service_that_goes_back_is_told_with_why(talk: Talk) -> None:
    await main_is_live(talk)
    number, _ = await talk.open_pull({"a": "1"})
    await talk.accepted(number, "/update production db")
    job = await offered(talk)
    grant = await granted(talk.queue, job.id)

    sentence = f"Service db was not healthy. db runs {OLD} again"
    await ends(
        talk,
        job.id,
        grant.attempt,
        Failed(fault=Fault.USER, reason="service_unhealthy", sentence=sentence, step="services"),
    )

    async def said() -> bool:
        return (await talk.answer()) == f"db failed: services: {sentence}"

    await talk._until(said)


async def test_one_of_the_repositorys_images_gets_the_digest_of_what_is_live(talk: Talk) -> None:
    place = await main_is_live(talk)

    answer = await talk.api.post(f"/environments/{place}/update", json={"service": "search", "actor": "ada"})

    assert (answer.status_code, answer.json()["message"]) == (202, "updates search of production")
    spec = (await granted(talk.queue, (await offered(talk)).id)).spec
    assert isinstance(spec, UpdateSpec)
    assert (spec.image, spec.before) == (OWN, OLD)


async def test_what_cannot_be_updated_is_refused_with_what_to_do(talk: Talk) -> None:
    place = await main_is_live(talk)
    number, _ = await talk.open_pull({"a": "1"})

    assert "there is no service searhc. Did you mean search?" in await talk.refused(number, "/update searhc")
    assert "has its digest in the file" in await talk.refused(number, "/update fixed")
    assert "say it there" in await talk.refused(number, "/update pr-99 db")
    answer = await talk.api.post(f"/environments/{place}/update", json={"service": "dbb", "actor": "ada"})
    assert answer.status_code == 422
    assert "production has no service dbb" in answer.text


async def test_an_update_whose_time_has_come_is_made_once(talk: Talk) -> None:
    await main_is_live(talk)
    async with talk.store.transaction() as session:
        for row in (await session.exec(select(ServiceRow).where(ServiceRow.name == "db"))).all():
            row.update_cron, row.update_since = "* * * * *", now() - timedelta(hours=1)
        for job in (await session.exec(select(Job))).all():  # nobody does what the push asks for
            job.state = JobState.SUCCEEDED

    await updates.sweep(talk.store, Settings())
    await updates.sweep(talk.store, Settings())

    found = await talk._all(select(Job).where(Job.kind == Kind.UPDATE))
    assert [job.name for job in found] == ["db"]
    [run] = await talk._all(select(Run).where(Run.id == found[0].run_id))
    assert run.cause == "schedule"


@pytest.mark.parametrize(("ends", "made"), [(timedelta(hours=1), 0), (timedelta(hours=-1), 1), (None, 0)])
async def test_an_update_that_is_due_waits_for_no_lock_that_has_ended(
    talk: Talk, ends: timedelta | None, made: int
) -> None:
    await main_is_live(talk)
    async with talk.store.transaction() as session:
        for row in (await session.exec(select(ServiceRow).where(ServiceRow.name == "db"))).all():
            row.update_cron, row.update_since = "* * * * *", now() - timedelta(hours=1)
        for job in (await session.exec(select(Job))).all():  # nobody does what the push asks for
            job.state = JobState.SUCCEEDED
        owner = talk.repository.id
        until = None if ends is None else now() + ends
        session.add(Lock(repository_id=owner, environment="", owner="grace", expires_at=until))

    await updates.sweep(talk.store, Settings())

    assert len(await talk._all(select(Job).where(Job.kind == Kind.UPDATE))) == made


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ({"pr-7": ["db"], "production": ["db"]}, "pr-7"),
        ({"pr-8": ["db"], "production": ["db"]}, "production"),
        ({"staging": ["db"], "production": ["db"]}, "several environments have a service db"),
        ({"production": ["cache"]}, "there is no service db."),
        ({}, "there is no service db. Nothing that is live has any."),
    ],
)
def test_where_a_service_is_whose_environment_nobody_says(
    places: dict[str, list[str]], expected: str
) -> None:
    told = {
        place: {"services": {name: {"image": "x:1"} for name in names}} for place, names in places.items()
    }

    def found() -> str:
        try:
            return place_of(told, "db", "pr-7")
        except Refused as refused:
            return str(refused)

    assert found().startswith(expected)
