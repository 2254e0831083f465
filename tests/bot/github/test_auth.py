"""Who we are to GitHub when tokens end early, clocks are wrong and installations are suspended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from jwt.algorithms import RSAAlgorithm

from bot.github import auth
from bot.github.auth import AppAuth, Renewing
from bot.github.client import GitHubRefused
from config.trust import trusted
from tests.github import GitHub, Repository

REPO = "/repos/acme/shop"


@dataclass
class Side:
    """Our side of the wire, and GitHub's."""

    github: GitHub
    client: Renewing
    shop: Repository
    installation: int
    auth: AppAuth

    async def get(self) -> str:
        """The repository's name, asked for as the forge does."""
        token = await self.auth.token("acme/shop", self.installation)
        return str((await self.client.getitem(REPO, oauth_token=token))["full_name"])

    def asked(self, path: str = "/access_tokens") -> int:
        return sum(request.path.endswith(path) for request in self.github.requests)


@pytest.fixture
async def side(tmp_path: Path) -> AsyncIterator[Side]:
    async with (
        GitHub.running(tmp_path / "github") as github,
        httpx2.AsyncClient(verify=trusted(), trust_env=False, timeout=60) as http,
    ):
        shop = await github.create_repository("acme/shop", {"a": "b"})
        client = Renewing(http, github.api_url)
        auth = AppAuth(client, github.app.id, github.app.private_key)
        client.renewed = auth.renewed
        yield Side(github, client, shop, github.install_app(shop), auth)


async def test_many_who_need_a_token_at_once_make_one_request(side: Side) -> None:
    wanted = (side.auth.token("acme/shop", side.installation) for _ in range(20))

    assert len(set(await asyncio.gather(*wanted))) == 1
    assert side.asked() == 1


async def test_a_token_is_renewed_before_it_ends(side: Side) -> None:
    first = await side.auth.token("acme/shop", side.installation)
    side.github.shift_clock(55 * 60 + 30)
    side.auth._off = -(55 * 60 + 30)  # seen at an earlier answer: GitHub's clock is the one that counts

    assert await side.auth.token("acme/shop", side.installation) != first


async def test_a_token_that_was_revoked_early_is_replaced_and_asked_with_again(side: Side) -> None:
    await side.get()
    side.github.world.tokens.clear()

    assert await side.get() == "acme/shop"
    assert side.asked() == 2


async def test_of_many_with_a_revoked_token_one_asks_for_another(side: Side) -> None:
    await side.get()
    side.github.world.tokens.clear()

    assert set(await asyncio.gather(*(side.get() for _ in range(10)))) == {"acme/shop"}
    assert side.asked() == 2


async def test_a_token_that_is_none_of_ours_is_refused_once(side: Side) -> None:
    await side.get()
    before = len(side.github.requests)

    with pytest.raises(GitHubRefused):
        await side.client.getitem(REPO, oauth_token="ghs_foreign")

    assert len(side.github.requests) == before + 1


async def test_what_proves_that_we_are_the_app_is_made_once_and_used_until_shortly_before_its_end(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = []
    prepare = RSAAlgorithm.prepare_key

    def counted(algorithm: RSAAlgorithm, key: Any) -> Any:
        parsed.append(key)
        return prepare(algorithm, key)

    monkeypatch.setattr(RSAAlgorithm, "prepare_key", counted)
    auth._parsed.cache_clear()
    first = side.auth.jwt()
    assert side.auth.jwt() == first
    later = time.time() + 8 * 60 - 30
    monkeypatch.setattr(time, "time", lambda: later)
    assert side.auth.jwt() != first
    assert [key for key in parsed if isinstance(key, str)] == [side.github.app.private_key]


async def test_of_many_with_a_wrong_clock_each_goes_by_githubs(side: Side) -> None:
    side.github.shift_clock(-3600)

    logins = await asyncio.gather(*(side.auth.login() for _ in range(5)))

    assert set(logins) == {f"{side.github.app.slug}[bot]"}


@pytest.mark.parametrize("ahead", [-3600, -120, 900, 86400])
async def test_with_a_wrong_clock_we_go_by_githubs(side: Side, ahead: int) -> None:
    side.github.shift_clock(ahead)

    assert await side.get() == "acme/shop"
    assert await side.auth.login() == f"{side.github.app.slug}[bot]"
    assert side.asked() == 2, "one refused, one by GitHub's clock; the login knew"


async def test_a_clock_that_is_a_little_off_is_forgiven(side: Side) -> None:
    side.github.shift_clock(-45)

    assert await side.get() == "acme/shop"
    assert side.asked() == 1


async def test_another_apps_key_is_refused_without_trying_again(side: Side, tmp_path: Path) -> None:
    async with GitHub.running(tmp_path / "other"):
        stranger = AppAuth(side.client, 1, side.github.app.private_key)
        side.client.renewed = stranger.renewed

        with pytest.raises(GitHubRefused) as caught:
            await stranger.token("acme/shop", side.installation)

    assert caught.value.status == 401
    assert side.asked() == 1


async def test_a_key_that_is_none_says_which_setting_is_wrong(side: Side) -> None:
    with pytest.raises(GitHubRefused, match="GITHUB_APP_PRIVATE_KEY is not an RSA private key"):
        await AppAuth(side.client, 1, "geheim").token("acme/shop", 1)


async def test_a_suspended_installation_says_so_and_others_go_on(side: Side) -> None:
    books = await side.github.create_repository("umbra/books", {"a": "b"})
    other = side.github.install_app(books)
    side.github.suspend_app(side.installation)

    with pytest.raises(GitHubRefused, match="suspended; whoever installed the App can end that") as caught:
        await side.auth.token("acme/shop", side.installation)

    assert caught.value.status == 403
    assert await side.auth.token("umbra/books", other)


async def test_an_installation_that_is_suspended_while_its_token_lives_says_so(side: Side) -> None:
    await side.get()
    side.github.suspend_app(side.installation)

    with pytest.raises(GitHubRefused, match="whoever installed the App can end that"):
        await side.get()

    side.github.unsuspend_app(side.installation)
    assert await side.get() == "acme/shop"


async def test_an_app_that_was_removed_and_installed_again_is_found(side: Side) -> None:
    await side.auth.token("acme/shop", None)
    side.github.uninstall_app(side.installation)
    again = side.github.install_app(side.shop)

    assert again != side.installation
    assert await side.auth.clone_token("acme/shop", side.installation), "the row in the store is old"
    assert await side.auth.clone_token("acme/shop", None)


async def test_a_token_of_any_length_will_do(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.github.world.random_token", lambda prefix, _length: prefix + "x" * 700)

    assert await side.get() == "acme/shop"


async def test_a_token_that_lives_for_minutes_is_used_for_one_request_only(side: Side) -> None:
    side.github.world.token_lifetime = timedelta(minutes=4)

    assert await side.get() == await side.get()
    assert side.asked() == 2
