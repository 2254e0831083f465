"""Log drains through the API and the command line: which there are, how far each is, and a test of one."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlmodel import select
from typer.testing import CliRunner

from bot.cli import app
from bot.log_drains.drainer import Drainer
from bot.log_drains.trial import TEST
from bot.secrets.repositories import Secrets
from bot.secrets.vault import Vault
from bot.store.database import Store
from bot.store.outputs import Outputs, Said
from bot.store.tables import AuditRow, Environment, Release, ReleaseState, Repository
from config.settings import Settings
from tests.bot.log_drains.receiver import Receiver
from tests.bot.web.api.conftest import asked_of

SHOP = "/repositories/acme/shop"


async def names(store: Store, drain: Any) -> int:
    """What is live in production names that drain; the environment's id."""
    async with store.transaction() as session:
        place = (await session.exec(select(Environment).where(Environment.name == "production"))).first()
        assert place is not None
        live = select(Release).where(Release.environment_id == place.id, Release.state == ReleaseState.LIVE)
        release = (await session.exec(live)).one()
        release.settings = {**release.settings, "logs": {"drain": drain}}
    return place.id or 0


async def printed(outputs: Outputs, environment: int, *texts: str) -> None:
    begin = time.time_ns()
    said = [Said(begin + number, text, "web", "shop", "c1") for number, text in enumerate(texts)]
    await outputs.append(environment, said)


async def drained(drainer: Drainer) -> None:
    """A look at what there is, and what came of it written down."""
    await drainer.ask()
    for _ in range(2):
        await drainer.look()
        await drainer.idle()
    await drainer.look()


async def test_it_is_told_how_far_each_drain_is_and_what_is_wrong_with_it(
    store: Store, tmp_path: Path
) -> None:
    async with Receiver().listening() as well, Receiver(lambda _: 401).listening() as wrong:
        settings = Settings(
            data_dir=tmp_path,
            secret_key=SecretStr("k" * 32),
            reachable="127.0.0.1/32",
            log_drain=f"http://127.0.0.1:{well.port}/hidden",
        )
        outputs = Outputs.of(settings)
        drainer = Drainer(store, outputs, Secrets(store, Vault(store, settings)), settings)
        async with asked_of(store, settings) as asked:
            environment = await names(store, {"to": f"http://127.0.0.1:{wrong.port}/hidden"})
            await printed(outputs, environment, "one", "two")
            [new] = await asked.json(f"{SHOP}/drains")
            assert (new["sent_at"], new["problem"], new["behind"], new["dropped"]) == (None, "", 0, 0)

            await drained(drainer)
            own = await asked.json(f"/environments/{environment}/drain")
            everything = await asked.get("/drains")
            [first, *_] = (await asked.get("/drains?limit=1")).json()
        await drainer.close()
    assert (own["whose"], own["problem"]) == ("repository", "it answers 401")
    assert (own["address"], own["sent_at"]) == (f"http://127.0.0.1:{wrong.port}", None)
    assert own["behind"] > 0
    assert own["waiting_since"]
    assert own["failing_since"]
    theirs = [one for one in everything.json() if one["environment_id"] == environment]
    assert [one["whose"] for one in theirs] == ["instance", "repository"]
    assert (theirs[0]["behind"], theirs[0]["problem"], bool(theirs[0]["sent_at"])) == (0, "", True)
    assert first == everything.json()[0]
    assert "hidden" not in everything.text


async def test_a_list_goes_on_where_a_part_of_it_ended(store: Store, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, log_drain="http://127.0.0.1:9/")
    async with asked_of(store, settings) as asked:
        whole = await asked.json("/drains")
        part, found = await asked.get("/drains?limit=1"), []
        while True:
            found += part.json()
            if "next" not in part.links:
                break
            part = await asked.http.get(part.links["next"]["url"])
        of_the_shop = await asked.json(f"{SHOP}/drains")
    assert len(whole) > 1
    assert found == whole
    assert of_the_shop == []  # the instance's is not its business


async def test_a_test_says_what_came_of_it_and_is_written_down(store: Store, tmp_path: Path) -> None:
    statuses = [204, 204, 500]
    async with Receiver(lambda _: statuses.pop(0)).listening() as there:
        to = f"http://127.0.0.1:{there.port}/hidden"
        settings = Settings(
            data_dir=tmp_path, secret_key=SecretStr("k" * 32), reachable="127.0.0.1/32", log_drain=to
        )
        async with asked_of(store, settings) as asked:
            environment = await names(store, to)
            at = f"/environments/{environment}/drain/test"
            assert (await asked.post("/drains/test")).json() == {"state": "sent", "reason": ""}
            assert (await asked.post(at)).json() == {"state": "sent", "reason": ""}
            assert (await asked.post(at)).json() == {"state": "failed", "reason": "it answers 500"}
            await names(store, {"to": "https://in.example.com/", "headers": {"Authorization": "LOGS_TOKEN"}})
            unset = (await asked.post(at)).json()
            await names(store, None)
            none = await asked.post(at)
    assert there.texts == [TEST, TEST]
    assert [one["environment"] for one in there.lines] == ["test", "production"]
    assert all(one["note"] for one in there.lines)
    assert unset == {"state": "failed", "reason": "its secret LOGS_TOKEN is not set"}
    assert (none.status_code, "names none" in none.json()["detail"]) == (404, True)
    async with store.reading() as session:
        rows = (await session.exec(select(AuditRow).order_by(AuditRow.id))).all()  # type: ignore[arg-type]
        repository = (await session.exec(select(Repository).where(Repository.full_name == "acme/shop"))).one()
    tests = [row for row in rows if row.what.startswith("tested the log drain")]
    assert [row.repository_id for row in tests[:2]] == [None, repository.id]
    assert all("hidden" not in row.what for row in rows)


async def test_a_repositorys_drain_is_tested_at_no_private_address(store: Store, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, secret_key=SecretStr("k" * 32))
    async with Receiver().listening() as there, asked_of(store, settings) as asked:
        environment = await names(store, f"http://127.0.0.1:{there.port}/")
        told = (await asked.post(f"/environments/{environment}/drain/test")).json()
        instances = await asked.post("/drains/test")
    assert (told["state"], "private address" in told["reason"]) == ("failed", True)
    assert there.bodies == []
    assert (instances.status_code, "LOG_DRAIN" in instances.json()["detail"]) == (422, True)


async def test_what_one_types_shows_and_tests_them(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    async def typed(*arguments: str, given: str = "") -> Any:
        return await asyncio.to_thread(CliRunner().invoke, app, list(arguments), input=given)

    async with Receiver().listening() as there:
        to = f"http://127.0.0.1:{there.port}/hidden"
        settings = Settings(data_dir=tmp_path, secret_key=SecretStr("k" * 32), log_drain=to)
        async with asked_of(store, settings) as asked:
            await names(store, to)
            token = asked.http.headers["authorization"].removeprefix("Bearer ")
            assert (await typed("login", asked.url, given=f"{token}\n")).exit_code == 0
            listed = await typed("drains", "list", "-R", "acme/shop")
            everything = await typed("drains", "list", "--instance")
            well = await typed("drains", "test", "--instance")
            wrong = await typed("drains", "test", "production", "-R", "acme/shop")
            neither = await typed("drains", "test", "-R", "acme/shop")
    assert f"http://127.0.0.1:{there.port} " in listed.output
    assert "hidden" not in listed.output + everything.output
    assert len(everything.output.splitlines()) > len(listed.output.splitlines())
    assert (well.exit_code, well.output.endswith("LOG_DRAIN took it\n")) == (0, True)
    assert (wrong.exit_code, "private address" in wrong.output) == (1, True)
    assert neither.exit_code == 2
