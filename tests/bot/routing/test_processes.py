"""Several processes of one release, as visitors find them: by host name and by path; switched as one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bot.jobs.specs import release_name
from bot.routing.caddy_config import Serving, apps
from bot.routing.caddy_process import CaddyProcess
from bot.routing.proxy import Route
from bot.routing.ways import Way, environment_id, ways
from bot.store.tables import Environment, Release, ReleaseState
from tests.bot.routing import test_routing
from tests.bot.routing.test_caddy import BIND, HERE, container
from tests.bot.routing.test_routing import World
from workers.contract.messages import Ready, Refusal, Switched

NOTHING = "Nothing is here"
world = test_routing.world  # a fixture


def process(path: str = "", domain: str | None = None, *, served: bool = True, **more: Any) -> dict[str, Any]:
    return {"served": served, "domain": domain, "path": path, "overlap": True, "replicas": 1, **more}


SHOP = {
    "web": process(), "api": process("/api"), "deep": process("/api/deep"),
    "docs": process(domain="docs.example.com"), "worker": process(served=False),
}  # fmt: skip


async def ready(
    world: World, place: Environment, told: dict[str, list[str]], **spec: Any
) -> Switched | Refusal:
    job, release = await world.deploying(place, **spec)
    further = {name: theirs for name, theirs in told.items() if name != "web"}
    return await world.router.ready(
        Ready(
            job=job.id, attempt=1, release=release_name(world.store.instance, release),
            addresses=told.get("web", []), further=further,
        )
    )  # fmt: skip


async def get(world: World, host: str, path: str, *, there: bool = True) -> str:
    """What a visitor is answered, once something is `there`.

    Just after Caddy was told of a host name its listener of before may still take a connection.
    """
    url = f"http://{BIND}:{world.settings.proxy_http_port}{path}"
    async with httpx2.AsyncClient(timeout=60) as http, asyncio.timeout(60):
        while True:
            said = (await http.get(url, headers={"host": host})).text
            if not there or NOTHING not in said:
                return said
            await asyncio.sleep(0.05)


async def test_visitors_reach_each_process_by_its_host_name_and_the_longest_path(world: World) -> None:
    place = await world.environment("production")
    async with AsyncExitStack() as stack:
        told = {name: [await stack.enter_async_context(container(name))] for name in SHOP if name != "worker"}

        answer = await ready(world, place, told, processes=SHOP)

        port = world.settings.proxy_http_port
        assert answer == Switched(url=f"http://production.shop.test:{port}")
        seen = [await get(world, "production.shop.test", path) for path in
                ("/", "/apis", "/api", "/api/x", "/API/x", "/api/deep/x?y=1", "/api/deeper")]  # fmt: skip
        assert seen == ["web", "web", "api", "api", "api", "deep", "api"]
        assert await get(world, "docs.example.com", "/api") == "docs"
        assert NOTHING in await get(world, "worker.shop.test", "/", there=False)


async def test_routes_of_another_release_come_all_at_once_and_what_it_has_not_goes(world: World) -> None:
    place = await world.environment("production")
    async with AsyncExitStack() as stack:

        async def up(text: str) -> list[str]:
            return [await stack.enter_async_context(container(text))]

        await ready(world, place, {"web": await up("w1"), "api": await up("a1")},
                    processes={"web": process(), "api": process("/api")})  # fmt: skip
        await ready(world, place, {"web": await up("w2"), "hooks": await up("h2")},
                    processes={"web": process(), "hooks": process("/hooks")})  # fmt: skip

        host = "production.shop.test"
        assert [await get(world, host, path) for path in ("/", "/api", "/hooks")] == ["w2", "w2", "h2"]
        await world.set(place, maintenance="back soon")
        assert all(["back soon" in await get(world, host, path) for path in ("/", "/hooks/x")])
        await world.set(place, maintenance="")
        assert await get(world, host, "/hooks/x") == "h2"


async def test_switches_of_all_processes_lose_no_request_and_each_is_whole(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    port = free_port()
    async with AsyncExitStack() as stack:
        caddy = await stack.enter_async_context(CaddyProcess.running(tmp_path / "caddy", HERE))
        visitor = httpx2.AsyncClient(base_url=f"http://{BIND}:{port}", timeout=60)
        http = await stack.enter_async_context(visitor)
        releases = []
        for name in ("one", "two"):
            web, api = [await stack.enter_async_context(container(name)) for _ in range(2)]
            routes = [("environment-1", web, ""), ("environment-1-api", api, "/api")]
            releases.append([Route(id_, (to,), port=port, path=path) for id_, to, path in routes])
        await caddy.apply(releases[0])
        seen: list[str] = []

        async def asks(path: str) -> None:
            while True:
                answer = await http.get(path)
                seen.append(answer.text if answer.status_code == 200 else str(answer.status_code))

        asking = [asyncio.create_task(asks(path)) for path in ("/", "/api/x") for _ in range(2)]
        for number in range(1, 21):
            await asyncio.sleep(0.05)
            await caddy.apply(releases[number % 2])
            both = [(await http.get(path)).text for path in ("/", "/api/x")]
            assert both == [("one", "two")[number % 2]] * 2
        for task in asking:
            task.cancel()
        assert {type(end) for end in await asyncio.gather(*asking, return_exceptions=True)} == {
            asyncio.CancelledError
        }
    assert len(seen) > 40
    assert set(seen) == {"one", "two"}


async def test_without_names_the_paths_of_one_port_lead_to_processes(world: World) -> None:
    world.settings.__dict__["domain"] = ""
    place = await world.environment("production")
    async with container("web") as web, container("api") as api:
        answer = await ready(
            world, place, {"web": [web], "api": [api]}, processes={"web": process(), "api": process("/api")}
        )  # fmt: skip

        assert isinstance(answer, Switched), answer
        url = f"http://{BIND}:{(await world.look(place)).port}"
        async with httpx2.AsyncClient(timeout=60) as http:
            assert [(await http.get(url + path)).text for path in ("/", "/api/x")] == ["web", "api"]


async def test_a_release_that_only_works_is_live_without_an_address(world: World) -> None:
    place = await world.environment("production")
    assert await ready(world, place, {}, processes={"worker": process(served=False)}) == Switched(url="")
    here = await world.look(place)
    assert (here.url, here.port) == (None, None)
    async with world.store.reading() as session:
        assert (await session.get_one(Release, 1)).state is ReleaseState.LIVE


async def test_each_host_name_of_a_release_has_to_be_nobody_elses(world: World) -> None:
    first, second = await world.environment("production"), await world.environment("staging")
    async with container("a") as one, container("b") as two:
        docs = {"web": process(), "docs": process(domain="docs.example.com")}
        assert isinstance(await ready(world, first, {"web": [one], "docs": [one]}, processes=docs), Switched)

        refused = await ready(world, second, {"web": [two], "docs": [two]}, processes=docs)

        assert isinstance(refused, Refusal)
        assert "docs.example.com is that of production of acme/shop already" in refused.reason
        assert refused.users
        assert await get(world, "docs.example.com", "/") == "a"


async def test_visitors_are_sent_to_no_process_anywhere_else_than_at_its_worker(world: World) -> None:
    place = await world.environment("production")
    shop = {"web": process(), "api": process("/api")}
    refused = await ready(world, place, {"web": [f"{BIND}:22000"], "api": ["10.1.2.3:22001"]}, processes=shop)
    assert isinstance(refused, Refusal)
    assert "10.1.2.3:22001 is not at the worker's own address" in refused.reason


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({}, [Way()]),
        ({"domain": "a.b", "processes": {}}, [Way(domain="a.b")]),
        ({"processes": {"api": process("/api"), "web": process()}}, [Way("web"), Way("api", path="/api")]),
        ({"processes": {"worker": process(served=False)}}, []),
        ({"processes": {"api": process("/API"), "b": process("/api")}}, [Way("b", path="/api")]),
        ({"processes": {"other": process(), "web": process()}}, [Way("web")]),
    ],
)
def test_the_ways_to_a_release_are_told_apart(settings: dict[str, Any], found: list[Way]) -> None:
    assert ways(settings) == found


@pytest.mark.parametrize(
    ("route", "environment"),
    [("environment-5", 5), ("environment-5-api", 5), ("environment-5-a-1", 5), ("environment-x", None),
     ("5", None)],
)  # fmt: skip
def test_a_route_tells_whose_it_is(route: str, environment: int | None) -> None:
    assert environment_id(route) == environment


def test_names_and_paths_are_written_once_each_and_the_longest_path_first() -> None:
    routes = [
        Route("environment-1", ("10.0.0.1:1",), host="a.b"),
        Route("environment-1-api", ("10.0.0.1:2",), host="a.b", path="/api"),
        Route("environment-1-deep", ("10.0.0.1:3",), host="a.b", path="/api/deep"),
    ]
    servers = apps(routes, Serving())["http"]["servers"]
    assert [route.get("@id") for route in servers["names"]["routes"]] == [
        "environment-1-deep", "environment-1-api", "environment-1", None,
    ]  # fmt: skip
    assert servers["redirects"]["routes"][0]["match"] == [{"host": ["a.b"]}]
    only = apps([Route("environment-1-api", ("10.0.0.1:2",), port=9000, path="/api")], Serving())
    assert len(only["http"]["servers"]["port-9000"]["routes"]) == 2, "all else is not found"
