"""A real Caddy: it does as the routes say, survives the bot, and is started again when it ends."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import random
import signal
import socket
import ssl
import stat
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import bcrypt
import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route as WebRoute
from starlette.types import ASGIApp
from websockets.asyncio.client import connect

from bot.routing.addresses import bridging, slots
from bot.routing.caddy import Caddy, admin
from bot.routing.caddy_config import Serving, apps
from bot.routing.caddy_process import CaddyProcess
from bot.routing.proxy import Proxy, ProxyDown, Route
from config.errors import ConfigError
from tests.bot.routing.switching import app, switch
from tests.github.server import listen, serving
from workers.contract.ports import PUBLISHED

BIND = "127.0.0.1"
HERE = Serving(bind=BIND)


@asynccontextmanager
async def web(answer: ASGIApp) -> AsyncIterator[str]:
    """A web server; gives its address."""
    with contextlib.closing(_published()) as listener:
        async with serving(answer, listener):
            yield f"{BIND}:{listener.getsockname()[1]}"


def _published() -> socket.socket:
    """Listens where a worker publishes its containers."""
    while True:
        with contextlib.suppress(OSError):
            return listen(BIND, random.choice(PUBLISHED))


@asynccontextmanager
async def container(text: str) -> AsyncIterator[str]:
    """Something that answers `text`; gives its address."""
    async with web(PlainTextResponse(text)) as address:
        yield address


async def visit(port: int) -> str | None:
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as http:
        try:
            return (await http.get(f"http://{BIND}:{port}/")).text
        except httpx2.ConnectError:
            return None


async def applied(proxy: Proxy, routes: list[Route]) -> None:
    """Apply as the bot does: until the proxy, which may just be started again, takes it."""
    async with asyncio.timeout(60):
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


def ports(number: int) -> set[int]:
    """The TCP ports that a process listens on: proc(5)."""
    mine = set()
    for file in Path(f"/proc/{number}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            mine.add(os.readlink(file))
    lines = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/{number}/net/{name}").read_text().splitlines()[1:]
    ]
    listening = [line for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in mine]
    return {int(line[1].rpartition(":")[2], 16) for line in listening}


def served(port: int) -> dict[str, Any]:
    """Caddy's apps with a page that says `old`."""
    page = {"handle": [{"handler": "static_response", "body": "old"}]}
    return {"http": {"servers": {"one": {"listen": [f"{BIND}:{port}"], "routes": [page]}}}}


async def gone(number: int) -> None:
    async with asyncio.timeout(60):
        while _runs(number):  # noqa: ASYNC110 (a process tells nobody)
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("routes", "servers"),
    [
        ([], {}),
        (
            [Route("b", ("10.0.0.2:80",), port=20002), Route("a", ("10.0.0.1:80",), port=20001)],
            {"port-20001": 20001, "port-20002": 20002},
        ),
        ([Route("a", ("10.0.0.1:80",), host="a.test")], {"names": 443, "redirects": 80}),
        (
            [Route("a", ("10.0.0.1:80",), host="a.test"), Route("b", ("10.0.0.2:80",), port=20002)],
            {"port-20002": 20002, "names": 443, "redirects": 80},
        ),
    ],
)
def test_each_port_has_a_server_and_all_names_share_one(routes: list[Route], servers: dict[str, int]) -> None:
    made = apps(routes, HERE)

    listening = {name: server["listen"] for name, server in made["http"]["servers"].items()}
    assert listening == {name: [f"{BIND}:{port}"] for name, port in servers.items()}
    assert ("tls" in made) is ("names" in servers)


@pytest.mark.parametrize(
    ("serving", "policy"),
    [
        (Serving(), {}),
        (Serving(tls="internal"), {"issuers": [{"module": "internal"}]}),
        (Serving(acme_email="ops@a.test"), {"issuers": [{"module": "acme", "email": "ops@a.test"}]}),
        (
            Serving(acme_directory="https://ca.test/dir"),
            {"issuers": [{"module": "acme", "ca": "https://ca.test/dir"}]},
        ),
        (Serving(ask="http://bot:8000/tls/allowed"), {"on_demand": True}),
    ],
)
def test_certificates_come_from_where_the_settings_say(serving: Serving, policy: dict[str, object]) -> None:
    made = apps([Route("a", ("10.0.0.1:80",), host="a.test")], serving)

    assert made["tls"]["automation"]["policies"] == [policy]
    assert ("on_demand" in made["tls"]["automation"]) is bool(serving.ask)


def test_a_switch_changes_nothing_in_the_configuration_and_the_order_of_routes_neither() -> None:
    def made(network: str, order: int) -> str:
        routes = [
            Route(str(n), (f"{network}.{n}:80",), host=f"{n}.test" if n % 2 else None, port=n)
            for n in range(1, 9)
        ]
        return json.dumps(apps(routes[::order], Serving(folder=Path("/routes"))))

    assert made("10.0.0", 1) == made("10.9.9", -1)
    assert "10.0.0" not in made("10.0.0", 1)


def test_an_ipv6_address_is_listened_on() -> None:
    made = apps([Route("a", ("[::1]:80",), port=20001)], Serving(bind="::1"))["http"]["servers"]

    assert made["port-20001"]["listen"] == ["[::1]:20001"]


@pytest.mark.parametrize("address", ["unix//var/run/docker.sock", "fd/3", "tcp/127.0.0.1:2019", "a/b:1", ""])
@pytest.mark.parametrize("folder", [None, "/routes"])
async def test_what_is_no_tcp_address_never_reaches_a_proxy(address: str, folder: str | None) -> None:
    serving_ = Serving(bind=BIND, folder=Path(folder) if folder else None)
    with pytest.raises(ProxyDown, match=r"is no HOST:PORT"):
        (slots if folder else lambda routes: apps(routes, serving_))([Route("a", (address,), port=20001)])


def test_no_slot_is_missing_while_the_number_of_replicas_changes() -> None:
    present = {"a.0": "old:1", "a.1": "old:2", "gone.0": "gone:1"}

    assert bridging(present, [Route("a", ("new:1",)), Route("b", ("b:1",))]) == {
        "a.0": "new:1",
        "a.1": "new:1",
        "gone.0": "gone:1",
        "b.0": "b:1",
    }


async def test_routes_are_applied_switched_and_removed(tmp_path: Path, free_port: Callable[[], int]) -> None:
    one, two = free_port(), free_port()
    async with (
        container("old") as old,
        container("new") as new,
        CaddyProcess.running(tmp_path / "caddy", HERE) as caddy,
    ):
        assert await caddy.check() == f"Caddy at unix://{tmp_path}/caddy/admin.sock"
        await caddy.apply([Route("a", (old,), port=one), Route("b", (old,), port=two)])
        assert (await visit(one), await visit(two)) == ("old", "old")

        await applied(caddy, [Route("a", (new,), port=one), Route("b", (old,), port=two)])
        assert (await visit(one), await visit(two)) == ("new", "old")

        await applied(caddy, [Route("a", (new,), port=one)])
        assert (await visit(one), await visit(two)) == ("new", None)

        await applied(caddy, [])
        assert await visit(one) is None


async def test_a_proxy_takes_one_change_right_after_another(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    port = free_port()
    async with CaddyProcess.running(tmp_path / "caddy", HERE) as caddy:
        for number in range(30):
            await caddy.apply([Route("a", (f"{BIND}:{1000 + number}",), port=port)])


async def test_a_killed_caddy_is_started_again_with_its_routes(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    port, folder = free_port(), tmp_path / "caddy"
    async with container("page") as page, CaddyProcess.running(folder, HERE) as caddy:
        await caddy.apply([Route("a", (page,), port=port)])
        before = pid(folder)
        os.kill(before, signal.SIGKILL)
        await gone(before)

        async with asyncio.timeout(60):
            while await visit(port) != "page":  # noqa: ASYNC110 (nobody tells it anything)
                await asyncio.sleep(0.05)

        assert pid(folder) != before
    assert not (folder / "process.json").exists()


BOT = """
import asyncio, sys
from pathlib import Path
from bot.routing.caddy_config import Serving
from bot.routing.caddy_process import CaddyProcess
from bot.routing.proxy import Route

async def main():
    async with CaddyProcess.running(Path(sys.argv[1]), Serving(bind="127.0.0.1")) as caddy:
        await caddy.apply([Route("a", (sys.argv[2],), port=int(sys.argv[3]))])
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

        async with CaddyProcess.running(folder, HERE) as caddy:
            assert pid(folder) == caddys
            assert await visit(port) == "page"
            await caddy.apply([Route("a", (page,), port=port)])
            assert await visit(port) == "page"
            os.kill(caddys, signal.SIGKILL)
            await gone(caddys)
            await applied(caddy, [Route("a", (page,), port=port)])
            assert await visit(port) == "page"
            assert pid(folder) != caddys
        await gone(caddys)

    assert await visit(port) is None


async def test_what_a_caddy_that_is_gone_has_left_misleads_nobody(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "caddy"
    (folder / "caddy").mkdir(parents=True)
    (folder / "caddy" / "autosave.json").write_text('{"apps": {"http": {"servers": 17}}}')
    notes = {"pid": 2**22 + 1}
    (folder / "process.json").write_text(json.dumps(notes))

    async with CaddyProcess.running(folder, HERE) as caddy:
        assert await caddy.check()
        assert pid(folder) != notes["pid"]


async def test_a_caddy_listens_for_its_bot_at_a_socket_of_its_owners_and_at_no_port_but_the_routes(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    folder, port = tmp_path / "caddy", free_port()
    async with container("page") as page, CaddyProcess.running(folder, HERE) as caddy:
        await caddy.apply([])
        assert ports(pid(folder)) == set()
        await caddy.apply([Route("a", (page,), port=port)])
        assert ports(pid(folder)) == {port}
        assert stat.S_IMODE((folder / "admin.sock").stat().st_mode) == 0o600


async def test_a_caddy_that_an_older_bot_left_at_a_port_is_ended_and_another_takes_over(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    folder, port = tmp_path / "caddy", free_port()
    folder.mkdir()
    initial = folder / "initial.json"
    initial.write_text(json.dumps({"admin": {"listen": f"{BIND}:{free_port()}"}, "apps": served(port)}))
    old = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "caddy"),
        "run",
        "--config",
        str(initial),
        stderr=asyncio.subprocess.DEVNULL,
    )
    (folder / "process.json").write_text(json.dumps({"pid": old.pid, "admin_url": "http://127.0.0.1:1"}))
    async with asyncio.timeout(60):
        while await visit(port) != "old":
            assert old.returncode is None, "it ended by itself"
            await asyncio.sleep(0.05)

    async with container("page") as page, CaddyProcess.running(folder, HERE) as caddy:
        await caddy.apply([Route("a", (page,), port=port)])
        assert await visit(port) == "page"
        assert await old.wait() == 0


async def test_the_login_of_an_admin_api_is_told_to_it_and_to_nobody_else() -> None:
    told: list[str] = []

    async def behind(request: Request) -> PlainTextResponse:
        told.append(request.headers.get("authorization", ""))
        return PlainTextResponse("{}")

    async with web(Starlette(routes=[WebRoute("/config/", behind)])) as address:
        place = f"http://bot:hidden@{address}"
        async with admin(place) as http:
            said = await Caddy(http, place, HERE).check()

    assert told == ["Basic " + base64.b64encode(b"bot:hidden").decode()]
    assert said == f"Caddy at http://{address}"


async def test_a_caddy_that_refuses_says_why(tmp_path: Path) -> None:
    async with CaddyProcess.running(tmp_path / "caddy", HERE) as caddy:
        with pytest.raises(ProxyDown, match="Caddy refuses /load: 400"):
            await caddy.apply([Route("a", ("127.0.0.1:22000",), port=99_999)])


async def test_one_that_never_answers_is_ended_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent, pid = tmp_path / "silent", tmp_path / "pid"
    silent.write_text(f"#!/bin/sh\necho $$ > {pid}\nexec sleep 300\n")
    silent.chmod(0o755)
    monkeypatch.setattr("bot.routing.caddy_process._binary", lambda: str(silent))
    monkeypatch.setattr("bot.routing.caddy_process._START", 3.0)

    with pytest.raises(ExceptionGroup) as raised:
        async with CaddyProcess.running(tmp_path / "caddy", HERE):
            pass
    [error] = raised.value.exceptions
    assert isinstance(error, ConfigError)
    assert "Caddy does not answer in 3 s: see" in str(error)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


async def test_host_names_have_https_users_headers_and_websockets(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    http, https, folder = free_port(), free_port(), tmp_path / "caddy"
    serving = Serving(bind=BIND, http_port=http, https_port=https, tls="internal")
    hashed = bcrypt.hashpw(b"lovelace", bcrypt.gensalt(4)).decode()
    async with app("shop") as shop, CaddyProcess.running(folder, serving) as caddy:
        await caddy.apply(
            [
                Route("a", (shop,), host="a.test", headers=(("X-Odd", "{env.HOME} {file./etc/passwd}"),)),
                Route("b", (shop,), host="b.test", users=(("ada", hashed),)),
            ]
        )
        trust = await trusted(folder)

        async def ask(host: str, path: str = "/", **how: Any) -> httpx2.Response:
            async with httpx2.AsyncClient(verify=trust, timeout=60) as client:
                return await client.get(
                    f"https://{BIND}:{https}{path}",
                    headers={"host": how.pop("named", f"{host}:{https}")},
                    extensions={"sni_hostname": host},
                    **how,
                )

        async with asyncio.timeout(60):
            while not (await certified(https, trust, "a.test") and await certified(https, trust, "b.test")):  # noqa: ASYNC110 (Caddy tells nobody when it has its certificates)
                await asyncio.sleep(0.05)
        open_to_all = await ask("a.test")
        assert (open_to_all.text, open_to_all.headers["x-odd"]) == (
            "shop",
            "{env.HOME} {file./etc/passwd}",
        )
        assert (await ask("a.test", named="b.test")).status_code == 421
        assert "x-forwarded-proto: https" in (await ask("a.test", "/headers")).text

        async with httpx2.AsyncClient(timeout=60) as client:
            plain = await client.get(f"http://{BIND}:{http}/x?y=1", headers={"host": f"a.test:{http}"})
            unknown = await client.get(f"http://{BIND}:{http}/", headers={"host": "nobody.test"})
        assert (plain.status_code, plain.headers["location"]) == (308, f"https://a.test:{https}/x?y=1")
        assert unknown.status_code == 404

        assert await caddy.requests() == {}  # the first look only learns
        assert (await ask("b.test")).status_code == 401
        assert (await ask("b.test", auth=("ada", "wrong"))).status_code == 401
        assert await caddy.requests() == {}
        for _ in range(3):
            assert (await ask("b.test", auth=("ada", "lovelace"))).text == "shop"
        assert await caddy.requests() == {"b": 3}
        assert await caddy.requests() == {}

        async with connect(
            f"wss://a.test:{https}/echo", host=BIND, port=https, ssl=trust, open_timeout=60
        ) as socket:
            await socket.send("hello")
            assert await socket.recv() == "shop: hello"
        assert "lovelace" not in "".join(
            file.read_text(errors="replace") for file in folder.rglob("*") if file.is_file()
        )


async def trusted(folder: Path) -> ssl.SSLContext:
    """What trusts this Caddy's own authority, and nobody else."""
    root = folder / "caddy" / "pki" / "authorities" / "local" / "root.crt"
    async with asyncio.timeout(60):
        while not root.exists() or "END" not in root.read_text():  # noqa: ASYNC110 (a file tells nobody)
            await asyncio.sleep(0.05)
    return ssl.create_default_context(cafile=str(root))


async def certified(port: int, trust: ssl.SSLContext, name: str) -> bool:
    """Whether there is a certificate for this name."""
    try:
        _, writer = await asyncio.open_connection(BIND, port, ssl=trust, server_hostname=name)
    except ssl.SSLError:
        return False
    writer.close()
    return True


async def test_a_certificate_on_demand_is_for_names_that_the_bot_knows(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    asked: list[str] = []

    async def allowed(request: Request) -> PlainTextResponse:
        assert request.query_params["proof"] == "known"
        asked.append(request.query_params["domain"])
        return PlainTextResponse("", 200 if asked[-1] == "a.test" else 404)

    https, folder = free_port(), tmp_path / "caddy"
    async with AsyncExitStack() as stack:
        bot = await stack.enter_async_context(web(Starlette(routes=[WebRoute("/tls/allowed", allowed)])))
        page = await stack.enter_async_context(container("page"))
        serving = Serving(
            bind=BIND,
            http_port=free_port(),
            https_port=https,
            tls="internal",
            ask=f"http://{bot}/tls/allowed?proof=known",
        )
        caddy = await stack.enter_async_context(CaddyProcess.running(folder, serving))
        await caddy.apply([Route(name, (page,), host=f"{name}.test") for name in ("a", "b")])
        assert asked == []
        trust = await trusted(folder)

        async def ask(host: str) -> str:
            async with httpx2.AsyncClient(verify=trust, timeout=60) as client:
                url, named = f"https://{BIND}:{https}/", {"host": f"{host}:{https}"}
                return (await client.get(url, headers=named, extensions={"sni_hostname": host})).text

        assert await ask("a.test") == "page"
        with pytest.raises(httpx2.ConnectError):
            await ask("b.test")
        assert asked[0] == "a.test"
        assert "b.test" in asked


async def test_replicas_are_balanced_and_one_that_refuses_is_left_out(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    port, dead = free_port(), f"{BIND}:{free_port()}"
    async with (
        container("one") as one,
        container("two") as two,
        CaddyProcess.running(tmp_path / "caddy", HERE) as caddy,
    ):
        await caddy.apply([Route("a", (one, dead, two), port=port)])
        assert {await visit(port) for _ in range(12)} == {"one", "two"}

        await caddy.apply([Route("a", (two,), port=port)])
        assert {await visit(port) for _ in range(4)} == {"two"}

        await caddy.apply([Route("a", (one, one), port=port)])
        assert {await visit(port) for _ in range(4)} == {"one"}


async def test_a_caddy_without_a_shared_folder_is_told_the_addresses(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    port = free_port()
    async with (
        container("old") as old,
        container("new") as new,
        CaddyProcess.running(tmp_path / "caddy", HERE) as child,
        admin(place := f"unix://{tmp_path}/caddy/admin.sock") as http,
    ):
        elsewhere = Caddy(http, place, HERE)
        assert await elsewhere.check() == await child.check() == f"Caddy at {place}"
        await elsewhere.apply([Route("a", (old,), port=port)])
        assert await visit(port) == "old"
        await applied(elsewhere, [Route("a", (new,), port=port)])
        assert await visit(port) == "new"


async def test_switches_under_load_lose_no_request(tmp_path: Path) -> None:
    async with (
        app("one") as one,
        app("two") as two,
        CaddyProcess.running(tmp_path / "caddy", HERE) as caddy,
    ):
        told = await switch(caddy, one, two, times=10)

    assert told.failed == 0, told.outcomes
    assert all(outcome.requests > 10 for outcome in told.outcomes.values())
    assert {*told.slow} == {"one", "two"}
    assert told.downloads == ["one" * 40]
    assert told.echoes == [f"one: {number}" for number in range(10)]  # on the connection that it began with
