"""Somebody who wants more than they may have: by what is told on the side, by names, by what was taken."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from bot.store.tables import ContainerRow, Release, ReleaseState, Repository
from bot.web import permissions
from bot.web.rules import RULES, Of
from tests.bot.web.people import OUTSIDER, ROOT, Things, Village, village
from tests.github import Fault, GitHub


@pytest.fixture
async def here(
    tmp_path: Path,
    github: GitHub,
    tables: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> AsyncIterator[Village]:
    async with village(tmp_path, github, tables, monkeypatch, **getattr(request, "param", {})) as made:
        yield made


async def test_what_an_app_printed_before_it_ended_is_for_who_may_see_what_it_prints(here: Village) -> None:
    things = await Things.made(here.talk)
    async with here.talk.store.transaction() as session:
        for release in (await session.exec(select(Release))).all():
            release.last_lines = "order of Ada Lovelace"
            if release.state is ReleaseState.LIVE:
                release.worker = "one"
                known: dict[str, Any] = {"worker": "one", "name": "shop", "release_id": release.id}
                session.add(ContainerRow(**known, running=False, last_lines="order of Ada Lovelace"))
    place = f"/environments/{things.environment}"
    paths = ["/environments", place, f"{place}/releases", f"/releases/{things.release}"]
    for login, scope, sees in (
        ("rita", "admin", False),
        ("walt", "read", False),
        ("walt", "deploy", True),
        (ROOT, "read", False),
        (ROOT, "deploy", True),
        ("", "read", False),
        ("", "deploy", True),
    ):
        token = await here.token(login, scope)
        for path in paths:
            text = (await here.talk.api.get(path, headers=token)).text
            many = path == "/environments" and login == "walt"  # one's rights on each are not asked for
            assert ("Ada" in text) is (sees and not many), (login, scope, path, text)
    for login, sees in (("rita", False), ("walt", True)):
        assert ("Ada" in (await (await here.signed_in(login)).get(place)).text) is sees


async def test_whoever_makes_a_repository_of_a_name_that_was_given_up_may_nothing_on_the_one_before(
    here: Village,
) -> None:
    """The bot was told of neither yet."""
    things, github, shop = await Things.made(here.talk), here.github, here.talk.repository
    github.rename(shop, "acme/shop-of-before")
    other = await github.create_repository("acme/shop", {"README.md": "x"}, collaborators={OUTSIDER: "admin"})
    github.install_app(shop, other)
    otto, walt = await here.signed_in(OUTSIDER), await here.signed_in("walt")

    for path in (f"/environments/{things.environment}", f"/jobs/{things.job}/log", "/repositories/acme/shop"):
        assert (await otto.get(path)).status_code == 404, path
        assert (await walt.get(path)).status_code == 200, path
    assert "acme/shop" not in (await otto.get("/")).text


async def test_of_two_repositories_that_had_a_name_a_page_shows_the_newer_to_who_may_see_it(
    here: Village,
) -> None:
    things, other = await Things.made(here.talk), here.github.world.find("acme", "other")
    assert other
    async with here.talk.store.transaction() as session:
        (await session.get_one(Repository, other.id)).full_name = "acme/shop"

    page = await (await here.signed_in(OUTSIDER)).get("/repositories/acme/shop")

    assert page.status_code == 200
    assert f"/environments/{things.environment}" not in page.text


async def test_a_number_of_thousands_of_digits_is_nothing_that_is_there(here: Village) -> None:
    walt, token, number = await here.signed_in("walt"), await here.token("walt"), "1" * 5000

    for path in (f"/environments/{number}", f"/runs/{number}"):
        assert (await walt.get(path)).status_code == 404
        assert (await walt.http.get(f"/api/v1{path}", headers=token)).status_code == 404
    assert (await walt.post(f"/tokens/{number}/revoke")).status_code == 404


@pytest.mark.parametrize("here", [{"organizations": "acme"}], indirect=True)
async def test_who_has_the_token_comes_in_by_it_while_github_is_away_whoever_they_were_before(
    here: Village, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = here.github.world
    world.installations[next(iter(world.installations))].permissions["members"] = "read"
    here.github.members["acme"] |= {"walt"}
    walt = await here.signed_in("walt")
    monkeypatch.setattr(permissions, "FRESH", 0.0)
    here.github.faults.add(Fault(path="/members/", status=502, times=10**6))

    away, form = await walt.get("/workers"), await walt.get("/sign-in")
    done = await walt.post("/sign-in", token=here.talk.api.headers["authorization"].removeprefix("Bearer "))

    assert (away.status_code, form.status_code, done.status_code) == (503, 200, 303)
    assert (await walt.get("/workers")).status_code == 200


async def test_one_repository_that_github_does_not_speak_of_hides_no_others(here: Village) -> None:
    await Things.made(here.talk)
    here.github.faults.add(Fault(path=f"/{here.talk.repository.id}/collaborators/", status=451))

    page = await (await here.signed_in("walt")).get("/")

    assert page.status_code == 200
    assert ("acme/other" in page.text, "acme/shop" in page.text) == (True, False)


async def test_what_no_store_can_be_asked_is_refused_and_not_our_fault(here: Village) -> None:
    things, grace = await Things.made(here.talk), await here.signed_in("grace")
    token = await here.token("grace")
    place = f"/environments/{things.environment}"

    for path in ("/jobs/a%00b", "/deliveries/a%00b", "/repositories/acme/shop%00"):
        assert (await grace.get(path)).status_code == 404, path
    assert (await grace.get(f"{place}?x=%00")).status_code == 400
    assert (await grace.post(f"{place}/close", text="a\0b")).status_code == 400
    for body in ({"why": "a\0b"}, {"release": 2**80}):
        answer = await here.talk.api.post(f"{place}/deploys", json=body, headers=token)
        assert answer.status_code == 400, body


async def test_no_form_of_another_place_and_none_without_a_word_of_ours_changes_anything(
    here: Village,
) -> None:
    things, root = await Things.made(here.talk), await here.signed_in(ROOT)
    for name, rule in RULES.items():
        method, _, path = name.partition(" ")
        if method != "POST" or path == "/webhooks/github":
            continue
        number = things.release if rule.of is Of.RELEASE else things.environment
        asked = path.replace("{id:int}", str(number)).replace("{id}", things.job).replace("{act}", "stop")
        asked = (
            asked.replace("{guid}", things.delivery)
            .replace("{delivery:int}", "1")
            .replace("{channel}", "ops")
        )
        for headers, form in (
            ({"origin": root.url}, {}),
            ({"origin": root.url}, {"csrf": "x"}),
            ({"origin": "http://127.0.0.1:1"}, {"csrf": root.csrf}),
            ({"origin": "null"}, {"csrf": root.csrf}),
            ({"origin": "http://["}, {"csrf": root.csrf}),
            ({}, {"csrf": root.csrf}),
        ):
            answer = await root.http.post(asked, data=form, headers=headers)
            assert answer.status_code in (401, 403), (name, headers, form)
    assert [row.what for row in await here.audit()] == ["signed in"]


async def test_what_is_not_there_is_not_woken_nor_written_down(here: Village) -> None:
    things, root = await Things.made(here.talk), await here.signed_in(ROOT)

    for number in (9999, 2**40):
        assert (await root.post(f"/environments/{number}/wake")).status_code == 404
    assert (await root.post(f"/environments/{things.environment}/wake")).status_code == 303
    assert [row.what for row in await here.audit()] == ["signed in", "woke production"]
