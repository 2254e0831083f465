"""What somebody does by a page, to a bot that has no worker: what the API does, held by the same gates."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx2
import pytest
from sqlmodel import select

from bot.store.tables import Environment, Job, JobState, Release
from tests.bot.conftest import Rows
from tests.bot.decisions.test_environments_told import served
from tests.bot.talk import Talk
from tests.bot.web.pages.conftest import HTML
from workers.contract.messages import Kind

FILE = """
environments:
  production: {}
  preview: {}
"""


@dataclass
class Browser:
    """Somebody who is signed in, and sends forms as our pages do."""

    http: httpx2.AsyncClient
    url: str
    csrf: str = ""

    async def page(self, path: str) -> str:
        answer = await self.http.get(path, headers=HTML)
        assert answer.status_code == 200
        return answer.text

    async def send(self, path: str, **fields: str) -> httpx2.Response:
        told = {"csrf": self.csrf, **fields}
        return await self.http.post(path, data=told, headers={**HTML, "origin": self.url})


@pytest.fixture
async def browser(talk: Talk) -> AsyncIterator[Browser]:
    url = str(talk.api.base_url).removesuffix("/api/v1/")
    token = talk.api.headers["authorization"].removeprefix("Bearer ")
    async with httpx2.AsyncClient(base_url=url, timeout=60) as http:
        here = Browser(http, url)
        assert (await here.send("/sign-in", token=token)).status_code == 303
        [here.csrf, *_] = re.findall(r'name="csrf" value="(\w+)"', await here.page("/"))
        yield here


async def test_an_earlier_release_is_rolled_back_to_once_and_says_who_and_why(
    talk: Talk, browser: Browser
) -> None:
    old, new = talk.first, await talk.push({"a": "# [skip ci]"}, message="[skip ci]")
    place = await served(talk, "production", old, new)
    page = await browser.page(f"/environments/{place.id}")
    [release] = re.findall(r'name="release" value="(\d+)"', page)
    at = f"/environments/{place.id}/rollback"

    done = await browser.send(at, release=release, why="it is broken", key="once")
    again = await browser.send(at, release=release, why="it is broken", key="once")

    [run] = [run for run in await talk.runs() if run.cause == "api rollback"]
    assert (done.status_code, done.headers["location"]) == (303, f"/runs/{run.id}")
    assert again.status_code == 303
    assert (run.actor, run.sha) == ("administrator", old)
    [job] = await talk.jobs(run)
    assert job.spec["why"] == "it is broken"


async def test_a_lock_holds_what_a_page_asks_for(talk: Talk, browser: Browser) -> None:
    place = await served(talk, "production", talk.first, talk.first)
    number, _ = await talk.open_pull({"a": "1"})
    await talk.done(number, "/lock production the fair is on")

    for act in ("rollback", "stop"):
        held = await browser.send(f"/environments/{place.id}/{act}")
        assert held.status_code == 409, held.text
        assert "production is locked by ada" in held.text


async def test_an_environment_is_closed_opened_and_stopped(talk: Talk, browser: Browser) -> None:
    place = await served(talk, "production", talk.first)
    at = f"/environments/{place.id}"

    await browser.send(f"{at}/close", text="We move house")
    assert "Visitors are told: We move house" in await browser.page(at)
    await browser.send(f"{at}/open")
    assert "We move house" not in await browser.page(at)
    stopped = await browser.send(f"{at}/stop", why="enough")

    [run] = [run for run in await talk.runs() if run.cause == "api stop"]
    assert stopped.headers["location"] == f"/runs/{run.id}"


async def test_a_task_is_run_from_its_environments_page_and_its_end_stands_there(
    talk: Talk, browser: Browser
) -> None:
    place = await served(talk, "production", talk.first)
    async with talk.store.transaction() as session:
        for release in (await session.exec(select(Release))).all():
            release.settings = {**release.settings, "tasks": {"nightly": {"command": ["./clean"]}}}
    at = f"/environments/{place.id}"
    assert "it never ran" in await browser.page(at)

    begun = await browser.send(f"{at}/run", task="nightly")

    [run] = [run for run in await talk.runs() if run.cause == "api run"]
    assert (run.actor, begun.headers["location"]) == ("administrator", f"/runs/{run.id}")
    assert f"/jobs/{run.id}-1" in await browser.page(at)
    assert "task nightly of production" in await browser.page(f"/jobs/{run.id}-1")


async def test_a_job_that_nobody_began_is_cancelled_at_once(talk: Talk, browser: Browser) -> None:
    await talk.push({"a": "1"})
    await talk.until_run("push")
    [run] = await talk.runs()
    [build, *_] = await talk.jobs(run)
    assert f"/jobs/{build.id}/cancel" in await browser.page(f"/jobs/{build.id}")

    assert (await browser.send(f"/jobs/{build.id}/cancel")).status_code == 303

    async with talk.store.reading() as session:
        job = await session.get_one(Job, build.id)
    assert (job.state, job.sentence) == (JobState.CANCELLED, "Cancelled by administrator")
    assert f"/jobs/{build.id}/cancel" not in await browser.page(f"/jobs/{build.id}")


async def test_a_preview_is_woken(talk: Talk, browser: Browser) -> None:
    place = await served(talk, "production", talk.first)
    rows = Rows(talk.store)
    await rows.job(await rows.run(), id="production 1", kind=Kind.DEPLOY, name="production")
    async with talk.store.transaction() as session:
        row = await session.get_one(Environment, place.id)
        row.asleep = row.stopped = True
    assert "/wake" in await browser.page(f"/environments/{place.id}")

    assert (await browser.send(f"/environments/{place.id}/wake")).status_code == 303
    assert "wake" in {run.cause for run in await talk.runs()}


async def test_nothing_is_changed_without_what_our_page_told(talk: Talk, browser: Browser) -> None:
    place = await served(talk, "production", talk.first, talk.first)
    bearer = dict(talk.api.headers)
    for path in (f"/environments/{place.id}/stop", f"/environments/{place.id}/wake", "/jobs/1-1/cancel"):
        assert (await browser.send(path, csrf="")).status_code == 403
        assert (await browser.http.post(path, data={"csrf": browser.csrf})).status_code == 403
        async with httpx2.AsyncClient(base_url=browser.url, timeout=60) as stranger:
            assert (await stranger.post(path, headers={"origin": browser.url})).status_code == 401
            # Programs have the API for it.
            token = {"authorization": bearer["authorization"], "origin": browser.url}
            assert (await stranger.post(path, headers=token)).status_code == 403

    assert await talk.runs() == []


async def test_what_is_no_order_is_refused(talk: Talk, browser: Browser) -> None:
    place = await served(talk, "production", talk.first)
    at = f"/environments/{place.id}"

    assert (await browser.send(f"{at}/destroy")).status_code == 404
    assert (await browser.send("/environments/99/stop")).status_code == 404
    assert (await browser.send("/jobs/1-99/cancel")).status_code == 404
    assert (await browser.send(f"{at}/rollback", release="999")).status_code == 422
    assert (await browser.send(f"{at}/close", text="x" * 501)).status_code == 400
