"""Pages about the instance: what is set and where, what comes next, secrets, workers and deliveries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlmodel import col, select

from bot.store.database import Store
from bot.store.tables import AuditRow, Delivery, DeliveryState, Secret, WorkerRow
from bot.sweeps import drains
from bot.web.pages.instance import SET, steps, told
from config.settings import Settings
from config.sources import load
from tests.bot.web.pages import town
from tests.bot.web.pages.conftest import Scene, scene_of
from tests.bot.web.pages.town import Town
from workers.contract.memory import MemoryQueue
from workers.contract.messages import Drain

AT = "/repositories/acme/shop/secrets"


@pytest.fixture
async def here(scene: Scene) -> Town:
    return await town.made(scene.store, scene.logs)


async def changes(store: Store) -> list[str]:
    async with store.reading() as session:
        return [row.what for row in (await session.exec(select(AuditRow).order_by(col(AuditRow.id)))).all()]


async def test_a_secret_goes_in_and_is_told_to_nobody(scene: Scene, here: Town, capfd: Any) -> None:  # noqa: ARG001
    await scene.sign_in()
    csrf, value = await scene.csrf(), "hunter2\r\nand more"

    set_ = await scene.post(AT, csrf=csrf, name="DATABASE_URL", scope="production", value=value)

    assert (set_.status_code, set_.headers["location"]) == (303, AT)
    page = (await scene.get(AT)).text
    assert "DATABASE_URL" in page
    assert "by administrator" in page
    wrong = await scene.post(AT, csrf=csrf, name="NO-NAME", value=value, form="Set")
    assert (wrong.status_code, 'role="alert"' in wrong.text) == (400, True)
    for text in (page, wrong.text, set_.headers["location"], capfd.readouterr().out):
        assert "hunter2" not in text
    assert await changes(scene.store) == ["signed in", "set the secret DATABASE_URL of production"]
    async with scene.store.reading() as session:
        [row] = (await session.exec(select(Secret))).all()
    assert "hunter2" not in row.value

    gone = await scene.post(f"{AT}/remove", csrf=csrf, name="DATABASE_URL", scope="production")
    again = await scene.post(
        f"{AT}/remove", csrf=csrf, name="DATABASE_URL", scope="production", form="Remove DATABASE_URL"
    )
    assert (gone.status_code, again.status_code) == (303, 404)
    assert "No secret yet" in (await scene.get(AT)).text


def test_settings_say_where_they_are_from_and_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text('host = "0.0.0.0"\n')
    given = {
        "BLACKTREE_PORT": "9000",
        "BLACKTREE_DATABASE_URL": "postgresql://bt:hunter2@hunter2@db/bt?sslpassword=hunter2",
    }
    secret = {"BLACKTREE_GITHUB_WEBHOOK_SECRET": "hunter2", "BLACKTREE_SECRET_KEY": "k" * 44}
    try:
        settings = load({**given, **secret}, file)
    except Exception:
        settings = load({**given, "BLACKTREE_GITHUB_WEBHOOK_SECRET": "hunter2"}, file)
    rows = {row.name: row for row in told(settings)}

    assert (rows["BLACKTREE_PORT"].value, rows["BLACKTREE_PORT"].source) == ("9000", "BLACKTREE_PORT")
    assert rows["BLACKTREE_HOST"].source == f"{file}: host"
    assert rows["BLACKTREE_REGISTRY"].source == "the default"
    assert rows["BLACKTREE_GITHUB_WEBHOOK_SECRET"].value == SET
    assert rows["BLACKTREE_DATABASE_URL"].value == "postgresql://bt:…@db/bt?sslpassword=…"
    assert "hunter2" not in repr(rows)
    assert rows.keys() == {f"BLACKTREE_{name.upper()}" for name in Settings.model_fields}


def test_what_setup_keeps_is_from_there() -> None:
    settings = Settings().model_copy(update={"github_webhook_secret": SecretStr("x")})

    [row] = [row for row in told(settings) if row.name == "BLACKTREE_GITHUB_WEBHOOK_SECRET"]

    assert (row.value, row.source) == (SET, "kept by /setup")


@pytest.mark.parametrize(
    ("there", "next_"),
    [
        ((False, False, False, False, False), "GitHub reaches it"),
        ((False, True, True, False, False), "A worker is there"),
        ((True, True, True, True, False), "Something is live"),
        ((True, True, True, True, True), "People sign in with GitHub"),
    ],
)
def test_the_next_step_is_the_first_that_is_not_done(there: tuple[bool, ...], next_: str) -> None:
    assert next(step.title for step in steps(Settings(), *there) if not step.done) == next_


async def test_first_steps_are_done_as_things_happen(scene: Scene) -> None:
    await scene.sign_in()
    empty = (await scene.get("/start")).text
    await town.made(scene.store, scene.logs)
    whole = (await scene.get("/start")).text

    assert "blacktree workers add oak-1" in empty
    assert "blacktree workers add oak-1" not in whole


async def test_a_worker_is_told_to_drain_until_it_does_and_its_next_life_is_not(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, queue = Settings(data_dir=tmp_path, queue_url="amqp://x"), MemoryQueue()
    told_: list[tuple[str, Any]] = []
    monkeypatch.setattr(queue, "order", lambda name, order: _noted(told_, name, order))
    async with scene_of(store, tmp_path, settings) as scene:
        await town.made(store, scene.logs)
        await scene.sign_in()
        assert "/workers/oak-1/drain" in (await scene.get("/workers")).text

        done = await scene.post("/workers/oak-1/drain", csrf=await scene.csrf(), why="its disk")
        await drains.sweep(store, queue)
        await drains.sweep(store, queue)

        assert done.status_code == 303
        assert told_ == [("oak-1", Drain()), ("oak-1", Drain())]
        assert "It was told to drain" in (await scene.get("/workers")).text
        assert (await changes(store))[-1] == "let worker oak-1 drain"
        async with store.transaction() as session:
            (await session.get_one(WorkerRow, "oak-1")).instance = "born again"
        await drains.sweep(store, queue)
        assert len(told_) == 2
        missing = await scene.post("/workers/none/drain", csrf=await scene.csrf())
        assert missing.status_code == 404


async def _noted(told_: list[tuple[str, Any]], name: str, order: Any) -> bool:
    told_.append((name, order))
    return True


async def test_a_delivery_is_decided_again_by_its_page(scene: Scene, here: Town) -> None:
    await scene.sign_in()
    at = f"/deliveries/{here.delivery}"
    assert f"{at}/replay" in (await scene.get(at)).text

    done = await scene.post(f"{at}/replay", csrf=await scene.csrf())

    assert (done.status_code, done.headers["location"]) == (303, at)
    async with scene.store.reading() as session:
        row = await session.get_one(Delivery, here.delivery)
    assert (row.state, row.attempts) == (DeliveryState.RECEIVED, 0)
