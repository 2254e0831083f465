"""A real Caddy: it does as the routes say, survives the bot, and is started again when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp

from bot.routing.caddy import apps
from bot.routing.caddy_process import CaddyProcess
from bot.routing.proxy import Proxy, ProxyDown, Route
from bot.routing.router import Router
from bot.store.database import Store
from bot.store.tables import Environment, JobState, ReleaseState
from config.settings import Settings
from tests.bot.conftest import Rows
from tests.github.server import listen, serving
from workers.contract.messages import Kind

BIND = "127.0.0.1"


@asynccontextmanager
async def container(text: str) -> AsyncIterator[str]:
    """Something that answers `text`; gives its address."""
    app: ASGIApp = PlainTextResponse(text)
    with contextlib.closing(listen(BIND, 0)) as listener:
        async with serving(app, listener):
            yield f"{BIND}:{listener.getsockname()[1]}"


async def visit(port: int) -> str | None:
    async with httpx2.AsyncClient(trust_env=False) as http:
        try:
            return (await http.get(f"http://{BIND}:{port}/")).text
        except httpx2.ConnectError:
            return None


async def applied(proxy: Proxy, routes: list[Route]) -> None:
    """Apply as the bot does: until the proxy, which may just be started again, takes it."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await proxy.apply(routes)
            except ProxyDown:
                await asyncio.sleep(0.05)


def pid(folder: Path) -> int:
    return int(json.loads((folder / "process.json").read_text())["pid"])


def _runs(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def gone(number: int) -> None:
    async with asyncio.timeout(10):
        while _runs(number):  # noqa: ASYNC110 (a process tells nobody)
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("routes", "servers"),
    [
        ([], {}),
        ([Route("b", "10.0.0.2:80", port=20002), Route("a", "10.0.0.1:80", port=20001)], ["20001", "20002"]),
        ([Route("a", "10.0.0.1:80", host="a.test")], ["443"]),
        ([Route("a", "10.0.0.1:80", host="a.test"), Route("b", "10.0.0.2:80", port=20002)], ["20002", "443"]),
    ],
)
def test_each_port_has_a_server_and_all_names_share_one(routes: list[Route], servers: list[str]) -> None:
    made = apps(routes, BIND)["http"]["servers"]

    assert [server["listen"] for server in made.values()] == [[f"{BIND}:{port}"] for port in servers]
    for server in made.values():
        assert ("automatic_https" in server) is (server["listen"] != [f"{BIND}:443"])


def test_a_name_matches_its_host_and_goes_to_its_upstream() -> None:
    [route] = apps([Route("x", "10.0.0.1:80", host="a.test")], "")["http"]["servers"]["names"]["routes"]

    assert route == {
        "@id": "x",
        "match": [{"host": ["a.test"]}],
        "handle": [{"handler": "reverse_proxy", "upstreams": [{"dial": "10.0.0.1:80"}]}],
        "terminal": True,
    }


def test_the_order_of_the_routes_makes_no_difference() -> None:
    routes = [
        Route(str(n), f"10.0.0.{n}:80", host=f"{n}.test" if n % 2 else None, port=n) for n in range(1, 9)
    ]

    assert json.dumps(apps(routes, "")) == json.dumps(apps(routes[::-1], ""))


def test_an_ipv6_address_is_listened_on() -> None:
    made = apps([Route("a", "[::1]:80", port=20001)], "::1")["http"]["servers"]

    assert made["port-20001"]["listen"] == ["[::1]:20001"]


async def test_routes_are_applied_switched_and_removed(tmp_path: Path, free_port: Callable[[], int]) -> None:
    one, two = free_port(), free_port()
    async with (
        container("old") as old,
        container("new") as new,
        CaddyProcess.running(tmp_path / "caddy", BIND) as caddy,
    ):
        assert "Caddy at http://127.0.0.1:" in await caddy.check()
        await caddy.apply([Route("a", old, port=one), Route("b", old, port=two)])
        assert (await visit(one), await visit(two)) == ("old", "old")

        await applied(caddy, [Route("a", new, port=one), Route("b", old, port=two)])
        assert (await visit(one), await visit(two)) == ("new", "old")

        await applied(caddy, [Route("a", new, port=one)])
        assert (await visit(one), await visit(two)) == ("new", None)

        await applied(caddy, [])
        assert await visit(one) is None


async def test_a_proxy_takes_one_change_right_after_another(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    port = free_port()
    async with CaddyProcess.running(tmp_path / "caddy", BIND) as caddy:
        for number in range(30):
            await caddy.apply([Route("a", f"{BIND}:{1000 + number}", port=port)])


async def test_a_killed_caddy_is_started_again_at_its_place_and_takes_the_routes(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    port, folder = free_port(), tmp_path / "caddy"
    async with container("page") as page, CaddyProcess.running(folder, BIND) as caddy:
        await caddy.apply([Route("a", page, port=port)])
        before = pid(folder)
        os.kill(before, signal.SIGKILL)
        await gone(before)

        await applied(caddy, [Route("a", page, port=port)])

        assert await visit(port) == "page"
        assert pid(folder) != before
    assert not (folder / "process.json").exists()


async def test_the_router_restores_what_the_store_says(
    tmp_path: Path, store: Store, rows: Rows, free_port: Callable[[], int]
) -> None:
    port = free_port()
    deploy = await rows.job(await rows.run(), 1, Kind.DEPLOY, "production", state=JobState.SUCCEEDED)
    async with container("page") as page, CaddyProcess.running(tmp_path / "caddy", BIND) as caddy:
        release = await rows.release(deploy, state=ReleaseState.LIVE, addresses=[page])
        async with store.transaction() as session:
            (await session.get_one(Environment, release.environment_id)).port = port
        router = Router(store, caddy, Settings(data_dir=tmp_path))

        await router.restore()
        assert await visit(port) == "page"
        await applied(caddy, [])
        assert await visit(port) is None
        await router.restore()
        assert await visit(port) == "page"


BOT = """
import asyncio, sys
from pathlib import Path
from bot.routing.caddy_process import CaddyProcess
from bot.routing.proxy import Route

async def main():
    async with CaddyProcess.running(Path(sys.argv[1]), "127.0.0.1") as caddy:
        await caddy.apply([Route("a", sys.argv[2], port=int(sys.argv[3]))])
        print("up", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_bot_that_died_leaves_its_caddy_running_and_the_next_adopts_it(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    port, folder = free_port(), tmp_path / "caddy"
    async with AsyncExitStack() as stack:
        page = await stack.enter_async_context(container("page"))
        bot = await asyncio.create_subprocess_exec(
            sys.executable, "-c", BOT, str(folder), page, str(port), stdout=asyncio.subprocess.PIPE
        )
        assert bot.stdout is not None
        while (line := await bot.stdout.readline()) != b"up\n":
            assert line
        bot.kill()
        await bot.wait()
        caddys = pid(folder)
        assert await visit(port) == "page"

        async with CaddyProcess.running(folder, BIND) as caddy:
            assert pid(folder) == caddys
            assert await visit(port) == "page"
            await caddy.apply([Route("a", page, port=port)])
            assert await visit(port) == "page"
            os.kill(caddys, signal.SIGKILL)
            await gone(caddys)
            await applied(caddy, [Route("a", page, port=port)])
            assert await visit(port) == "page"
            assert pid(folder) != caddys
        await gone(caddys)

    assert await visit(port) is None


async def test_notes_of_a_caddy_that_is_gone_mislead_nobody(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    folder = tmp_path / "caddy"
    folder.mkdir()
    notes = {"pid": 2**22 + 1, "admin_url": f"http://127.0.0.1:{free_port()}"}
    (folder / "process.json").write_text(json.dumps(notes))

    async with CaddyProcess.running(folder, BIND) as caddy:
        assert await caddy.check()
        assert pid(folder) != notes["pid"]


async def test_a_caddy_that_refuses_says_why(tmp_path: Path) -> None:
    async with CaddyProcess.running(tmp_path / "caddy", BIND) as caddy:
        with pytest.raises(ProxyDown, match="Caddy refuses /load: 400"):
            await caddy.apply([Route("a", "no address at all:x:y", port=99_999)])
