"""Signing in with GitHub: who comes in, as whom, and what can't be done with a state, a code or a session."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.async_api import Browser as Chromium
from playwright.async_api import expect
from sqlmodel import select

from bot.github.people import challenge
from bot.store.tables import SessionRow
from bot.web import permissions
from tests.bot.web.people import OUTSIDER, ROOT, Browser, Things, Village, village
from tests.browser.chromium import window
from tests.github import Fault, GitHub

CALLBACK = "/sign-in/github/callback"


@pytest.fixture
async def here(
    tmp_path: Path,
    github: GitHub,
    tables: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> AsyncIterator[Village]:
    more = getattr(request, "param", {})
    async with village(tmp_path, github, tables, monkeypatch, **more) as made:
        yield made


def query(location: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}


async def begun(here: Village, browser: Browser, path: str = "/sign-in/github") -> tuple[str, str]:
    """Where GitHub sends the browser back to, and the state."""
    here.github.world.visitor = here.github.user("walt")
    there = (await browser.get(path)).headers["location"]
    back = (await browser.http.get(there)).headers["location"]
    return back, query(back)["state"]


async def test_somebody_comes_in_as_who_they_are_at_github_and_goes_where_they_wanted(here: Village) -> None:
    browser = await here.somebody()
    led = await browser.get("/workers")
    form = await browser.get(led.headers["location"])
    assert 'href="/sign-in/github?next=/workers"' in form.text

    done = await here.arrives(browser, "walt", "/sign-in/github?next=/workers")

    assert (done.status_code, done.headers["location"]) == (303, "/workers")
    assert "Where walt is signed in" in (await browser.get("/")).text
    [signed] = [row for row in await here.audit() if row.what == "signed in"]
    assert (signed.who, signed.how, signed.address) == ("walt", "a session, by GitHub", "127.0.0.1")


async def test_a_code_is_bound_to_this_browser_by_state_and_to_this_bot_by_a_verifier(
    here: Village,
) -> None:
    browser = await here.somebody()
    answer = await browser.get("/sign-in/github")
    asked, [cookie] = query(answer.headers["location"]), SimpleCookie(answer.headers["set-cookie"]).values()

    assert asked["code_challenge_method"] == "S256"
    assert len(asked["code_challenge"]) == len(challenge("x")) == 43
    assert asked["redirect_uri"] == f"{here.url}{CALLBACK}"
    assert cookie["httponly"]
    assert cookie["samesite"] == "lax"
    assert asked["state"] not in cookie.value


async def test_a_state_is_good_once_in_its_own_browser_and_for_ten_minutes(
    here: Village, monkeypatch: pytest.MonkeyPatch
) -> None:
    walt, other = await here.somebody(), await here.somebody()
    back, _ = await begun(here, walt)
    kept = dict(walt.http.cookies)

    stolen = await other.get(back)  # by somebody who has seen the address, to be signed in as walt
    _, theirs = await begun(here, other)
    mixed = await walt.get(f"{CALLBACK}?{urlencode({**query(back), 'state': theirs})}")
    first = await walt.get(back)
    walt.http.cookies.update(kept)
    again = await walt.get(back)
    monkeypatch.setattr("bot.web.sessions.STATE_LIFE", timedelta(seconds=-1))
    late_back, _ = await begun(here, late := await here.somebody())
    late_answer = await late.get(late_back)

    assert [one.status_code for one in (stolen, mixed, first, again, late_answer)] == [
        400,
        400,
        303,
        400,
        400,
    ]
    assert "begin here again" in again.text
    assert "set-cookie" not in stolen.headers


async def test_a_code_signs_in_once_and_only_the_browser_whose_verifier_goes_with_it(here: Village) -> None:
    browser = await here.somebody()
    used, _ = await begun(here, browser)
    assert (await browser.get(used)).status_code == 303
    # Of somebody who would have others signed in as themselves, and began by a way of their own.
    theirs, _ = await begun(here, await here.somebody())
    for back in (used, theirs):
        _, state = await begun(here, other := await here.somebody())
        answer = await other.get(f"{CALLBACK}?{urlencode({'code': query(back)['code'], 'state': state})}")
        assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)


async def test_a_session_that_was_put_into_a_browser_is_not_the_one_that_signs_in(here: Village) -> None:
    attacker = await here.signed_in("rita")
    victim = await here.somebody()
    for cookie in attacker.http.cookies.jar:
        victim.http.cookies.jar.set_cookie(cookie)

    await here.arrives(victim, "walt")

    assert dict(victim.http.cookies) != dict(attacker.http.cookies)
    assert "Where walt is signed in" in (await victim.get("/")).text
    assert (await attacker.get("/")).status_code == 303  # what was planted is over


async def test_one_is_led_to_no_other_host_after_it(here: Village) -> None:
    for wanted in ("https://evil.test", "//evil.test", "/\\evil.test", "javascript:x"):
        path = f"/sign-in/github?{urlencode({'next': wanted})}"
        assert (await here.arrives(await here.somebody(), "walt", path)).headers["location"] == "/"


async def test_who_reads_no_more_here_than_everybody_may_not_come_in(here: Village) -> None:
    refused = await here.arrives(await here.somebody(), "stranger")

    assert refused.status_code == 403
    assert "stranger may not sign in here" in refused.text
    assert not any(name.startswith("blacktree-") and value for name, value in refused.cookies.items())


@pytest.mark.parametrize("here", [{"organizations": "acme"}], indirect=True)
async def test_where_organisations_are_named_their_members_come_in_and_stay_while_they_are(
    here: Village, monkeypatch: pytest.MonkeyPatch
) -> None:
    github = here.github
    github.world.installations[next(iter(github.world.installations))].permissions["members"] = "read"
    github.members["acme"] |= {"walt"}
    walt, token = await here.signed_in("walt"), await here.token("walt")
    assert (await here.arrives(await here.somebody(), "rita")).status_code == 403
    assert (await here.arrives(await here.somebody(), ROOT)).status_code == 303
    assert (await walt.http.get("/api/v1/runs", headers=token)).status_code == 200

    github.members["acme"].clear()
    assert (await walt.get("/")).status_code == 200  # GitHub's word of a minute ago
    monkeypatch.setattr(permissions, "FRESH", 0.0)

    assert (await walt.get("/")).status_code == 303
    assert "Sign in with GitHub" in (await walt.get("/sign-in")).text
    assert (await walt.http.get("/api/v1/runs", headers=token)).status_code == 401


async def test_while_github_is_away_what_it_said_holds_for_a_minute_and_then_nobody_is_let_in(
    here: Village, monkeypatch: pytest.MonkeyPatch
) -> None:
    things = await Things.made(here.talk)
    walt, root = await here.signed_in("walt"), await here.signed_in(ROOT)
    path = f"/environments/{things.environment}"
    assert (await walt.get(path)).status_code == 200

    here.github.faults.add(Fault(path="/collaborators/", status=502, times=10**6))
    kept = await walt.get(path)
    monkeypatch.setattr(permissions, "FRESH", 0.0)
    away, listed = await walt.get(path), await walt.get("/")
    order = await walt.post(f"{path}/stop")

    assert kept.status_code == 200
    assert {one.status_code for one in (away, listed, order)} == {503}
    assert "GitHub does not say" in away.text
    assert (await root.get(path)).status_code == 200  # whose rights are this instance's own
    assert not [run for run in await here.talk.runs() if run.cause == "api stop"]


async def test_when_github_is_away_one_is_told_to_come_again(here: Village) -> None:
    for path in ("/login/oauth/access_token", "^/user$"):
        here.github.faults.add(Fault(path=path, status=502))
        answer = await here.arrives(await here.somebody(), "walt")
        assert (answer.status_code, "in a minute" in answer.text) == (503, True)


async def test_another_account_that_got_the_name_has_nothing_of_it(here: Village) -> None:
    things = await Things.made(here.talk)
    walt = await here.signed_in("walt")
    async with here.talk.store.transaction() as session:
        [row] = (await session.exec(select(SessionRow).where(SessionRow.login == "walt"))).all()
        row.account_id = 1

    assert (await walt.get(f"/environments/{things.environment}")).status_code == 404


async def test_one_sees_and_ends_ones_own_sessions_alone(here: Village) -> None:
    walt, rita, root = [await here.signed_in(login) for login in ("walt", "rita", ROOT)]
    async with here.talk.store.reading() as session:
        marks = {row.login: row.mark for row in (await session.exec(select(SessionRow))).all()}
    shown = (await rita.get("/sessions")).text
    assert (marks["rita"] in shown, marks["walt"] in shown) == (True, False)

    await rita.post("/sign-out", mark=marks["walt"])
    assert (await walt.get("/")).status_code == 200
    await root.post("/sign-out", mark=marks["walt"])

    assert (await walt.get("/")).status_code == 303


async def test_who_orders_by_a_page_is_who_the_gates_ask_for(here: Village) -> None:
    """`walt` may write, and is no deployer of production."""
    things = await Things.made(here.talk)
    walt, grace = await here.signed_in("walt"), await here.signed_in("grace")
    path = f"/environments/{things.environment}/deploy"

    held, done = await walt.post(path), await grace.post(path, why="the fair begins")

    assert held.status_code == 409, held.text
    assert "walt" in held.text
    assert done.status_code == 303, done.text
    [run] = [run for run in await here.talk.runs() if run.cause == "api deploy"]
    assert run.actor == "grace"
    [row] = [row for row in await here.audit() if row.why]
    assert (row.who, row.why, row.repository_id) == ("grace", "the fair begins", here.talk.repository.id)
    assert row.what.startswith("production: deploys ")


async def test_the_administrators_see_who_changed_what(here: Village) -> None:
    things = await Things.made(here.talk)
    grace, root = await here.signed_in("grace"), await here.signed_in(ROOT)
    await grace.post(f"/environments/{things.environment}/close", text="Back soon")

    page, api = await root.get("/audit"), await here.talk.api.get("/audit", params={"who": "grace"})

    assert "production is in maintenance" in page.text
    assert [(row["what"], row["repository"]) for row in api.json()] == [
        ("production: production is in maintenance", "acme/shop"),
        ("signed in", None),
    ]
    assert (await grace.get("/audit")).status_code == 403


@pytest.mark.timeout(400)
async def test_in_a_browser_somebody_signs_in_and_a_reader_sees_no_buttons(
    here: Village, browser: Chromium
) -> None:
    things = await Things.made(here.talk)
    path = f"/environments/{things.environment}"
    for login, buttons in (("rita", 0), ("walt", 1)):
        here.github.world.visitor = here.github.user(login)
        async with window(browser) as seen:
            await seen.page.goto(here.url + path)
            assert await seen.violations() == []
            await seen.page.click("text=Sign in with GitHub")
            await expect(seen.page).to_have_url(here.url + path)
            await expect(seen.page.locator("h1")).to_contain_text("production")
            await expect(seen.page.locator("details.act", has_text="Stop")).to_have_count(buttons)
            await seen.page.goto(here.url + "/tokens")
            assert await seen.violations() == []
            assert await seen.too_wide() <= 0
            assert seen.complaints == []


async def test_nobody_reads_anothers_repository_by_a_run_that_is_like_theirs(here: Village) -> None:
    things = await Things.made(here.talk)
    otto = await here.signed_in(OUTSIDER)

    assert (await otto.get(f"/jobs/{things.job}/follow")).status_code == 404
    assert "acme/shop" not in (await otto.get("/")).text
    assert "acme/other" in (await otto.get("/")).text
