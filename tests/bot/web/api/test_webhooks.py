"""Webhooks and channels through the API and the command line: made, tested, sent again, deleted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, update
from sqlmodel import select
from typer.testing import CliRunner

from bot.cli import app
from bot.outbox.sending import Outbox
from bot.secrets.repositories import Secrets
from bot.secrets.vault import Vault
from bot.store.database import Store
from bot.store.tables import Answered, AuditRow, Outgoing, Repository, Webhook
from bot.web.api.webhooks import MOST_WEBHOOKS, WebhookBody, misfit
from config.settings import Settings
from tests.bot.outbox.receiver import Receiver
from tests.bot.web.api.conftest import Asked, asked_of

Typed = Callable[..., Coroutine[Any, Any, Any]]
SHOP = "/repositories/acme/shop"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver.listening() as made:
        yield made


@asynccontextmanager
async def telling(store: Store, folder: Path, **more: Any) -> AsyncIterator[Asked]:
    """A bot's API, and its outbox."""
    settings = Settings(data_dir=folder, **more)
    outbox = Outbox(store, Secrets(store, Vault(store, settings)), settings)
    async with asked_of(store, settings) as asked:
        await _nobody_is_told(store)
        working = asyncio.create_task(outbox.run())
        try:
            yield asked
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)


async def _nobody_is_told(store: Store) -> None:
    """As at the start, whatever the town has."""
    async with store.transaction() as session:
        for row in (Outgoing, Webhook):
            await session.exec(delete(row))
        await session.exec(update(Repository).values(channels=None))


async def test_a_webhook_is_made_tested_looked_at_and_sent_again(
    store: Store, tmp_path: Path, receiver: Receiver
) -> None:
    async with telling(store, tmp_path) as asked:
        address = f"http://127.0.0.1:{receiver.port}/hook?token=hidden"
        answer = await asked.post("/webhooks", "a key", url=address, events=["release"])
        made = answer.json()
        assert (answer.status_code, made["secret"].startswith("btw_")) == (201, True)

        ping = (await asked.post(f"/webhooks/{made['id']}/test")).json()
        assert (ping["state"], ping["status"]) == ("sent", 200)
        receiver.statuses = [500]
        wrong = (await asked.post(f"/webhooks/{made['id']}/test")).json()
        assert (wrong["state"], wrong["reason"]) == ("given up", "answered 500")

        again = await asked.post(f"/webhooks/{made['id']}/deliveries/{wrong['id']}/redeliver")
        assert (again.status_code, again.json()["guid"]) == (202, wrong["guid"])
        got = await receiver.has(3)
        assert got[1].headers["x-blacktree-delivery"] == got[2].headers["x-blacktree-delivery"]

        listed = await asked.get("/webhooks")
        history = await asked.get(f"/webhooks/{made['id']}/deliveries?limit=2")
        assert [one["id"] for one in history.json()] == [again.json()["id"], wrong["id"]]
        assert "next" in history.links
        for text in (listed.text, history.text):
            assert made["secret"] not in text
            assert "hidden" not in text
        assert (await asked.http.delete(f"/api/v1/webhooks/{made['id']}")).status_code == 204
        assert (await asked.get("/webhooks")).json() == []
    async with store.reading() as session:
        said = [row.what for row in (await session.exec(select(AuditRow))).all()]
        assert all(made["secret"] not in row.body for row in (await session.exec(select(Answered))).all())
    assert [what.partition(" ")[0] for what in said] == ["made", "tested", "tested", "sent", "deleted"]


async def test_a_repositorys_webhooks_are_its_own(asked: Asked) -> None:
    await _nobody_is_told(asked.store)
    made = (await asked.post(f"{SHOP}/webhooks", url="https://hooks.example/a")).json()
    other = (await asked.post("/webhooks", url="https://hooks.example/b")).json()

    assert (made["repository"], other["repository"]) == ("acme/shop", None)
    assert [one["id"] for one in await asked.json(f"{SHOP}/webhooks")] == [made["id"]]
    assert [one["id"] for one in await asked.json("/webhooks")] == [made["id"], other["id"]]
    for path in (f"{SHOP}/webhooks/{other['id']}", f"{SHOP}/webhooks/999"):
        assert (await asked.http.delete(f"/api/v1{path}")).status_code == 404
        assert (await asked.get(f"{path}/deliveries")).status_code == 404
        assert (await asked.post(f"{path}/test")).status_code == 404
    for _ in range(MOST_WEBHOOKS - 1):
        assert (await asked.post(f"{SHOP}/webhooks", url="https://hooks.example/a")).status_code == 201
    assert (await asked.post(f"{SHOP}/webhooks", url="https://hooks.example/a")).status_code == 422


@pytest.mark.parametrize(
    ("url", "guarded", "told"),
    [
        ("https://hooks.example/x?y=1", True, ""),
        ("http://10.0.0.9/x", False, ""),
        ("http://10.0.0.9/x", True, "private"),
        ("http://[::1]/x", True, "private"),
        ("http://localhost/x", True, "private"),
        ("https://me:pw@hooks.example/x", False, "login"),
        ("https:///x", False, "host"),
        ("https://hooks.example/#x", False, "fragment"),
        ("https://hooks.example:99999/", False, "none"),
        ("https://[x/", False, "none"),
    ],
)
def test_an_address_is_one_that_may_be_told(url: str, guarded: bool, told: str) -> None:
    assert told in misfit(WebhookBody(url=url), guarded=guarded)
    assert bool(told) == bool(misfit(WebhookBody(url=url), guarded=guarded))


def test_an_event_that_there_is_none_of_is_said() -> None:
    assert "there is no nothing. Known are run, job" in misfit(
        WebhookBody(url="https://a.example", events=["nothing"]), guarded=False
    )


async def test_what_one_types_tests_a_channel_and_says_how_it_went(
    store: Store, tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("COLUMNS", "200")

    async def typed(*arguments: str, given: str = "") -> Any:
        return await asyncio.to_thread(CliRunner().invoke, app, list(arguments), input=given)

    notify = f"ops: json://127.0.0.1:{receiver.port}/chat?token=hidden on=crash"
    async with telling(store, tmp_path, notify=notify) as asked:
        async with store.transaction() as session:
            shop = (await session.exec(select(Repository).where(Repository.full_name == "acme/shop"))).one()
            shop.channels = {"team": {"secret": "TEAM_CHAT", "on": ["task.failed"]}, "ops": {}}
        token = asked.http.headers["authorization"].removeprefix("Bearer ")
        assert (await typed("login", asked.url, given=f"{token}\n")).exit_code == 0

        well = await typed("notify", "test", "ops", "-R", "acme/shop")
        assert (well.exit_code, well.output.endswith("ops took it\n")) == (0, True)
        [got] = await receiver.has(1)
        assert got.json["title"] == "acme/shop · ops: a test: messages reach this channel"
        monkeypatch.setattr("bot.web.api.channels._PAUSE", timedelta(hours=1))
        soon = await asked.post(f"{SHOP}/channels/ops/test")  # it is others' too
        assert (soon.status_code, len(receiver.got)) == (429, 1)
        unset = await typed("notify", "test", "team", "-R", "acme/shop")
        assert (unset.exit_code, "blacktree secret set acme/shop TEAM_CHAT" in unset.output) == (1, True)
        assert (await typed("notify", "test", "none", "--instance")).exit_code == 4

        listed = await typed("notify", "list", "-R", "acme/shop")
        assert "TEAM_CHAT" in listed.output
        assert "sent" in listed.output
        assert "hidden" not in listed.output + (await typed("notify", "list", "--instance", "--json")).output

        sent = await typed("notify", "deliveries", "ops", "--instance")
        assert "sent" in sent.output
        [one] = json.loads((await typed("notify", "deliveries", "ops", "--instance", "--json")).output)
        number = str(one["id"])
        assert (await typed("notify", "redeliver", "ops", number, "--instance")).exit_code == 0
        assert (await receiver.has(2))[1].json == got.json
        given_up = await typed("notify", "deliveries", "team", "-R", "acme/shop")
        assert "given up: its secret is not set" in given_up.output
        assert (await typed("notify", "redeliver", "team", number, "-R", "acme/shop")).exit_code == 4
        theirs = await typed("notify", "deliveries", "ops", "-R", "acme/shop")
        assert (theirs.exit_code, "the instance's" in theirs.output) == (3, True)

        made = await typed(
            "webhooks", "create", f"http://127.0.0.1:{receiver.port}/", "--on", "crash", "--instance"
        )
        assert "btw_" in made.output
        [hook] = await asked.json("/webhooks")
        number = str(hook["id"])
        assert (await typed("webhooks", "test", number, "--instance")).exit_code == 0
        assert "ping" in (await typed("webhooks", "deliveries", number, "--instance")).output
        assert "crash" in (await typed("webhooks", "list", "--instance")).output
        assert (await typed("webhooks", "redeliver", number, "99", "--instance")).exit_code == 4
        assert (await typed("webhooks", "delete", number, "--instance")).exit_code == 0
