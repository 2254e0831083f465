"""Services of an environment: there before its release, left alone by the next, reached by nobody else."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from docker.models.containers import Container

from tests.parts.engine import Engine
from tests.parts.registry import Registry
from tests.workers.bot import Bot
from tests.workers.conftest import MADE
from tests.workers.deploy.storeroom import DATABASE, Storeroom
from tests.workers.deploy.test_deploy import SERVE, in_volume, leftovers, spec
from workers.contract.messages import Failed, Fault, Finished, Limits, StopSpec, Succeeded
from workers.contract.services import Services, ServiceSpec
from workers.deploy.services import settings
from workers.engine.docker import DockerEngine
from workers.upkeep.disk import doomed, is_ours

pytestmark = pytest.mark.usefixtures("worker")
PLACE = "test.7.production"
SECRET = "correct-horse-battery"


@pytest.fixture
def store(engine: Engine, registry: Registry, base: str, bot: Bot, name: str) -> Storeroom:
    made = Storeroom(engine, registry, base, {MADE: name})
    bot.credentials = made.credentials({"DATABASE_URL": f"db://{SECRET}@db"}, db={"PASSWORD": SECRET})
    return made


def service(image: str, **more: Any) -> ServiceSpec:
    fields = {
        "name": "db", "image": image, "generated": ["PASSWORD"], "timeout": 90, "grace": 1,
        "limits": Limits(memory=64 * 2**20, cpus=0.5, pids=50),
    }  # fmt: skip
    return ServiceSpec.model_validate({**fields, **more})


async def deployed(
    bot: Bot, base: str, release: str, *wanted: ServiceSpec, script: str = "", **more: Any
) -> Finished:
    stands = {key: more.pop(key) for key in ("stay", "needed", "reserved", "permitted") if key in more}
    told = Services(place=PLACE, wanted=list(wanted), **stands)
    return await bot.run(release, spec(base, release, script or SERVE.format(release), services=told, **more))


async def succeeded(bot: Bot, base: str, release: str, *wanted: ServiceSpec, **more: Any) -> Finished:
    ended = await deployed(bot, base, release, *wanted, **more)
    assert isinstance(ended.result, Succeeded), bot.log(release)
    return ended


async def failed(bot: Bot, base: str, release: str, *wanted: ServiceSpec, **more: Any) -> Failed:
    ended = await deployed(bot, base, release, *wanted, **more)
    assert isinstance(ended.result, Failed), bot.log(release)
    assert ended.result.fault is Fault.USER, ended.result
    return ended.result


def standing(engine: Engine, name: str, which: str = "db") -> Container:
    """The one container of a service."""
    [found] = [
        one
        for one in engine.containers(f"io.blacktree.worker={name}")
        if one.labels["io.blacktree.service"] == which
    ]
    return found


def fetched(container: Container, host: str, path: str) -> str:
    script = f"printf 'GET /{path} HTTP/1.0\\r\\n\\r\\n' | nc -w 60 {host} 6000 2>&1"
    said: Any = container.exec_run(["sh", "-c", script]).output
    return str((said.decode().splitlines() or [""])[-1])


def released(engine: Engine, name: str, release: str) -> Container:
    [found] = [
        one
        for one in engine.containers(f"io.blacktree.worker={name}")
        if one.labels["io.blacktree.release"] == release
    ]
    return found


@pytest.mark.usefixtures("last_words")
async def test_a_service_is_there_before_the_release_command_and_reached_by_its_environment_alone(
    bot: Bot, engine: Engine, base: str, name: str, store: Storeroom
) -> None:
    db = service(store.image("stock/db:1"), volumes={f"{name}.db.data": "/data"})
    ask = "printf 'GET /password HTTP/1.0\\r\\n\\r\\n' | nc -w 60 db 6000 | tail -1; echo $DATABASE_URL"

    ended = await succeeded(bot, base, "r1", db, release_command=["sh", "-c", ask])

    assert [step.name for step in ended.steps] == ["pull", "services", "release", "start", "check", "switch"]
    container = standing(engine, name)
    assert fetched(released(engine, name, "r1"), "db", "password") == SECRET
    assert not container.attrs["HostConfig"]["PortBindings"]
    assert (
        container.attrs["HostConfig"]["Memory"],
        container.attrs["HostConfig"]["RestartPolicy"]["Name"],
    ) == (
        64 * 2**20,
        "always",
    )
    [news] = bot.news
    assert (news.service, news.fresh, news.seeded) == ("db", True, False)
    assert news.image.startswith(f"{db.image.removesuffix(':1')}@sha256:")
    assert container.attrs["Config"]["Image"] == news.image
    assert "the password is ***" in bot.log("r1")
    assert SECRET not in bot.log("r1")

    await succeeded(bot, base, "other", environment="other")
    assert fetched(released(engine, name, "other"), "db", "password") == "nc: bad address 'db'"


async def test_a_redeploy_leaves_a_running_service_alone_with_its_data(
    bot: Bot, engine: Engine, base: str, name: str, store: Storeroom
) -> None:
    db = service(store.image("stock/db:1"))
    await succeeded(bot, base, "r1", db)
    before = standing(engine, name)
    first = fetched(released(engine, name, "r1"), "db", "first")
    pinned = db.model_copy(update={"pinned": bot.news[0].image, "seeded": True, "timeout": 20})
    store.image("stock/db:1", "exit 1")  # the tag moves; what runs does not

    await succeeded(bot, base, "r2", pinned)

    after = standing(engine, name)
    assert (after.id, after.attrs["State"]["StartedAt"]) == (before.id, before.attrs["State"]["StartedAt"])
    assert fetched(released(engine, name, "r2"), "db", "first") == first
    assert "db: runs, and is left alone" in bot.log("r2")
    assert "the password is" not in bot.log("r2"), "its log so far is no part of the deploy's"
    assert len(bot.news) == 1


async def test_a_service_changes_where_its_own_settings_did_and_keeps_its_volume(
    bot: Bot, engine: Engine, base: str, name: str, store: Storeroom
) -> None:
    db = service(store.image("stock/db:1"), volumes={f"{name}.db.data": "/data"})
    cache = service(store.image("stock/cache:1"), name="cache", generated=[])
    await succeeded(bot, base, "r1", db, cache)
    before, kept = standing(engine, name), standing(engine, name, "cache")
    first = fetched(released(engine, name, "r1"), "db", "first")

    await succeeded(bot, base, "r2", db.model_copy(update={"env": {"MODE": "fast"}}), cache)

    assert standing(engine, name).id != before.id
    assert standing(engine, name, "cache").id == kept.id
    assert "MODE=fast" in standing(engine, name).attrs["Config"]["Env"]
    assert fetched(released(engine, name, "r2"), "db", "first") == first
    assert bot.news[-1].fresh is False


async def test_an_image_that_came_for_a_service_is_the_janitors_once_no_container_has_it(
    bot: Bot, base: str, name: str, store: Storeroom, docker_engine: DockerEngine, engine: Engine
) -> None:
    first, second = (service(store.image(f"stock/{name}:{tag}"), grace=0) for tag in (1, 2))
    await succeeded(bot, base, "r1", first)
    await succeeded(bot, base, "r2", second)

    mine = [
        one for one in await docker_engine.images() if name in str(one.references) and is_ours(one, "test")
    ]
    (gone,) = doomed(mine, "test", [], 0, datetime.max.replace(tzinfo=UTC))

    assert [one.busy for one in mine if one != gone] == [True]
    assert f"stock/{name}:1" in str(gone.references)
    await docker_engine.note_use(gone)
    (noted,) = [one for one in await docker_engine.images() if one.id == gone.id]
    assert noted.used > gone.used
    assert is_ours(noted, "test")
    await docker_engine.remove_image(gone.id)
    assert await docker_engine.image(gone.id) is None
    assert await docker_engine.image(second.image) is not None
    standing(engine, name).remove(force=True)
    await docker_engine.remove_image(next(one.id for one in mine if one != gone))


async def test_a_changed_service_that_is_not_healthy_gives_its_place_back(
    bot: Bot, engine: Engine, base: str, name: str, store: Storeroom
) -> None:
    db = service(store.image("stock/db:1"), volumes={f"{name}.db.data": "/data"})
    await succeeded(bot, base, "r1", db)
    before = standing(engine, name)

    result = await failed(bot, base, "r2", db.model_copy(update={"command": ["sh", "-c", "echo no; exit 9"]}))

    assert (result.reason, result.step) == ("service_crashed", "services")
    assert "Service db ended with exit code 9" in result.sentence
    after = standing(engine, name)
    assert (after.id, after.status) == (before.id, "running")
    assert after.attrs["HostConfig"]["RestartPolicy"]["Name"] == "always"
    assert released(engine, name, "r1").status == "running"
    assert len(fetched(released(engine, name, "r1"), "db", "first")) > 10


async def test_an_image_that_was_built_elsewhere_is_the_janitors_once_no_container_has_it(
    bot: Bot, name: str, store: Storeroom, registry: Registry, docker_engine: DockerEngine
) -> None:
    path = f"apps/{name}"
    for release in ("r1", "r2"):
        store.image(f"{path}:{release}", f": {release}")
        image = f"{registry.address}/{path}@{registry.digest(path, release)}"
        ended = await bot.run(release, spec(image, release, SERVE.format(release), pull=True))
        assert isinstance(ended.result, Succeeded), bot.log(release)
    bot.retired = ["r1"]
    await bot.until(lambda: [state.release for state in bot.beats[-1].containers] == ["r2"])

    mine = [one for one in await docker_engine.images() if path in str(one.digests) and is_ours(one, "test")]
    gone = doomed(mine, "test", [], 0, datetime.max.replace(tzinfo=UTC))

    assert len(mine) == 2
    assert [f"@{registry.digest(path, 'r1')}" in str(one.digests) for one in gone] == [True]


@pytest.mark.parametrize(
    ("more", "reason", "words"),
    [
        ({"command": ["sh", "-c", "sleep 60"], "timeout": 1}, "service_unhealthy", "does not listen on 6000"),
        ({"command": ["/nothing"]}, "service_crashed", "cannot be run"),
        (
            {"healthcheck": {"command": ["sh", "-c", "echo not yet; exit 1"], "interval": 0.2}, "timeout": 2},
            "service_unhealthy",
            "its health check says",
        ),
    ],
)
async def test_a_first_start_that_fails_leaves_nothing(
    bot: Bot,
    engine: Engine,
    base: str,
    name: str,
    store: Storeroom,
    more: dict[str, Any],
    reason: str,
    words: str,
) -> None:
    db = service(store.image("stock/db:1"), volumes={f"{name}.db.data": "/data"}, **more)

    result = await failed(bot, base, "r1", db)

    assert (result.reason, words in result.sentence) == (reason, True), result.sentence
    assert not leftovers(engine, name)


async def test_a_health_check_of_the_file_decides(
    bot: Bot, engine: Engine, base: str, name: str, store: Storeroom
) -> None:
    check = {"command": ["test", "-e", "/data/first"], "interval": 0.2}
    await succeeded(bot, base, "r1", service(store.image("stock/db:1"), healthcheck=check))
    assert standing(engine, name).attrs["State"]["Health"]["Status"] == "healthy"


def halted(engine: Engine, container: Container) -> Container:
    """What an attempt that was killed while it changed a service has left: the one before, stopped."""
    labels = {**container.labels, "io.blacktree.settings": "as it was before"}
    network = next(iter(container.attrs["NetworkSettings"]["Networks"]))
    made = engine.client.containers.create(
        container.attrs["Config"]["Image"],
        "httpd -f -p 6000 -h /",
        name=f"{container.name}-before",
        labels=labels,
        network=network,
    )
    made.start()
    made.stop(timeout=0)
    return made


async def test_what_an_attempt_left_that_was_killed_between_two_containers_is_put_right(
    bot: Bot, engine: Engine, base: str, name: str, store: Storeroom
) -> None:
    db = service(store.image("stock/db:1"))
    await succeeded(bot, base, "r1", db)
    container = standing(engine, name)
    halted(engine, container)

    await succeeded(bot, base, "r2", db)

    assert standing(engine, name).id == container.id


async def test_where_the_new_container_of_a_killed_attempt_is_not_healthy_the_one_before_is_back(
    bot: Bot, engine: Engine, base: str, name: str, store: Storeroom
) -> None:
    ok = {"command": ["test", "!", "-e", "/broken"], "interval": 0.2}
    db = service(store.image("stock/db:1"), healthcheck=ok)
    await succeeded(bot, base, "r1", db)
    container = standing(engine, name)
    before = halted(engine, container)
    container.exec_run(["touch", "/broken"])
    await unhealthy(container)

    result = await failed(bot, base, "r2", db.model_copy(update={"timeout": 4.0}))

    assert result.reason == "service_unhealthy"
    assert "serves again" in bot.log("r2")
    assert (standing(engine, name).id, standing(engine, name).status) == (before.id, "running")


async def unhealthy(container: Container) -> None:
    """Returns once the engine says so."""
    async with asyncio.timeout(90):
        while container.attrs["State"]["Health"]["Status"] != "unhealthy":
            await asyncio.sleep(0.1)
            container.reload()


async def test_a_rollback_leaves_services_as_they_are_and_removes_none(
    bot: Bot, engine: Engine, base: str, name: str, store: Storeroom
) -> None:
    db = service(store.image("stock/db:1"))
    cache = service(store.image("stock/cache:1"), name="cache", generated=[])
    await succeeded(bot, base, "r1", db, cache)
    before = [standing(engine, name, which).id for which in ("db", "cache")]

    await succeeded(bot, base, "r0", db.model_copy(update={"env": {"MODE": "old"}}), stay=True)

    assert [standing(engine, name, which).id for which in ("db", "cache")] == before


async def test_a_service_that_no_file_names_goes_once_no_release_that_serves_has_it(
    bot: Bot, engine: Engine, base: str, name: str, store: Storeroom
) -> None:
    db = service(store.image("stock/db:1"), volumes={f"{name}.db.data": "/data"})
    await succeeded(bot, base, "r1", db)
    await succeeded(bot, base, "r2", needed=["db"])
    assert standing(engine, name).status == "running"

    await succeeded(bot, base, "r3", needed=["cache"])

    assert "db: no file names it any more" in bot.log("r3")
    assert {
        one.labels["io.blacktree.service"] for one in engine.containers(f"io.blacktree.worker={name}")
    } == {""}
    assert len(in_volume(engine, base, f"{name}.db.data", ["cat", "/data/first"])) > 10


async def test_a_seed_runs_once_after_the_release_command_and_again_where_the_data_is_gone(
    bot: Bot, engine: Engine, base: str, name: str, store: Storeroom
) -> None:
    seed = ["sh", "-c", "echo sown with $DATABASE_URL"]
    db = service(store.image("stock/db:1"), seed=seed)

    ended = await succeeded(bot, base, "r1", db, release_command=["true"])

    assert [step.name for step in ended.steps][2:5] == ["release", "seed", "start"]
    assert "sown with ***" in bot.log("r1")
    assert [(news.fresh, news.seeded) for news in bot.news] == [(True, False), (False, True)]
    sown = db.model_copy(update={"seeded": True})
    await succeeded(bot, base, "r2", sown)
    assert "sown" not in bot.log("r2")
    await succeeded(bot, base, "r3", sown.model_copy(update={"env": {"A": "b"}}))
    assert "sown" in bot.log("r3"), "it has no volume, so the new one is empty"

    result = await failed(
        bot, base, "r4", db.model_copy(update={"env": {"A": "b"}, "seed": ["sh", "-c", "exit 3"]})
    )
    assert result.sentence.startswith("The seed command of db ended with exit code 3")
    assert standing(engine, name).status == "running"


async def test_what_sleeps_keeps_its_services_and_what_ends_takes_them_with_their_volumes(
    bot: Bot, engine: Engine, base: str, name: str, store: Storeroom
) -> None:
    db = service(store.image("stock/db:1"), volumes={f"{name}.db.data": "/data"})
    cache = service(store.image("stock/cache:1"), name="cache", generated=[])
    await succeeded(bot, base, "r1", db, cache)
    first = fetched(released(engine, name, "r1"), "cache", "first")
    stop = StopSpec(instance="test", repository="acme/shop", environment="production", place=PLACE)

    assert isinstance((await bot.run("sleep", stop)).result, Succeeded)

    assert [standing(engine, name, which).status for which in ("db", "cache")] == ["exited", "exited"]
    await succeeded(bot, base, "r2", db, cache, stay=True)
    assert fetched(released(engine, name, "r2"), "cache", "first") == first

    assert isinstance((await bot.run("end", stop.model_copy(update={"volumes": True}))).result, Succeeded)

    assert not leftovers(engine, name)


async def test_a_release_that_needs_more_room_still_reaches_its_services(
    bot: Bot, engine: Engine, base: str, name: str, store: Storeroom
) -> None:
    db = service(store.image("stock/db:1"))
    await succeeded(bot, base, "r1", db)
    before = standing(engine, name)
    reach = ["sh", "-c", "printf 'GET /first HTTP/1.0\\r\\n\\r\\n' | nc -w 60 db 6000 | grep -q 200"]

    few = Services(place=PLACE, wanted=[db])
    told = spec(base, "r2", SERVE.format("r2"), services=few, replicas=15, release_command=reach)
    told = told.model_copy(update={"limits": Limits(memory=6 * 2**20, cpus=0.5, pids=20)})
    # As many as that would only take time: that they would fit is the claim.
    ended = await bot.run(
        "r2", told.model_copy(update={"release_command": [*reach[:2], f"{reach[2]} && exit 77"]})
    )

    assert isinstance(ended.result, Failed)
    assert "exit code 77" in ended.result.sentence, ended.result
    assert standing(engine, name).id == before.id
    assert len(standing(engine, name).attrs["NetworkSettings"]["Networks"]) == 2


async def test_images_of_others_and_images_that_claim_what_is_ours_are_no_services(
    bot: Bot, engine: Engine, base: str, name: str, store: Storeroom
) -> None:
    image = store.image("stock/db:1")
    prefix = image.partition("/stock")[0]

    refused = await failed(bot, base, "r1", service(image), reserved=[f"{prefix}/stock"])
    assert refused.reason == "service_image_refused"
    claims = store.image("stock/evil:1", DATABASE, "LABEL io.blacktree.place=test.8.production")
    refused = await failed(bot, base, "r2", service(claims))
    assert refused.reason == "reserved_label"
    assert not leftovers(engine, name)

    own = [f"{prefix}/stock/db"]
    await succeeded(bot, base, "r3", service(image), reserved=[f"{prefix}/stock"], permitted=own)
    assert standing(engine, name).status == "running"


def process(name: str) -> dict[str, Any]:
    """As a grant has one that listens nowhere."""
    limits, probe = {"memory": 2**26, "cpus": 1, "pids": 9}, {"kind": "up", "timeout": 5, "interval": 1}
    told: dict[str, Any] = {"image": "i", "port": None, "served": False, "command": ["sleep", "9"], "env": {}}
    return {"name": name, "limits": limits, "probe": probe, **told}


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"target": "swarm"}, "services_unreachable"),
        ({"privileges": {"host_network": True}}, "services_unreachable"),
        ({"processes": [process("db")]}, "service_name_taken"),
    ],
)
async def test_what_could_not_reach_its_services_is_told_before_anything_starts(
    bot: Bot, engine: Engine, base: str, name: str, more: dict[str, Any], reason: str
) -> None:
    result = await failed(bot, base, "r1", service("postgres:17"), **more)
    assert result.reason == reason
    assert not leftovers(engine, name)


async def test_an_image_that_only_the_engine_has_is_not_taken(
    bot: Bot, engine: Engine, base: str, name: str, store: Storeroom
) -> None:
    result = await deployed(bot, base, "r1", service(base))
    assert isinstance(result.result, Failed)
    assert not leftovers(engine, name)
    assert store


async def test_heartbeats_tell_of_services_and_what_belongs_to_no_environment_is_removed(
    bot: Bot, engine: Engine, base: str, name: str, store: Storeroom
) -> None:
    await succeeded(bot, base, "r1", service(store.image("stock/db:1")))
    container = standing(engine, name)
    container.exec_run(["killall", "httpd"])

    beat = await bot.until(lambda: next((b for b in bot.beats if any(s.restarts for s in b.services)), None))

    [told] = beat.services
    assert (told.place, told.service, told.name) == (PLACE, "db", container.name)
    assert "the password is ***" in told.last_lines
    assert [one.release for one in beat.containers] == ["r1"]
    bot.over = [str(container.name)]
    await bot.nudge(name)
    await bot.until(lambda: not bot.beats[-1].services)
    assert [one.release for one in bot.beats[-1].containers] == ["r1"]


async def test_an_exposed_service_is_published_and_the_bot_is_told_where_at_each_switch(
    bot: Bot, engine: Engine, base: str, name: str, store: Storeroom
) -> None:
    db = service(store.image("stock/db:1"), port=6000)
    await succeeded(bot, base, "r1", db)
    [published] = standing(engine, name).attrs["HostConfig"]["PortBindings"]["6000/tcp"]
    there = f"127.0.0.1:{published['HostPort']}"
    assert bot.readies[-1].further == {"db": [there]}
    await bot.until(lambda: bot.beats and [one.address for one in bot.beats[-1].services] == [there])

    await succeeded(bot, base, "r2", db)
    assert bot.readies[-1].further == {"db": [there]}, "it was left alone, and is told again"


async def test_the_port_of_an_exposed_service_that_is_stopped_is_nobody_elses_meanwhile(
    bot: Bot,
    engine: Engine,
    base: str,
    name: str,
    store: Storeroom,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    db = service(store.image("stock/db:1"), port=6000)
    await succeeded(bot, base, "r1", db)
    [published] = standing(engine, name).attrs["HostConfig"]["PortBindings"]["6000/tcp"]
    asleep = StopSpec(instance="test", repository="acme/shop", environment="production", place=PLACE)
    await bot.run("asleep", asleep)
    wanted, choice = int(published["HostPort"]), random.choice

    def chosen(among: Sequence[Any]) -> Any:
        return wanted if wanted in among else choice(among)

    with monkeypatch.context() as all_want_it:
        all_want_it.setattr(random, "choice", chosen)
        other = await bot.run("r2", spec(base, "r2", SERVE.format("r2"), environment="other"))
    assert isinstance(other.result, Succeeded), bot.log("r2")

    await succeeded(bot, base, "r3", db, stay=True)

    assert standing(engine, name).status == "running"
    assert bot.readies[-1].further == {"db": [f"127.0.0.1:{wanted}"]}


def test_settings_are_told_by_what_is_said_so_that_a_new_key_changes_no_service() -> None:
    plain = service("postgres:17")
    assert settings(plain) == settings(
        plain.model_copy(update={"pinned": "x", "seed": ["a"], "seeded": True})
    )
    # Whoever changes this restarts everybody's databases.
    assert settings(plain) == "85c7ad1217a2a99cfb448044fae1bc83"
    assert settings(plain) != settings(plain.model_copy(update={"image": "postgres:18"}))
