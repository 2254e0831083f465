"""From a push to traffic on the new release, against a script; rollbacks; requests lost in 100 deploys.

    make bench ARGS=deploys

The script clones, builds, pushes, runs a container, waits until it answers, reloads a Caddy of its own and
removes the old container. The deploys under load are rollbacks between two releases: pull, start, check,
switch, drain, as every deploy; wrk and hey go on all the while, with keep-alive connections and without.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2

from bench.world import BASE_IMAGE, ENVIRONMENT, World, docker, script, sources, told, world
from tests.parts import load
from tests.parts.child import Child
from tests.parts.waiting import free_port

ROUNDS = 5
DEPLOYS = 100
_LOOK = 0.01  # seconds between two looks at the page

SCRIPT = """
"$DOCKER" build --quiet --tag "$IMAGE:$SHA" .
"$DOCKER" push --quiet "$IMAGE:$SHA"
"$DOCKER" run --detach --name "$NEW" --publish "127.0.0.1:$PORT:8080" "$IMAGE:$SHA"
until curl --silent --fail --output /dev/null "http://127.0.0.1:$PORT/"; do sleep 0.1; done
curl --silent --fail --json "$CONFIG" "$ADMIN/load"
"""


def dockerfile() -> str:
    """A web server of some size; the base of both ways."""
    copies = [f"COPY {folder} /{folder}" for folder in ("assets", "lib", "www")]
    serves = ["EXPOSE 8080", 'CMD ["httpd", "-f", "-p", "8080", "-h", "/www"]', ""]
    return "\n".join([f"FROM {BASE_IMAGE}", *copies, *serves])


async def main() -> None:
    """Print the figures."""
    files = {"Dockerfile": dockerfile(), "www/index.html": "first", ".blacktree.yml": ENVIRONMENT}
    async with world({**files, **sources()}) as here, httpx2.AsyncClient() as http:
        await side_by_side(here, http, ROUNDS, "push to traffic on the new release", "at most 1.10")
        url = (await here.blacktree.api("/environments"))[0]["url"]
        await _rollbacks(here, http, url)
        await _under_load(here, http, url)


async def side_by_side(here: World, http: httpx2.AsyncClient, rounds: int, what: str, goal: str) -> None:
    """Push by Blacktree and by the script in turn, and print how long each took."""
    ours, theirs = [], []
    await _by_blacktree(here, http, "warm up")
    async with _Script(here) as way:
        await way.deployed(http, "warm up too")
        for number in range(rounds):
            ours.append(await _by_blacktree(here, http, f"ours {number}"))
            theirs.append(await way.deployed(http, f"theirs {number}"))
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
    print(f"{what:<42} {'Blacktree':>10} {'script':>10}")
    told("clone, build, push, run, wait, switch", ours, theirs, goal)


async def _by_blacktree(here: World, http: httpx2.AsyncClient, text: str) -> float:
    """Push a page with a text; the seconds from GitHub's request until it is seen."""
    sha = await here.pushed({"www/index.html": text})
    await here.work.push(branch="main")
    await _shown(here, http, text)
    seconds = time.time() - here.told_at(sha)
    await here.idle()
    return seconds


async def _shown(here: World, http: httpx2.AsyncClient, text: str) -> None:
    """Wait until the environment shows a text."""
    async with asyncio.timeout(120):
        while True:
            places = await here.blacktree.api("/environments")
            if places and places[0]["url"] and await _page(http, places[0]["url"]) == text:
                return
            await asyncio.sleep(_LOOK)


async def _page(http: httpx2.AsyncClient, url: str) -> str:
    try:
        return (await http.get(url)).text
    except httpx2.TransportError:
        return ""


class _Script:
    """The other way: a Caddy of its own, and a container after the other."""

    def __init__(self, here: World) -> None:
        self._here = here
        self._admin, self._port = free_port(), free_port()
        self._old = ""
        self._caddy: Child | None = None

    async def __aenter__(self) -> _Script:
        folder = self._here.folder / "script-caddy"
        folder.mkdir()
        (folder / "initial.json").write_text(json.dumps({"admin": {"listen": f"127.0.0.1:{self._admin}"}}))
        argv = [str(Path(sys.executable).parent / "caddy"), "run", "--config", str(folder / "initial.json")]
        env = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
        self._caddy = Child(argv, env, folder, folder / "log")
        async with httpx2.AsyncClient() as http, asyncio.timeout(20):
            while await _page(http, f"http://127.0.0.1:{self._admin}/config/") == "":
                await asyncio.sleep(_LOOK)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._old:
            await script('"$DOCKER" rm --force "$OLD"', DOCKER=docker(), OLD=self._old)
        if self._caddy is not None:
            self._caddy.kill()

    async def deployed(self, http: httpx2.AsyncClient, text: str) -> float:
        """The seconds until a page with a text is seen."""
        here, port = self._here, free_port()
        sha = await here.pushed({"www/index.html": text})
        await here.unheard()
        new = f"blacktree-bench-{sha[:12]}"
        begun = time.perf_counter()
        await here.by_script(
            SCRIPT, sha, NEW=new, PORT=str(port), CONFIG=json.dumps(self._config(port)),
            ADMIN=f"http://127.0.0.1:{self._admin}",
        )  # fmt: skip
        async with asyncio.timeout(60):
            while await _page(http, f"http://127.0.0.1:{self._port}") != text:
                await asyncio.sleep(_LOOK)
        seconds = time.perf_counter() - begun
        if self._old:
            await script('"$DOCKER" rm --force "$OLD"', DOCKER=docker(), OLD=self._old)
        self._old = new
        return seconds

    def _config(self, port: int) -> dict[str, object]:
        handle = {"handler": "reverse_proxy", "upstreams": [{"dial": f"127.0.0.1:{port}"}]}
        server = {"listen": [f"127.0.0.1:{self._port}"], "routes": [{"handle": [handle]}]}
        return {
            "admin": {"listen": f"127.0.0.1:{self._admin}"},
            "apps": {"http": {"servers": {"one": server}}},
        }


async def _rollbacks(here: World, http: httpx2.AsyncClient, url: str) -> None:
    """From the request to the page of the release before."""
    seconds = []
    for _ in range(ROUNDS):
        seconds.append(await _rolled_back(here, http, url))
        await here.idle()
    print(f"{'a rollback, its image on the worker':<42} {max(seconds):8.2f} s at most {'':>8} goal under 3 s")


async def _rolled_back(here: World, http: httpx2.AsyncClient, url: str) -> float:
    before = await _page(http, url)
    place = (await here.blacktree.api("/environments"))[0]["id"]
    begun = time.perf_counter()
    order = f"{here.blacktree.url}/api/v1/environments/{place}/rollback"
    asked = await http.post(order, json={}, headers=here.blacktree.headers)
    asked.raise_for_status()
    async with asyncio.timeout(60):
        while await _page(http, url) in (before, ""):
            await asyncio.sleep(_LOOK)
    return time.perf_counter() - begun


async def _under_load(here: World, http: httpx2.AsyncClient, url: str) -> None:
    """Deploys one after the other while wrk and hey ask all the time."""
    async with AsyncExitStack() as stack:
        tools = {
            "wrk, keep-alive": await stack.enter_async_context(load.wrk(url, 8)),
            "hey, keep-alive": await stack.enter_async_context(load.hey(url, 4)),
            "hey, a connection each": await stack.enter_async_context(load.hey(url, 4, keep_alive=False)),
        }
        for number in range(DEPLOYS):
            await _rolled_back(here, http, url)
            await here.idle()
            if number % 10 == 9:
                print(f"deploy {number + 1} of {DEPLOYS}", file=sys.stderr)
        for name, tool in tools.items():
            outcome = await tool.stop()
            figure = f"{DEPLOYS} deploys under {name}"
            print(f"{figure:<42} {outcome.failed} of {outcome.requests} requests failed   goal 0", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
