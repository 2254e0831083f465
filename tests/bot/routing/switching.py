"""Many switches between two releases under constant load; what fails is counted. bench/ runs more of them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import httpx2
from websockets.asyncio.client import connect

from bot.routing.proxy import Proxy, Route
from config.trust import trusted
from tests.parts import load
from tests.parts.load import Outcome
from tests.parts.waiting import free_port

_PAUSE = 0.1  # seconds between two switches


@dataclass(frozen=True)
class Told:
    """What was lost: of each tool, of slow answers and downloads, and of one WebSocket."""

    outcomes: dict[str, Outcome]
    slow: list[str]
    downloads: list[str]
    echoes: list[str]

    @property
    def failed(self) -> int:
        return sum(outcome.failed for outcome in self.outcomes.values())


@asynccontextmanager
async def app(name: str) -> AsyncIterator[str]:
    """An app in a process of its own; gives its address."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.parts.app", str(port), name)
    try:
        async with asyncio.timeout(60):
            while not await answers(port):  # noqa: ASYNC110 (a process that tells nobody)
                await asyncio.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        await process.wait()


async def answers(port: int) -> bool:
    """Whether somebody listens there."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def switch(proxy: Proxy, first: str, second: str, times: int) -> Told:
    """Switch one route from `first` to `second`, and back, `times` times in all."""
    port = free_port()

    def to(address: str) -> list[Route]:
        return [Route("environment-1", (address,), port=port)]

    await proxy.apply(to(first))
    url = f"http://127.0.0.1:{port}"
    async with AsyncExitStack() as stack, httpx2.AsyncClient(verify=trusted(), timeout=60) as http:
        socket = await stack.enter_async_context(connect(f"ws://127.0.0.1:{port}/echo", open_timeout=60))
        tools = {
            "wrk": await stack.enter_async_context(load.wrk(url)),
            "hey": await stack.enter_async_context(load.hey(url)),
            "hey without keep-alive": await stack.enter_async_context(load.hey(url, keep_alive=False)),
        }
        async with asyncio.TaskGroup() as group:
            begun = asyncio.Event()
            downloads = [group.create_task(_text(http, f"{url}/download", begun))]
            await begun.wait()
            slow = []
            echoes = []
            for number in range(times):
                slow.append(group.create_task(_text(http, f"{url}/slow?seconds=1")))
                await asyncio.sleep(_PAUSE)
                await proxy.apply(to((second, first)[number % 2]))
                await socket.send(str(number))
                echoes.append(str(await socket.recv()))
        outcomes = {name: await tool.stop() for name, tool in tools.items()}
    return Told(
        outcomes,
        [task.result() for task in slow],
        [task.result() for task in downloads],
        echoes,
    )


async def _text(http: httpx2.AsyncClient, url: str, begun: asyncio.Event | None = None) -> str:
    """All of an answer; `begun` is set when its head is there."""
    async with http.stream("GET", url) as answer:
        if begun is not None:
            begun.set()
        await answer.aread()
    answer.raise_for_status()
    return answer.text
