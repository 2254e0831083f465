"""Nothing of the bot's answers without a credential, wherever a request comes from: asked by strangers."""

from __future__ import annotations

import asyncio
import base64
import json
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import cast

import pytest
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount, Route

from bot.cli import main
from bot.github.forge import GitHub
from bot.intake.receiver import Receiver
from bot.secrets import api_token
from bot.store.database import Store
from bot.store.logs import FileLogs
from bot.web.access import OPEN, Access
from bot.web.api import Api
from bot.web.app import application
from bot.web.metrics import Metrics
from bot.web.orders import Orders
from bot.web.pages.site import Site
from bot.web.places import Places
from bot.web.rules import BADGES
from bot.web.sessions import Sessions
from bot.web.visitors import Visitors
from config.errors import ConfigError
from config.settings import Settings
from tests.bot.conftest import Rows
from tests.bot.intake.test_receiver import TOKEN, Door, door_to
from tests.bot.talk import Talk
from workers.contract.memory import MemoryQueue

FILE = "environments:\n  production: {}\n"
API = ("/runs", "/runs/1", "/jobs/1-1", "/jobs/1-1/log", "/workers", "/environments", "/deliveries")


def basic(password: str, user: str = "anybody") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture
async def door(store: Store, tmp_path: Path, rows: Rows) -> AsyncIterator[Door]:
    await rows.job(await rows.run())
    async with door_to(store, tmp_path) as here:
        del here.http.headers["authorization"]
        yield here


def paths(routes: list[BaseRoute], above: str = "") -> Iterator[str]:
    for route in routes:
        if isinstance(route, Mount):
            yield from paths(list(route.routes), above + route.path)
        elif isinstance(route, Route):
            yield above + route.path.replace("{id:int}", "1").replace("{id}", "1-1").replace(
                "{guid}", "1"
            ).replace("{owner}", "acme")


async def test_every_path_but_the_named_ones_wants_the_token(
    store: Store, tmp_path: Path, door: Door
) -> None:
    api = (Api(store, FileLogs(tmp_path)), Places(store, ""))
    visitors = Visitors(store, Settings(), lambda _environment: asyncio.sleep(0), b"")
    receiver = Receiver(store, (b"",))
    orders = Orders(store, cast(GitHub, None), Settings())
    web: Starlette = application(
        receiver,
        api,
        store,
        MemoryQueue(),
        visitors,
        Access(TOKEN),
        Metrics(store, MemoryQueue(), 60),
        Site.of(store, FileLogs(tmp_path), Settings(), Sessions(store, TOKEN), orders),
    )
    known = set(paths(web.routes))
    assert known >= OPEN
    for path in [*(known - OPEN), "/", "/nothing", "/api/v1", "/metrics", "/docs", "//healthz", "/healthz/x"]:
        for method in ("GET", "HEAD", "POST", "OPTIONS"):
            answer = await door.http.request(method, path)
            looks = path.startswith(BADGES) and method in ("GET", "HEAD")  # at what is not there
            assert answer.status_code == (404 if looks else 401), (method, path)
            assert "acme" not in answer.text
    assert (await door.http.post("/webhooks/github", json={})).status_code == 401


@pytest.mark.parametrize("path", API)
async def test_the_api_is_for_who_has_the_token(door: Door, path: str) -> None:
    async def status(authorization: str) -> int:
        headers = [(b"authorization", authorization.encode("latin-1"))] if authorization else []
        return (await door.http.get(f"/api/v1{path}", headers=headers)).status_code

    for right in (f"Bearer {TOKEN}", basic(TOKEN), basic(TOKEN, user="")):
        assert await status(right) == 200
    wrong = (
        "", "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, f"bearer  {TOKEN}", "Bearer é",
        basic(""), basic("x"), basic("x", user=TOKEN), "Basic é", f"Digest {TOKEN}",
    )  # fmt: skip
    for authorization in wrong:
        assert await status(authorization) == 401, authorization


async def test_a_browser_is_asked_for_the_token_where_a_comment_at_github_links_to(door: Door) -> None:
    refused = await door.http.get("/jobs/1-1")
    shown = await door.http.get("/jobs/1-1", headers={"authorization": basic(TOKEN)}, follow_redirects=True)

    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Basic ")
    assert (shown.status_code, shown.url.path) == (200, "/api/v1/jobs/1-1/log")


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"x-forwarded-for": "127.0.0.1"},
        {"x-real-ip": "127.0.0.1", "forwarded": "for=127.0.0.1"},
        {"x-forwarded-user": "ada", "remote-user": "ada"},
    ],
)
async def test_to_come_from_this_machine_or_to_say_so_opens_nothing(door: Door, said: dict[str, str]) -> None:
    assert (await door.http.get("/api/v1/deliveries", headers=said)).status_code == 401


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200), ("[::1]:8000", 200), ("192.0.2.7", 200), ("localhost:8000", 200),
        ("CI.example.com", 200), ("ci.example.com.:8000", 200), ("bot:8000", 200),
        ("evil.test", 421), ("evil.test:8000", 421), ("ci.example.com.evil.test", 421),
        ("127.0.0.1.evil.test", 421), ("[::1", 421), ("", 421), ("localhost@evil.test", 421),
    ],
)  # fmt: skip
async def test_only_who_calls_the_bot_by_its_name_is_heard(
    store: Store, tmp_path: Path, host: str, status: int
) -> None:
    settings = Settings(public_url="https://ci.example.com", proxy_bot="bot:8000")
    access = Access.of(settings, TOKEN)
    async with door_to(store, tmp_path, access=access) as door:
        answer = await door.http.get("/api/v1/runs", headers={"host": host})
        health = await door.http.get("/healthz", headers={"host": host})

    assert answer.status_code == status
    assert health.json() == {"status": "alive"}


async def test_a_web_page_of_another_place_changes_nothing_even_with_what_the_browser_knows(
    door: Door,
) -> None:
    await door.deliver(b"{}", authorization="")
    own, path = str(door.http.base_url).rstrip("/"), "/api/v1/deliveries/guid-1/replay"

    async def status(**headers: str) -> int:
        return (await door.http.post(path, headers={"authorization": basic(TOKEN), **headers})).status_code

    assert await status() == 202
    assert await status(origin=own) == 202
    for origin in ("https://evil.test", "null", "", f"{own}.evil.test", "http://127.0.0.1:1"):
        assert await status(origin=origin) == 403


async def test_health_tells_strangers_nothing_but_itself(door: Door) -> None:
    ready = await door.http.get("/readyz")

    assert ready.json() == {"status": "ready"}
    assert (await door.http.get("/healthz")).json() == {"status": "alive"}


async def test_a_bot_makes_its_token_for_its_owner_alone_and_the_command_line_tells_it(
    talk: Talk, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "bot" / "api.token"
    monkeypatch.setattr("sys.argv", ["blacktree", "token"])
    monkeypatch.setenv("BLACKTREE_DATA_DIR", str(tmp_path / "bot"))

    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr().out.strip()

    assert ended.value.code == 0
    assert told == file.read_text().strip()
    assert len(told) > 40
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (await talk.api.get("/runs", headers={"authorization": f"Bearer {told}"})).status_code == 200
    assert (await talk.api.get("/runs", headers={"authorization": ""})).status_code == 401


def test_a_token_that_is_set_goes_before_one_that_was_made(tmp_path: Path) -> None:
    made = api_token.made(Settings(data_dir=tmp_path))

    assert api_token.made(Settings(data_dir=tmp_path)) == made
    assert api_token.made(Settings(data_dir=tmp_path, api_token=TOKEN)) == TOKEN
    assert made in api_token.place(Settings(data_dir=tmp_path)).read_text()


def test_where_no_bot_has_made_a_token_it_is_said_how_to_come_by_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the bot makes it at its start"):
        api_token.found(Settings(data_dir=tmp_path))
    api_token.place(Settings(data_dir=tmp_path)).touch()
    with pytest.raises(ConfigError, match="is empty: remove it"):
        api_token.found(Settings(data_dir=tmp_path))


async def test_what_an_app_at_the_same_host_is_told_by_a_browser_opens_nothing_here(door: Door) -> None:
    shown = await door.http.get("/api/v1/runs", headers={"authorization": basic(TOKEN)})

    assert shown.status_code == 200
    assert "set-cookie" not in shown.headers  # cookies know no ports: the apps on this host would get them
    assert json.loads(shown.text)
