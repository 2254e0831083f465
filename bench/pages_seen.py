"""A line of a build, from where it is printed to a browser that has painted it.

RabbitMQ, a registry, `blacktree serve`, `blacktree worker` and Chromium are real, and so is the build:
BuildKit, by the docker CLI that the machine has. Each line has in it when it was printed, by the clock that a
container and its machine share (/proc/uptime, of hundredths of a second: an age is up to 10 ms too much).
Beside it: the same build by the docker CLI alone, until this process has read the line: BuildKit and its
CLI gather lines, too.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median, quantiles
from uuid import uuid4

from playwright.async_api import Page, expect

from bench.world import BASE_IMAGE, docker
from tests.browser import chromium
from tests.github import GitHub
from tests.instance import Instance, instance
from tests.parts.broker import Broker
from tests.parts.engine import Engine
from tests.parts.registry import Registry

LINES, EVERY = 100, 0.17  # seconds between two
FEWEST = 40  # lines that were printed while somebody looked on
GOAL = 150.0  # milliseconds
_BEFORE = 6  # seconds that a build is silent at first, so that a browser is there before it speaks
_LAST, _LOOK = 60.0, 1.0  # seconds that a browser may take for its last line, and between two looks at it
_SAID = re.compile(rb"said (\d+) at ([\d.]+)")
# What is painted is in the document one frame before: the task after a frame is after it.
_WATCH = """() => {
  window.seen = {};
  const look = () => {
    for (const row of document.querySelectorAll("#lines .row .t")) {
      const said = /said (\\d+) at ([\\d.]+)/.exec(row.textContent);
      if (!said || window.seen[said[1]]) continue;
      window.seen[said[1]] = [said[2], 0];
      requestAnimationFrame(() => setTimeout(() => { window.seen[said[1]][1] = Date.now(); }));
    }
  };
  new MutationObserver(look).observe(document.getElementById("lines"), { childList: true, subtree: true });
  return Date.now();
}"""


async def main() -> bool:
    """Print the figures; whether a line is seen within the goal."""
    folder = Path(tempfile.mkdtemp(prefix="blacktree-bench-"))
    try:
        async with AsyncExitStack() as stack:
            broker, registry = stack.enter_context(Broker()), stack.enter_context(Registry())
            engine = stack.enter_context(Engine())
            engine.base_image()
            stack.callback(engine.remove, "io.blacktree.repository=acme/shop")
            github = await stack.enter_async_context(GitHub.running(folder / "github"))
            known = {
                "queue_url": broker.amqp_url, "registry": f"{registry.address}/acme",
                "registry_username": registry.username, "registry_password": registry.password,
            }  # fmt: skip
            here = await stack.enter_async_context(instance(folder, github, proxy="none", **known))
            ours = await _ours(here, github, folder)
        theirs = await _theirs(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for what, ages, goal in (
        ("a line seen in Chromium, after it was printed", ours, f"   goal p50 {GOAL:.0f} ms"),
        ("the same with `docker build` alone, when read", theirs, ""),
    ):
        p50, p95 = median(ages), quantiles(ages, n=20)[-1]
        print(f"{what:<48} p50 {p50:6.0f} ms   p95 {p95:6.0f} ms   of {len(ages)}{goal}", flush=True)
    print(f"{'of that ours':<48} p50 {median(ours) - median(theirs):6.0f} ms", flush=True)
    return median(ours) < GOAL


def _dockerfile() -> str:
    says = 'read up rest </proc/uptime; echo "said $i at $up"'
    loop = f"for i in $(seq {LINES}); do {says}; usleep {EVERY * 1e6:.0f}; done"
    return f"FROM {BASE_IMAGE}\nRUN echo {uuid4().hex}; sleep {_BEFORE}; {loop}\n"


async def _ours(here: Instance, github: GitHub, folder: Path) -> list[float]:
    """Milliseconds of each line that was printed while the browser looked on."""
    ada = github.user("ada")
    shop = await github.create_repository("acme/shop", {"README.md": "shop"}, collaborators={"ada": "write"})
    github.install_app(shop)
    await here.start("serve")
    await here.ready()
    await here.start("worker", "one")
    work = await shop.clone(folder / "work", ada)
    async with chromium.browser() as browser, chromium.window(browser) as window:
        page = window.page
        await page.goto(f"{here.url}/sign-in")
        await page.fill("#token", here.token())
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("navigation", name="Main")).to_be_visible()
        await work.commit({"Dockerfile": _dockerfile()})
        await work.push(branch="main")
        job = await here.job("build", "running")
        await page.goto(f"{here.url}/jobs/{job['id']}")
        await expect(page.locator("#log-state")).to_have_text("live")
        return await _seen(page)


async def _seen(page: Page) -> list[float]:
    since: float = await page.evaluate(_WATCH)
    async with asyncio.timeout(_LAST):  # what Playwright would look with inside is no script of ours: see CSP
        while not await page.evaluate(f"(window.seen[{LINES}] || [])[1] > 0"):
            await asyncio.sleep(_LOOK)
    found: dict[str, tuple[str, float]] = await page.evaluate("window.seen")
    printed = {number: _moment(up) for number, (up, _) in found.items()}
    ages = [at - printed[number] for number, (_, at) in found.items() if printed[number] > since]
    if len(ages) < FEWEST:
        raise RuntimeError(f"{len(ages)} lines came while the browser was there: the machine is too busy")
    return ages


async def _theirs(folder: Path) -> list[float]:
    """Milliseconds of each line when `docker build` says it."""
    there = folder / "theirs"
    there.mkdir(parents=True)
    (there / "Dockerfile").write_text(_dockerfile())
    child = await asyncio.create_subprocess_exec(
        docker(), "build", "--progress=plain", str(there),
        env={**os.environ, "DOCKER_BUILDKIT": "1"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert child.stdout is not None
    ages = [
        1000 * time.time() - _moment(said[2].decode())
        async for line in child.stdout
        if (said := _SAID.search(line))
    ]
    if await child.wait():
        raise RuntimeError(f"docker build ended with {child.returncode}")
    return ages


def _moment(up: str) -> float:
    """A machine's uptime in seconds as milliseconds since 1970."""
    return 1000 * (float(up) + time.time() - time.clock_gettime(time.CLOCK_BOOTTIME))


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(main()) else 1)
