"""The pages in a real Chromium: how they look to everybody, and the log as somebody works with it."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Route, expect

from bot.jobs import lifecycle
from bot.store.database import Store
from bot.store.outputs import Outputs, Said
from bot.store.tables import Job, JobState
from config.settings import Settings
from tests.bot.web.pages import town
from tests.bot.web.pages.conftest import Scene, scene_of
from tests.bot.web.pages.surroundings import before
from tests.bot.web.pages.town import Town
from tests.browser.chromium import DESK, PHONE, Window, window
from workers.contract.messages import now

pytestmark = pytest.mark.timeout(600)
MANY = 200_000  # lines
# Sixty leaps through the page; gives the longest time without a frame, in milliseconds.
SCROLLS = """new Promise((done) => {
  let worst = 0, last = performance.now(), rounds = 60;
  const frame = () => {
    const at = performance.now();
    worst = Math.max(worst, at - last);
    last = at;
    scrollBy(0, 4000);
    rounds -= 1;
    rounds ? requestAnimationFrame(frame) : done(worst);
  };
  requestAnimationFrame(frame);
})"""
# Says so whenever something changed; is done when it is connected, since what was before is not told.
LISTENS = """new Promise((done) => {
  const news = new EventSource("/events");
  news.addEventListener("changed", () => console.log("told"));
  news.onopen = () => done();
})"""
SHOTS = os.environ.get("BLACKTREE_TEST_SHOTS", "")  # a folder, if somebody wants pictures of the pages


@pytest.fixture
async def here(scene: Scene) -> Town:
    return await town.made(scene.store, scene.logs)


@asynccontextmanager
async def looking(scene: Scene, browser: Browser, path: str = "/", **options: Any) -> AsyncIterator[Window]:
    """Somebody who follows a link that signs in, and goes to a page; at the end nothing was wrong."""
    async with window(browser, **options) as seen:
        await seen.page.goto(await scene.sessions.link(scene.url))
        await seen.page.click("text=Sign in to Blacktree")
        await seen.page.goto(scene.url + path)
        yield seen
        assert seen.complaints == []
        assert seen.asked == {scene.url.removeprefix("http://")}


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_every_page_is_accessible_and_fits(
    scene: Scene, browser: Browser, here: Town, theme: Any, size: Any
) -> None:
    async with looking(scene, browser, viewport=size, color_scheme=theme) as seen:
        for name, path in here.pages.items():
            await seen.page.goto(scene.url + path)
            if "job" in name:
                await expect(seen.page.locator("#log[data-ready]")).to_be_attached()
            assert await seen.violations() == [], name
            assert await seen.too_wide() <= 0, name
            if SHOTS:
                file = Path(SHOTS) / f"{name.replace(' ', '-')}-{theme}-{size['width']}.png"
                await seen.page.screenshot(path=file, full_page=True)
        seen.complaints = [
            said for said in seen.complaints if "404" not in said
        ]  # of a page that is not there


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_what_one_can_do_asks_once_more_and_is_accessible(
    scene: Scene, browser: Browser, here: Town, theme: Any
) -> None:
    async with looking(scene, browser, viewport=PHONE, color_scheme=theme) as seen:
        for path, names in (
            (
                "/environments/1",
                [
                    "Deploy",
                    "Lock",
                    "Maintenance",
                    "Stop",
                    "Put back 1",
                    "Roll back to release 1",
                ],
            ),
            (f"/jobs/{here.running.id}", ["Cancel"]),
        ):
            await seen.page.goto(scene.url + path)
            for name in names:
                await seen.page.locator("details.act > summary", has_text=name).click()
                await expect(seen.page.get_by_role("button", name=name, exact=True).last).to_be_visible()
                assert await seen.violations() == [], name
                assert await seen.too_wide() <= 0, name
                await seen.page.keyboard.press("Escape")
                await expect(seen.page.locator("details.act[open]")).to_have_count(0)
                await expect(seen.page.locator("details.act > summary", has_text=name)).to_be_focused()


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
async def test_a_form_in_a_table_is_not_cut_off_by_it(
    store: Store, browser: Browser, tmp_path: Path, size: Any
) -> None:
    settings = Settings(data_dir=tmp_path, queue_url="amqp://127.0.0.1")  # workers of their own: they drain
    async with scene_of(store, tmp_path, settings) as scene:
        await town.made(scene.store, scene.logs)
        async with looking(scene, browser, "/workers", viewport=size) as seen:
            await seen.page.locator("summary", has_text="Drain elm-1").click()
            button = seen.page.get_by_role("button", name="Drain elm-1")
            await expect(button).to_be_visible()
            table = seen.page.get_by_role("region", name="Table of workers")
            assert await table.evaluate("it => it.scrollHeight <= it.clientHeight")
            inner, outer = await button.bounding_box(), await table.bounding_box()
            assert inner
            assert outer
            assert inner["x"] + inner["width"] <= outer["x"] + outer["width"]
            assert await seen.violations() == []
            if SHOTS:
                file = Path(SHOTS) / f"drain-{size['width']}.png"
                await seen.page.screenshot(path=file, full_page=True)


async def test_the_door_is_accessible_and_a_wrong_token_is_told(scene: Scene, browser: Browser) -> None:
    async with window(browser) as seen:
        await seen.page.goto(scene.url + "/workers")
        assert await seen.violations() == []
        await seen.page.fill("#token", "a guess")
        await seen.page.keyboard.press("Enter")

        await expect(seen.page.get_by_role("alert")).to_contain_text("blacktree token")
        assert await seen.violations() == []


async def test_empty_pages_are_accessible(scene: Scene, browser: Browser) -> None:
    async with looking(scene, browser) as seen:
        for path in ("/", "/workers", "/deliveries", "/approvals", "/start", "/notifications"):
            await seen.page.goto(scene.url + path)
            assert await seen.violations() == [], path


async def test_a_log_is_followed_as_it_is_printed_and_its_page_learns_the_end(
    scene: Scene, browser: Browser, here: Town
) -> None:
    job, said = here.running, len(town.RUNNING)
    async with looking(scene, browser, f"/jobs/{job.id}") as seen:
        lines = seen.page.locator("#lines")
        await expect(lines).to_contain_text("#1 FROM node")
        await expect(seen.page.locator("#log-state")).to_have_text("live")
        for number in range(300):
            text = f"step {number} of the build\n"
            await scene.logs.append(job.id, 1, said, text)
            said += len(text)

        await expect(lines).to_contain_text("step 299 of the build")
        last = seen.page.locator(".row", has_text="step 299 ")
        await expect(last).to_be_in_viewport()

        await scene.logs.append(job.id, 1, said, "── build did not succeed after 9.0 s\n✗ no room\n")
        async with scene.store.transaction() as session:
            row = await session.get_one(Job, job.id)
            ended = {"sentence": "no room", "failed_step": "build", "ended_at": now()}
            assert await lifecycle.move(session, row, JobState.FAILED, **ended)
        await expect(seen.page.locator("h1 .state")).to_contain_text("failed")
        await expect(seen.page.locator("#log-state")).to_have_text("ended")
        await expect(lines.locator(".row.hot").nth(5)).to_be_attached()


async def test_after_a_cut_the_log_goes_on_where_it_was(scene: Scene, browser: Browser, here: Town) -> None:
    job, said = here.running, len(town.RUNNING)
    async with looking(scene, browser, f"/jobs/{job.id}") as seen:
        await expect(seen.page.locator("#log-state")).to_have_text("live")
        scene.live.stopping.set()  # as when the bot ends; and nobody answers for a moment
        await seen.context.set_offline(True)
        await expect(seen.page.locator("#log-state")).to_have_text("reconnecting…")
        await scene.logs.append(job.id, 1, said, "said meanwhile\n")
        scene.live.stopping.clear()
        await seen.context.set_offline(False)

        await expect(seen.page.locator("#lines")).to_contain_text("said meanwhile")
        assert await seen.page.locator(".row", has_text="#1 FROM node").count() == 1
        seen.complaints = [said for said in seen.complaints if "ERR_" not in said]  # the cut itself


async def test_what_failed_is_open_its_last_lines_are_marked_and_what_went_well_is_folded(
    scene: Scene, browser: Browser, here: Town
) -> None:
    async with looking(scene, browser, f"/jobs/{here.failed.id}") as seen:
        page = seen.page
        await expect(page.get_by_role("button", name="build, failed")).to_have_attribute(
            "aria-expanded", "true"
        )
        await expect(page.get_by_role("button", name="checkout, succeeded")).to_have_attribute(
            "aria-expanded", "false"
        )
        await expect(page.locator(".row.hot", has_text="ERROR: process")).to_be_visible()
        await page.get_by_role("button", name="checkout, succeeded").click()
        await expect(page.locator(".row", has_text="shop at 4444444")).to_be_visible()


async def test_a_line_has_an_address_and_so_has_a_range(scene: Scene, browser: Browser, here: Town) -> None:
    async with looking(scene, browser, f"/jobs/{here.failed.id}#L2") as seen:
        page = seen.page
        await expect(page.locator("#L2.chosen")).to_be_in_viewport()  # though its step is folded else
        await page.locator("#L7 a.n").click()
        await page.locator("#L9 a.n").click(modifiers=["Shift"])

        await expect(page).to_have_url(re.compile("#L7-L9$"))
        await expect(page.locator(".row.chosen")).to_have_count(3)
        await page.reload()
        await expect(page.locator(".row.chosen")).to_have_count(3)


async def test_keys_search_wrap_fold_and_say_what_they_are(
    scene: Scene, browser: Browser, here: Town
) -> None:
    async with looking(scene, browser, f"/jobs/{here.failed.id}") as seen:
        page = seen.page
        await expect(page.locator("#log[data-ready]")).to_be_attached()
        await page.keyboard.press("/")
        await page.keyboard.type("PRICE")
        await expect(page.locator("#log-found")).to_have_text("1 of 1")
        await expect(page.locator("mark")).to_have_text("price")
        await page.keyboard.press("Escape")
        await page.keyboard.press("w")
        await expect(page.locator("#log.wrapped")).to_be_attached()
        await page.keyboard.press("e")
        await expect(page.get_by_role("button", name="checkout, succeeded")).to_have_attribute(
            "aria-expanded", "true"
        )
        await page.keyboard.press("?")
        await expect(page.get_by_role("dialog")).to_contain_text("search the log")
        assert await seen.violations() == []
        await page.keyboard.press("Escape")
        await page.keyboard.press("g")
        await page.keyboard.press("w")
        await page.wait_for_url("**/workers")


async def test_a_log_has_its_colours_and_tells_when_its_lines_came(
    scene: Scene, browser: Browser, here: Town
) -> None:
    async with looking(scene, browser, f"/jobs/{here.failed.id}") as seen:
        page = seen.page
        wrong = page.locator(".row", has_text="the price has")
        await expect(wrong.locator(".t-c1")).to_have_text("✖ the price has its currency")
        await page.fill("#log-query", "currency (3")  # across the end of the colour
        await expect(page.locator("#log-found")).to_have_text("1 of 1")
        await expect(wrong.locator("mark")).to_have_text(["currency", " (3"])
        await expect(page.locator("time.at")).to_have_count(0)
        await page.click("[data-act=times]")
        await expect(wrong.locator("time.at")).to_have_text(re.compile(r"^\d\d:\d\d:\d\d\.\d$"))
        assert await seen.violations() == []
        await page.reload()
        await expect(wrong.locator("time.at")).to_be_visible()  # the choice is kept


async def test_two_hundred_thousand_lines_freeze_nothing(scene: Scene, browser: Browser, here: Town) -> None:
    offset = len(town.RUNNING)
    for start in range(0, MANY, 20_000):
        text = "".join(
            f"{number} a line of a build that says very much\n" for number in range(start, start + 20_000)
        )
        await scene.logs.append(here.running.id, 1, offset, text)
        offset += len(text)
    await ends(scene, here.running, "much")
    async with looking(scene, browser, f"/jobs/{here.running.id}") as seen:
        page = seen.page
        await expect(page.locator("#log[data-ready]")).to_be_attached()
        assert await page.locator(".row").count() < 3_000
        await page.keyboard.press("b")
        await expect(page.locator(".row", has_text="199999 a line")).to_be_in_viewport()
        await page.fill("#log-query", "123456 a")
        await expect(page.locator(".row.found", has_text="123456 a line")).to_be_in_viewport()
        assert await page.locator(".row").count() < 3_000
        # What freezes the page does so each time; a machine that does much else holds up one of them.
        longest = min([await page.evaluate(SCROLLS) for _ in range(3)])
        assert longest < 2_000  # milliseconds


async def test_the_overview_follows_what_happens(scene: Scene, browser: Browser, here: Town) -> None:
    async with looking(scene, browser) as seen:
        await expect(seen.page.locator("#live")).to_contain_text("Building on oak-2")
        await ends(scene, here.running, "the disk is full")

        await expect(seen.page.locator("#live")).to_contain_text("the disk is full")
        await expect(seen.page.locator("#live")).to_contain_text("Nothing is being built")


async def test_what_happens_before_a_page_is_connected_is_shown_too(
    scene: Scene, browser: Browser, here: Town
) -> None:
    done = asyncio.Event()

    async def late(route: Route) -> None:
        await done.wait()
        await route.fulfill(content_type="text/event-stream", body="retry: 600000\n\n")  # tells nothing

    async with looking(scene, browser, "/workers") as seen:
        await seen.page.route("**/events", late)
        await seen.page.goto(scene.url)
        await expect(seen.page.locator("#live")).to_contain_text("Building on oak-2")
        await ends(scene, here.running, "the disk is full")
        done.set()

        await expect(seen.page.locator("#live")).to_contain_text("the disk is full")


async def test_what_happens_while_an_answer_is_on_its_way_is_shown_too(
    scene: Scene, browser: Browser, here: Town
) -> None:
    answered, done = asyncio.Event(), asyncio.Event()

    async def late(route: Route) -> None:
        if route.request.is_navigation_request() or answered.is_set():
            await route.continue_()
            return
        answer = await route.fetch()
        answered.set()
        await done.wait()
        await route.fulfill(response=answer)

    async with looking(scene, browser, "/workers") as seen:
        await seen.page.route(scene.url + "/", late)
        await seen.page.goto(scene.url)
        await answered.wait()
        async with seen.page.expect_event("console", lambda said: said.text == "told"):
            await seen.page.evaluate(LISTENS)
            await ends(scene, here.running, "the disk is full")
        done.set()

        await expect(seen.page.locator("#live")).to_contain_text("the disk is full")


async def ends(scene: Scene, job: Job, sentence: str) -> None:
    async with scene.store.transaction() as session:
        row = await session.get_one(Job, job.id)
        assert await lifecycle.move(session, row, JobState.FAILED, sentence=sentence, ended_at=now())


async def test_a_job_that_nobody_began_shows_its_log_when_somebody_does(
    scene: Scene, browser: Browser, here: Town
) -> None:
    waiting = f"{here.running.run_id}-2"
    async with looking(scene, browser, f"/jobs/{waiting}") as seen:
        await expect(seen.page.locator("main")).to_contain_text("No worker has begun it yet")
        assert await seen.violations() == []
        async with scene.store.transaction() as session:
            row = await session.get_one(Job, waiting)
            begun = {"attempt": 1, "worker": "oak-1", "started_at": before(seconds=1)}
            assert await lifecycle.move(session, row, JobState.RUNNING, **begun)
        await scene.logs.append(waiting, 1, 0, "the first line\n")

        await expect(seen.page.locator("#lines")).to_contain_text("the first line")


@pytest.mark.parametrize("path", ["/environments/1", "/environments/1/output?process=web&search=get"])
async def test_what_containers_print_is_followed_without_losing_a_line_over_a_cut(
    scene: Scene, browser: Browser, here: Town, tmp_path: Path, path: str
) -> None:
    outputs = Outputs.of(Settings(data_dir=tmp_path))

    async def say(number: int, release: int, text: str) -> None:
        await outputs.append(1, [Said(number * 10**9, text, "web", "shop", f"c{release}", release)])

    assert here.pages
    await say(1, 1, "GET /<b>old</b>")
    async with looking(scene, browser, path) as seen:
        lines = seen.page.locator("#output .lines p")
        await expect(lines).to_have_text(["00:00:01 web 1 GET /<b>old</b>"])
        await expect(seen.page.locator("#output [role=status]")).to_have_text("live")
        await say(2, 2, "GET /new")
        await expect(lines).to_have_text(["00:00:01 web 1 GET /<b>old</b>", "00:00:02 web 2 GET /new"])
        assert await seen.violations() == []
        assert await seen.too_wide() <= 0

        await seen.page.evaluate("dispatchEvent(new Event('pagehide'))")
        await say(3, 2, "GET /meanwhile")
        await seen.page.evaluate("dispatchEvent(new Event('pageshow'))")
        await say(4, 2, "GET /then")
        await expect(lines.last).to_have_text("00:00:04 web 2 GET /then")
        await expect(lines).to_have_count(4)


async def test_the_colours_are_chosen_by_hand_too(scene: Scene, browser: Browser) -> None:
    async with looking(scene, browser, color_scheme="light") as seen:
        ground = "getComputedStyle(document.body).backgroundColor"
        light = await seen.page.evaluate(ground)
        await seen.page.locator(".menu summary").click()
        assert await seen.violations() == []
        await seen.page.get_by_role("button", name="dark").click()

        await expect(seen.page.locator("html[data-theme=dark]")).to_be_attached()
        assert await seen.page.evaluate(ground) != light


async def test_everything_can_be_read_without_a_script(scene: Scene, browser: Browser, here: Town) -> None:
    async with looking(scene, browser, f"/jobs/{here.failed.id}", java_script_enabled=False) as seen:
        await expect(seen.page.locator("#lines")).to_contain_text("the price has its currency")
        await seen.page.get_by_role("link", name="Overview").first.click()
        await expect(seen.page.locator("main")).to_contain_text("What went wrong last")
        await seen.page.locator(".menu summary").click()
        await seen.page.get_by_role("button", name="Sign out").click()
        await expect(seen.page.get_by_role("heading")).to_have_text("Sign in")
