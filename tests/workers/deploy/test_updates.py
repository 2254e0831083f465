"""A service runs what its tag is by now, with the data that it had; or what it ran before, again."""

from __future__ import annotations

from typing import Any

import pytest
from docker.models.containers import Container

from tests.parts.engine import Engine
from tests.parts.registry import Registry
from tests.workers.bot import Bot
from tests.workers.deploy.storeroom import DATABASE, Storeroom
from tests.workers.deploy.test_deploy import SERVE, spec
from tests.workers.deploy.test_services import PLACE, service, standing, succeeded
from tests.workers.deploy.test_services import store as store  # a fixture
from workers.contract.messages import Failed, Fault, PinSpec, Succeeded, UpdateSpec
from workers.contract.services import Services, ServiceSpec

pytestmark = pytest.mark.usefixtures("worker")


def update(base: str, db: ServiceSpec, before: str, **more: Any) -> UpdateSpec:
    pinned = db.model_copy(update={"pinned": before})
    release = spec(base, "r1", SERVE.format("r1"), services=Services(place=PLACE, wanted=[pinned]))
    return UpdateSpec(service="db", before=before, release=release, **more)


def first_start(container: Container) -> str:
    """When the service's data was made, as it says itself; the engine may bring no output of a command."""
    for _ in range(100):
        said: Any = container.exec_run(["cat", "/data/first"]).output
        if said:
            return str(said)
    raise AssertionError("it has no data")


async def test_a_service_moves_to_what_its_tag_is_now_keeps_its_data_and_goes_back_if_it_must(
    bot: Bot, engine: Engine, base: str, name: str, store: Storeroom
) -> None:
    db = service(store.image("moved/db:1"), volumes={f"{name}.db.data": "/data"})
    await succeeded(bot, base, "r1", db)
    first, old = standing(engine, name).id, bot.news[-1].image
    data = first_start(standing(engine, name))

    same = await bot.run("u1", update(base, db, old))

    assert isinstance(same.result, Succeeded), bot.log("u1")
    assert "nothing is done" in bot.log("u1")
    assert standing(engine, name).id == first

    store.image("moved/db:1", f"echo newer; {DATABASE}")
    moved = await bot.run("u2", update(base, db, old))

    assert isinstance(moved.result, Succeeded), bot.log("u2")
    second, new = standing(engine, name), bot.news[-1].image
    assert (second.id != first, new != old) == (True, True)
    assert second.attrs["Config"]["Image"] == new
    assert first_start(second) == data
    assert f"moved/db:1 was {old}, and is {new}" in bot.log("u2")

    store.image("moved/db:1", "exit 3")
    broken = await bot.run("u3", update(base, db, new))

    assert isinstance(broken.result, Failed)
    assert broken.result.fault is Fault.USER
    assert broken.result.sentence.endswith(f". db runs {new} again")
    again = standing(engine, name)
    assert (again.id, again.status) == (second.id, "running")
    assert bot.news[-1].image == new
    await succeeded(bot, base, "r2", db.model_copy(update={"pinned": new}))
    assert standing(engine, name).id == second.id


async def test_an_image_that_is_built_elsewhere_is_asked_for_once_and_pinned_by_its_digest(
    bot: Bot, registry: Registry, store: Storeroom
) -> None:
    there = store.image("elsewhere/app:1")

    found = await bot.run("p1", PinSpec(reference=there))
    absent = await bot.run("p2", PinSpec(reference=there.removesuffix(":1") + ":2"))
    theirs = await bot.run("p3", PinSpec(reference=there, reserved=[f"{registry.address}/elsewhere"]))

    digest = registry.digest("elsewhere/app", "1")
    assert isinstance(found.result, Succeeded), found
    assert found.result.image is not None
    assert found.result.image.reference == f"{there.removesuffix(':1')}@{digest}"
    assert isinstance(absent.result, Failed)
    assert (absent.result.fault, absent.result.reason) == (Fault.OURS, "image_awaited")
    assert isinstance(theirs.result, Failed)
    assert (theirs.result.fault, theirs.result.reason) == (Fault.FINAL, "image_refused")
