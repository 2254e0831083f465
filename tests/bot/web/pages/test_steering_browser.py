"""A fork's pull request is approved and an environment is rolled back, in a real Chromium, by who may."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser as Chromium
from playwright.async_api import expect

from tests.bot.decisions.test_environments_told import served
from tests.bot.web.people import Village, village
from tests.bot.web.test_approvals import of_a_fork
from tests.browser.chromium import PHONE, window
from tests.github import GitHub


@pytest.fixture
async def here(
    tmp_path: Path, github: GitHub, tables: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Village]:
    async with village(tmp_path, github, tables, monkeypatch) as made:
        yield made


@pytest.mark.timeout(400)
async def test_an_approval_and_a_rollback_are_a_few_clicks_and_each_is_written_down_once(
    here: Village, browser: Chromium, tmp_path: Path
) -> None:
    talk = here.talk
    number, sha = await of_a_fork(talk, tmp_path)
    new = await talk.push({"a": "# [skip ci]"}, message="[skip ci]")
    place = await served(talk, "staging", talk.first, new)
    here.github.world.visitor = here.github.user("walt")
    async with window(browser, viewport=PHONE, java_script_enabled=False) as seen:
        page = seen.page
        await page.goto(f"{here.url}/approvals")
        await page.click("text=Sign in with GitHub")
        await expect(page.locator("main")).to_contain_text(f"#{number}")
        await page.locator("summary", has_text=f"Approve {sha[:7]}").click()
        await page.get_by_label("Why, for the history").first.fill("looked at it")
        await page.get_by_role("button", name=f"Approve {sha[:7]}").click()
        await expect(page.locator("h1")).to_contain_text("Run ")
        await expect(page.locator("main")).to_contain_text("fork")

        await page.goto(f"{here.url}/environments/{place.id}")
        await page.locator("summary", has_text="Roll back to release 1").click()
        await page.locator("#why-1").fill("it is broken")
        await page.get_by_role("button", name="Roll back to release 1").click()
        await expect(page.locator("h1")).to_contain_text("Run ")
        assert seen.complaints == []

    runs = {run.cause: run for run in await talk.runs()}
    approved, back = runs["page approve"], runs["api rollback"]
    assert (approved.sha, approved.actor, approved.fork) == (sha, "walt", True)
    assert (back.sha, back.actor) == (talk.first, "walt")
    told = [(row.who, row.why) for row in await here.audit() if row.why]
    assert told == [("walt", "looked at it"), ("walt", "it is broken")]
