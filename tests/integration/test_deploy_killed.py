"""The bot or the proxy is killed in a deploy, under load: nothing is lost that had somebody to answer it.

What a killed worker or engine leaves is in tests/workers/deploy/test_killed_deploy.py.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.instance import PATIENCE, Instance, Process
from tests.integration.conftest import PAGE, Developer, dockerfile, visit
from tests.integration.test_truths import _fleet as fleet_of
from tests.parts import load
from tests.parts.broker import Broker
from tests.parts.engine import Engine
from tests.parts.load import Load
from tests.parts.registry import Registry

DEPLOY = "blacktree/deploy (production)"
# Steps that last long enough to be seen: the release command sleeps, and so does each container first.
FILE = """
environments:
  production:
    release_command: ["sleep", "1"]
    stability: 0
    drain: 1
    grace: 1
    health: {interval: 0.2}
"""
SLOW = dockerfile().replace(
    'CMD ["httpd", "-f", "-p", "8080", "-h", "/www"]',
    'CMD ["sh", "-c", "sleep 4; exec httpd -f -p 8080 -h /www"]',
)
SHOP = "io.blacktree.repository=acme/shop"


@dataclass
class Serving:
    """An old release that serves under load, and a commit to follow it."""

    fleet: Instance
    bot: Process
    developer: Developer
    engine: Engine
    url: str
    routes: Path

    async def push_until(self, moment: str) -> str:
        """Push a page that says this moment of its own deploy; returns its SHA when that has come."""
        deploys, route = len(await self._deploys()), os.readlink(self.routes / "current")
        coming = asyncio.ensure_future(
            self._switched(route) if moment == "route" else self._begun(moment, deploys)
        )
        sha = await self.developer.push({PAGE: moment})
        await coming
        return sha

    async def _begun(self, step: str, before: int) -> None:
        """Wait until a deploy after so many has begun a step."""

        async def look() -> bool:
            jobs = await self._deploys()
            return len(jobs) > before and any(told["name"] == step for told in jobs[-1]["steps"])

        await self.fleet.until(look, f"the deploy to {step}")

    async def _deploys(self) -> list[dict[str, Any]]:
        return [job for job in await self.fleet.jobs() if job["kind"] == "deploy"]

    async def _switched(self, before: str) -> None:
        """Wait until the proxy's addresses are others; looked for a thousand times a second."""
        async with asyncio.timeout(PATIENCE):
            while os.readlink(self.routes / "current") == before:  # noqa: ASYNC110 (a link has no event)
                await asyncio.sleep(0.001)

    async def ends_with(self, sha: str, text: str) -> None:
        """The commit is live, GitHub knows it, and one container is left."""
        await self.developer.status(sha, DEPLOY, "success")

        async def only_one() -> bool:
            found = await asyncio.to_thread(self.engine.containers, SHOP)
            return len(found) == 1 and (await visit(self.url)).strip() == text

        await self.fleet.until(only_one, "one release, and nothing else, to be there")


@pytest.fixture
async def serving(
    developer: Developer, tmp_path: Path, broker: Broker, registry: Registry, clean_engine: Engine
) -> AsyncIterator[Serving]:
    async with fleet_of(developer.github, tmp_path, broker, registry, lease="30") as fleet:
        bot = await fleet.start("serve")
        await fleet.ready()
        await fleet.start("worker", "one")
        sha = await developer.push({"Dockerfile": SLOW, ".blacktree.yml": FILE, PAGE: "old"})
        url = (await developer.status(sha, DEPLOY, "success")).removeprefix("Live at ")
        yield Serving(fleet, bot, developer, clean_engine, url, tmp_path / "serve" / "caddy" / "routes")


@asynccontextmanager
async def _load(url: str) -> AsyncIterator[dict[str, Load]]:
    async with AsyncExitStack() as stack:
        yield {
            "keep-alive": await stack.enter_async_context(load.hey(url, 4)),
            "a connection each": await stack.enter_async_context(load.hey(url, 4, keep_alive=False)),
        }


MOMENTS = ["pull", "release", "start", "check", "route"]


async def test_a_bot_killed_at_each_step_of_a_deploy_loses_no_request_and_leaves_nothing(
    serving: Serving,
) -> None:
    shown = "old"
    async with _load(serving.url) as tools:
        for moment in MOMENTS:
            sha = await serving.push_until(moment)

            await serving.bot.kill()
            assert (await visit(serving.url)).strip() == (moment if moment == "route" else shown)
            serving.bot = await serving.fleet.start("serve")

            await serving.ends_with(sha, moment)
            shown = moment
        outcomes = {name: await tool.stop() for name, tool in tools.items()}
    assert {name: told.failed for name, told in outcomes.items()} == dict.fromkeys(outcomes, 0)
    assert all(told.requests > 500 for told in outcomes.values())
    place = (await serving.fleet.api("/environments"))[0]
    releases = await serving.fleet.api(f"/environments/{place['id']}/releases")
    assert [one["state"] for one in releases] == ["live", *["retired"] * len(MOMENTS)]


async def test_a_proxy_killed_at_each_step_of_a_deploy_comes_back_with_what_serves(serving: Serving) -> None:
    shown = "old"
    for moment in MOMENTS:
        sha = await serving.push_until(moment)

        notes = json.loads((serving.routes.parent / "process.json").read_text())
        os.kill(notes["pid"], signal.SIGKILL)

        async def back(texts: tuple[str, ...] = (shown, moment)) -> bool:
            return (await visit(serving.url)).strip() in texts

        await serving.fleet.until(back, "the proxy to be back")
        async with _load(serving.url) as tools:
            await serving.ends_with(sha, moment)
            outcomes = {name: await tool.stop() for name, tool in tools.items()}
        assert {name: told.failed for name, told in outcomes.items()} == dict.fromkeys(outcomes, 0)
        shown = moment
