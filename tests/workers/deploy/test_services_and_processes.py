"""An environment with services whose release has several processes: all are reached by their names."""

from __future__ import annotations

import pytest

from tests.parts.engine import Engine
from tests.workers.bot import Bot
from tests.workers.deploy.storeroom import Storeroom
from tests.workers.deploy.test_processes import another_image, process, web
from tests.workers.deploy.test_services import SECRET, fetched, service, standing, store, succeeded

__all__ = ["store"]
pytestmark = pytest.mark.usefixtures("worker")


async def test_all_processes_reach_a_service_which_stays_and_is_filled_in_the_environments_own_image(
    bot: Bot, engine: Engine, base: str, name: str, store: Storeroom
) -> None:
    other = another_image(engine, base, name)
    db = service(store.image("stock/db:1"), seed=["sh", "-c", "echo sown with $DATABASE_URL"])
    try:
        worker = process(other, "worker", "sleep 60")
        ended = await succeeded(bot, base, "r1", db, processes=[web(other, "r1"), worker])
        steps = ["pull", "services", "seed", "start", "check", "switch"]
        assert [step.name for step in ended.steps] == steps
        assert f"{base} is here already" in bot.log("r1"), (
            "what the seed runs in is had before anything stops"
        )
        assert bot.log("r1").count(f"{other} is here already") == 1, "an image of two processes is told once"
        before, made = standing(engine, name), engine.containers(f"io.blacktree.worker={name}")
        asking = [one for one in made if one.labels["io.blacktree.process"]]
        assert sorted(one.labels["io.blacktree.process"] for one in asking) == ["web", "worker"]
        assert [fetched(one, "db", "password") for one in asking] == [SECRET, SECRET]

        sown = db.model_copy(update={"seeded": True})
        await succeeded(bot, base, "r2", sown, processes=[web(other, "r2"), worker])
        assert standing(engine, name).id == before.id

        beat = await bot.until(lambda: next((one for one in bot.beats if one.services), None))
        assert [one.service for one in beat.services] == ["db"]
        assert {one.process for one in beat.containers} <= {"web", "worker"}, "no service is one of a release"
    finally:
        engine.remove(f"io.blacktree.worker={name}")
        engine.client.images.remove(other, force=True)
