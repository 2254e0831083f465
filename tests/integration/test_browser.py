"""A build of a real worker in a real browser: followed, over cuts and a bot that is killed, and cancelled."""

from __future__ import annotations

import re
from pathlib import Path
from uuid import uuid4

from playwright.async_api import Page, expect

from tests.browser import chromium
from tests.instance import Instance
from tests.integration.conftest import PAGE, Developer, dockerfile
from tests.integration.test_truths import _fleet as fleet_of
from tests.parts.broker import Broker
from tests.parts.registry import Registry

LONG = 6000  # lines of the build, a tenth of a second apart: cancelled long before, however slow all is


def talkative() -> str:
    """A build that prints `said 1.`, `said 2.` and so on, in red."""
    said = r"printf '\033[31msaid %s.\033[0m\n' $i"
    return f"RUN echo {uuid4().hex}; for i in $(seq {LONG}); do {said}; sleep 0.1; done"


async def last_said(fleet: Instance, job: str) -> int:
    """The last number that the bot has of a build."""
    numbers = re.findall(r"said (\d+)\.$", await fleet.text(f"/jobs/{job}/log"), re.M)
    return int(numbers[-1])


async def says(fleet: Instance, job: str) -> bool:
    return "said 1." in await fleet.text(f"/jobs/{job}/log")


async def has_once(page: Page, *numbers: int) -> None:
    """The page has, or gets, each of these lines, and none of them twice."""
    for number in numbers:
        await page.fill("#log-query", f"said {number}.")
        await expect(page.locator("#log-found")).to_have_text(re.compile("^[01] of 1$"))


async def test_a_build_is_followed_over_cuts_and_a_killed_bot_and_cancelled_there(
    developer: Developer, tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    async with (
        fleet_of(developer.github, tmp_path, broker, registry, lease="600") as fleet,
        chromium.browser() as browser,
        chromium.window(browser) as seen,
    ):
        bot = await fleet.start("serve")
        await fleet.ready()
        await fleet.start("worker", "one")
        page = seen.page
        await page.goto(f"{fleet.url}/sign-in")
        await page.fill("#token", fleet.token())
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("navigation", name="Main")).to_be_visible()
        await developer.push({"Dockerfile": dockerfile(talkative()), PAGE: "never"})
        job = await fleet.job("build", "running")
        await fleet.until(lambda: says(fleet, job["id"]), "the build to say something", 120)

        await page.goto(f"{fleet.url}/jobs/{job['id']}")
        state = page.locator("#log-state")
        await expect(page.locator(".row .t-c1").first).to_contain_text("said")
        await expect(state).to_have_text("live")

        await seen.context.set_offline(True)
        await expect(state).to_have_text("reconnecting…")
        cut = await last_said(fleet, job["id"])
        await seen.context.set_offline(False)
        await expect(state).to_have_text("live")
        await has_once(page, cut, cut + 1, cut + 2)

        await bot.kill()
        await expect(state).to_have_text("reconnecting…")
        await fleet.start("serve")
        await expect(state).to_have_text("live")
        killed = await last_said(fleet, job["id"])
        await has_once(page, 1, cut, killed - 2, killed - 1, killed, killed + 1)

        await page.locator("details.act > summary", has_text="Cancel").click()
        await page.locator("details.act[open] button.main").click()
        await expect(page.locator("h1 .state")).to_contain_text("cancelled")
        await expect(state).not_to_have_text("live")
        ended = await fleet.job("build", "cancelled")

        assert ended["attempt"] == 1  # nothing was begun again
        # But of the cuts themselves, and of a bot that has no store yet.
        assert [said for said in seen.complaints if "ERR_" not in said and "503" not in said] == []
        assert seen.asked == {fleet.url.removeprefix("http://")}
