"""How far rights go, and for how long GitHub's word of them holds."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from starlette.requests import Request

from bot.github.client import GitHubUnavailable
from bot.github.people import Account
from bot.web.guard import WHO
from bot.web.pages.stream import BRIEF, LAST, lasting
from bot.web.permissions import FRESH, Kept
from bot.web.rights import Right, Who, on

ADA = Account("ada", 1)
API = Who("api", "the API's token", instance=True)
PERSON = Who("ada", "a session", ADA)
PROGRAM = Who("ci", "the token ci", most=Right.DEPLOY)


@pytest.mark.parametrize(
    ("permission", "right"),
    [
        ("none", Right.NONE),
        ("read", Right.READ),
        ("write", Right.DEPLOY),
        ("admin", Right.ADMIN),
        ("", Right.NONE),
    ],
)
def test_a_person_may_here_what_they_may_at_github(permission: str, right: Right) -> None:
    assert on(PERSON, 7, permission) is right


@pytest.mark.parametrize("most", [Right.READ, Right.DEPLOY, Right.ADMIN])
@pytest.mark.parametrize("permission", ["none", "read", "write", "admin"])
def test_a_persons_token_never_may_more_than_the_person(permission: str, most: Right) -> None:
    token = replace(PERSON, most=most)

    assert on(token, 7, permission) == min(on(PERSON, 7, permission), most)
    assert on(replace(token, repositories=frozenset({8})), 7, permission) is Right.NONE


@pytest.mark.parametrize(
    ("who", "right", "administers", "sees_all"),
    [
        (API, Right.ADMIN, True, True),
        (PERSON, Right.NONE, False, False),
        (replace(PERSON, instance=True), Right.ADMIN, True, True),
        (replace(PERSON, instance=True, most=Right.READ), Right.READ, False, True),
        (PROGRAM, Right.DEPLOY, False, True),
        (replace(PROGRAM, most=Right.ADMIN), Right.ADMIN, False, True),
        (replace(PROGRAM, repositories=frozenset({7})), Right.DEPLOY, False, False),
        (replace(PROGRAM, repositories=frozenset({8})), Right.NONE, False, False),
    ],
)
def test_what_is_known_without_github(who: Who, right: Right, administers: bool, sees_all: bool) -> None:
    assert (on(who, 7, "none"), who.administers, who.sees_all) == (right, administers, sees_all)


async def test_what_github_said_holds_for_a_minute_and_not_a_second_longer() -> None:
    at, asked = [0.0], 0
    kept: Kept[str] = Kept(lambda: at[0])

    async def ask() -> str:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise GitHubUnavailable("away", 5)
        await asyncio.sleep(0)
        return "write"

    assert await asyncio.gather(*(kept.of(("shop", ADA), ask) for _ in range(5))) == ["write"] * 5
    at[0] = FRESH - 0.1
    assert await kept.of(("shop", ADA), ask) == "write"
    at[0] = FRESH
    with pytest.raises(GitHubUnavailable):
        await kept.of(("shop", ADA), ask)


@pytest.mark.parametrize(
    ("who", "seconds"),
    [(API, LAST), (PROGRAM, LAST), (replace(PERSON, instance=True), LAST), (PERSON, BRIEF)],
)
def test_a_stream_of_whom_github_vouches_for_is_asked_for_again_within_a_minute(
    who: Who, seconds: float
) -> None:
    assert BRIEF <= FRESH
    assert lasting(Request({"type": "http", WHO: who})) == seconds
