"""Signing people in by the App: codes for tokens, once, and who belongs to an organisation."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from tests.github.visitors import Client, Side, visiting

BACK, VERIFIER = "https://blacktree.example/back", "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture
async def side(tmp_path: Path) -> AsyncIterator[Side]:
    async with visiting(tmp_path) as one:
        one.github.app.callbacks = (BACK,)
        one.github.world.visitor = one.ada
        yield one


async def code(side: Side, browser: Client, **change: str) -> dict[str, str]:
    asked = {"client_id": side.github.app.client_id, "redirect_uri": BACK, "state": "s"}
    pkce = {"code_challenge": CHALLENGE, "code_challenge_method": "S256"}
    url = f"{side.github.url}/login/oauth/authorize?{urlencode({**asked, **pkce, **change})}"
    answer = await browser.http.get(url)
    assert answer.status_code == 302, answer.text
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}


async def token(side: Side, browser: Client, code: str, **change: str) -> dict[str, str]:
    app = side.github.app
    given = {"client_id": app.client_id, "client_secret": app.client_secret, "code": code}
    sent = {**given, "redirect_uri": BACK, "code_verifier": VERIFIER, **change}
    headers = {"accept": "application/json"}
    answer = await browser.http.post(
        f"{side.github.url}/login/oauth/access_token", data=sent, headers=headers
    )
    return dict(answer.json())


async def test_a_code_becomes_a_token_of_the_person_once(side: Side) -> None:
    browser = side.clients.by("")
    given = await code(side, browser)
    assert given["state"] == "s"

    made = await token(side, browser, given["code"])
    again = await token(side, browser, given["code"])

    me = await side.clients.by(made["access_token"])("GET", "/user")
    assert (me.status_code, me.json()["login"]) == (200, "ada")
    assert again == {"error": "bad_verification_code"}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"code_verifier": "x" * 43}, "bad_verification_code"),
        ({"code_verifier": ""}, "bad_verification_code"),
        ({"redirect_uri": "https://elsewhere.example"}, "redirect_uri_mismatch"),
        ({"client_secret": "x"}, "incorrect_client_credentials"),
    ],
)
async def test_a_code_alone_is_no_use(side: Side, change: dict[str, str], error: str) -> None:
    browser = side.clients.by("")
    given = await code(side, browser)

    assert await token(side, browser, given["code"], **change) == {"error": error}


async def test_nobody_is_sent_to_a_place_that_the_app_does_not_name(side: Side) -> None:
    given = await code(side, side.clients.by(""), redirect_uri="https://evil.test")

    assert given == {"error": "redirect_uri_mismatch", "state": "s"}


async def test_an_installation_says_who_belongs_if_it_may(side: Side) -> None:
    github = side.github
    [installation] = github.world.installations.values()
    github.members["acme"].add("ada")
    found = await side.clients.app()("GET", "/orgs/acme/installation")
    assert found.json()["id"] == installation.id
    refused = await (await side.clients.bot())("GET", "/orgs/acme/members/ada")
    assert refused.status_code == 403

    installation.permissions["members"] = "read"
    bot = await side.clients.bot()

    assert (await bot("GET", "/orgs/acme/members/ada")).status_code == 204
    assert (await bot("GET", "/orgs/acme/members/otto")).status_code == 404
