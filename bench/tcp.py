"""Connections to a TCP port that fail while what it leads to is deployed 20 times.

    make bench ARGS=tcp

The deploys are rollbacks between two releases: pull, start, check, switch, drain, as every deploy. Four
clients connect without a pause meanwhile; each connection must be answered, by the old release or the new
one.
"""

from __future__ import annotations

import asyncio
import time

import httpx2

from bench.world import BASE_IMAGE, World, world
from tests.parts.waiting import free_port

DEPLOYS, CLIENTS = 20, 4
_LOOK = 0.02
FILE = """
environments:
  production:
    stability: 0
    drain: 2
    grace: 1
    processes:
      db: {command: [httpd, -f, -p, "5000", -h, /www], expose: tcp/5000}
"""


async def main() -> None:
    """Print the figures."""
    port = free_port()
    files = {
        "Dockerfile": f"FROM {BASE_IMAGE}\nCOPY www /www\n",
        "www/index.html": "first",
        ".blacktree.yml": FILE,
    }
    async with world(files, tcp_ports=f"{port}-{port}") as here, httpx2.AsyncClient() as http:
        for text in ("one", "two"):
            await here.pushed({"www/index.html": text})
            await here.work.push(branch="main")
            await _until(port, text)
            await here.idle()
        (place,) = await here.blacktree.api("/environments")
        print(f"told as {place['tcp']}")
        ended, answered, failed = asyncio.Event(), [0], [0]
        clients = [asyncio.create_task(_client(port, ended, answered, failed)) for _ in range(CLIENTS)]
        slowest = 0.0
        for _ in range(DEPLOYS):
            slowest = max(slowest, await _rolled_back(here, http, place["id"], port))
        ended.set()
        await asyncio.gather(*clients)
    print(f"{DEPLOYS} deploys: {failed[0]} of {answered[0] + failed[0]} connections failed   goal 0")
    print(f"the slowest of them: {slowest:.1f} s from its order to the new release's first answer")


async def _asked(port: int) -> str:
    """What is answered to a new connection; empty where it fails."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        said = (await reader.read()).decode().rpartition("\r\n\r\n")[2]
        writer.close()
        await writer.wait_closed()
    except OSError:
        return ""
    return said


async def _client(port: int, ended: asyncio.Event, answered: list[int], failed: list[int]) -> None:
    while not ended.is_set():
        counted = answered if await _asked(port) in ("one", "two") else failed
        counted[0] += 1


async def _until(port: int, text: str) -> None:
    async with asyncio.timeout(180):
        while await _asked(port) != text:
            await asyncio.sleep(_LOOK)


async def _rolled_back(here: World, http: httpx2.AsyncClient, place: int, port: int) -> float:
    before = await _asked(port)
    begun = time.perf_counter()
    order = f"{here.blacktree.url}/api/v1/environments/{place}/rollback"
    (await http.post(order, json={}, headers=here.blacktree.headers)).raise_for_status()
    await _until(port, "two" if before == "one" else "one")
    seconds = time.perf_counter() - begun
    await here.idle()
    return seconds


if __name__ == "__main__":
    asyncio.run(main())
