"""A browser with nobody's settings, which remembers what it complained of and whom it asked."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    async_playwright,
    expect,
)

AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
PHONE = {"width": 375, "height": 812}
DESK = {"width": 1280, "height": 900}
# Another test made a network: at that Chromium gives up what it is loading, and loads it again.
_OF_THE_MACHINE = "net::ERR_NETWORK_CHANGED"
_PATIENCE = 90_000  # milliseconds: a page asks a slow machine for news every 30 s


@dataclass
class Window:
    """One page of a browser. `complaints` are what its console and scripts said of errors."""

    page: Page
    context: BrowserContext
    complaints: list[str] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)  # hosts

    async def violations(self) -> list[str]:
        """What axe-core finds: rule, and where."""
        async with isolated(self.page) as run:
            found = await run("axe.run(document, {resultTypes: ['violations']})")
        return [f"{one['id']}: {node['target']}" for one in found["violations"] for node in one["nodes"]]

    async def too_wide(self) -> int:
        """Pixels by which the page is wider than its window."""
        told = await self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        return int(told)


@asynccontextmanager
async def isolated(page: Page) -> AsyncIterator[Any]:
    """axe-core beside the page, by the browser's own protocol: the page's policy lets no other script in."""
    session = await page.context.new_cdp_session(page)
    tree = await session.send("Page.getFrameTree")
    world = await session.send(
        "Page.createIsolatedWorld", {"frameId": tree["frameTree"]["frame"]["id"], "worldName": "axe"}
    )
    where = {"contextId": world["executionContextId"]}
    await session.send("Runtime.evaluate", {"expression": AXE.read_text(), **where})

    async def run(expression: str) -> Any:
        told = await session.send(
            "Runtime.evaluate",
            {"expression": expression, "awaitPromise": True, "returnByValue": True, **where},
        )
        assert "exceptionDetails" not in told, told
        return told["result"]["value"]

    try:
        yield run
    finally:
        await session.detach()


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert program, "there is no Chromium: run tests/machine/install chromium"
    expect.set_options(timeout=_PATIENCE)
    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox"], timeout=2 * _PATIENCE
        )
        try:
            yield opened
        finally:
            await opened.close()


@asynccontextmanager
async def window(opened: Browser, **options: Any) -> AsyncIterator[Window]:
    """A window of its own, with its own cookies."""
    context = await opened.new_context(**{"viewport": DESK, **options})
    context.set_default_timeout(_PATIENCE)
    page = await context.new_page()
    found = Window(page, context)

    def heard(said: ConsoleMessage) -> None:
        if said.type == "error" and _OF_THE_MACHINE not in said.text:
            found.complaints.append(said.text)

    page.on("console", heard)
    page.on("pageerror", lambda error: found.complaints.append(str(error)))
    page.on("request", lambda request: found.asked.add(urlsplit(request.url).netloc))
    try:
        yield found
    finally:
        await context.close()
