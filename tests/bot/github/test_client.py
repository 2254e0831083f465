"""What GitHub's answers mean, against the stand-in over real HTTP."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from bot.github.auth import AppAuth, TokenAuth
from bot.github.client import Client, GitHubRefused, GitHubUnavailable
from config.trust import trusted
from tests.github import Fault, GitHub, Repository
from tests.github.server import listen, serving

REPO = "/repos/acme/shop"


@dataclass
class Side:
    """Our side of the wire, and GitHub's."""

    github: GitHub
    client: Client
    shop: Repository
    token: str

    async def get(self, path: str = REPO) -> Any:
        return await self.client.getitem(path, oauth_token=self.token)

    async def refused(self, path: str = REPO) -> GitHubRefused:
        with pytest.raises(GitHubRefused) as caught:
            await self.get(path)
        return caught.value

    async def unavailable(self, path: str = REPO) -> GitHubUnavailable:
        with pytest.raises(GitHubUnavailable) as caught:
            await self.get(path)
        return caught.value

    def app(self) -> AppAuth:
        return AppAuth(self.client, self.github.app.id, self.github.app.private_key)

    def asked(self, path: str) -> int:
        return sum(request.path.endswith(path) for request in self.github.requests)


@pytest.fixture
async def side(tmp_path: Path) -> AsyncIterator[Side]:
    async with (
        GitHub.running(tmp_path / "github") as github,
        httpx2.AsyncClient(verify=trusted(), trust_env=False, timeout=60) as http,
    ):
        shop = await github.create_repository("acme/shop", {"a": "b"}, collaborators={"ada": "write"})
        yield Side(github, Client(http, github.api_url), shop, github.user("ada").token)


@asynccontextmanager
async def elsewhere() -> AsyncIterator[tuple[str, list[dict[str, str]]]]:
    """Another host; gives its URL and the headers of all who come."""
    came: list[dict[str, str]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        came.append(dict(Request(scope).headers))
        await JSONResponse([{"id": 666}])(scope, receive, send)

    with contextlib.closing(listen("127.0.0.1", 0)) as listener:
        async with serving(app, listener):
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", came


async def test_every_request_says_who_asks_and_for_which_version(side: Side) -> None:
    assert (await side.get())["full_name"] == "acme/shop"

    headers = side.github.requests[-1].headers
    assert headers["user-agent"] == "blacktree"
    assert headers["x-github-api-version"] == "2022-11-28"
    assert "application/vnd.github" in headers["accept"]


@pytest.mark.parametrize(
    ("fault", "wait"),
    [
        (Fault(status=500), (5, 5)),
        (Fault(status=502, body=b"<html>Bad Gateway</html>", headers={"Content-Type": "text/html"}), (5, 5)),
        (Fault(status=503, headers={"Retry-After": "7"}), (7, 7)),
        (Fault(status=522), (5, 5)),
        (Fault(status=599), (5, 5)),
        (Fault(status=408), (5, 5)),
        (Fault(status=429), (60, 60)),
        (Fault(status=429, headers={"Retry-After": "3"}), (3, 3)),
        (Fault.secondary_limit(retry_after=30), (30, 30)),
        (Fault.secondary_limit(retry_after=30, status=429), (30, 30)),
        (Fault.secondary_limit(retry_after=None), (60, 60)),
        (Fault(status=200, body=b"<html>Unicorn!</html>"), (5, 5)),
        (Fault(status=200, body=b'{"cut": '), (5, 5)),
        (Fault(status=200, body=b"[" * 100_000), (5, 5)),
        (Fault(drop=True), (5, 5)),
    ],
    ids=lambda value: str(getattr(value, "status", value)),
)
async def test_what_passes_is_worth_another_try_after_the_right_wait(
    side: Side, fault: Fault, wait: tuple[float, float]
) -> None:
    side.github.faults.add(fault)

    assert wait[0] <= (await side.unavailable()).wait <= wait[1]
    assert (await side.get())["full_name"] == "acme/shop"


@pytest.mark.parametrize(("reset_in", "wait"), [(100_000, (99_000, 100_002)), (-100, (1, 1))])
async def test_a_limit_that_is_used_up_is_waited_for(
    side: Side, reset_in: int, wait: tuple[float, float]
) -> None:
    side.github.faults.add(Fault.primary_limit(reset_in=reset_in))

    assert wait[0] <= (await side.unavailable()).wait <= wait[1]


async def test_a_github_that_is_not_there_is_worth_another_try() -> None:
    with contextlib.closing(listen("127.0.0.1", 0)) as listener:
        nobody = f"127.0.0.1:{listener.getsockname()[1]}"
    async with httpx2.AsyncClient(verify=trusted(), trust_env=False, timeout=60) as http:
        with pytest.raises(GitHubUnavailable, match=f"GitHub at {nobody} does not answer"):
            await Client(http, f"http://{nobody}").getitem("/user", oauth_token="secret")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 422, 451])
async def test_what_stays_is_refused_with_githubs_words(side: Side, status: int) -> None:
    body = {"message": "Validation Failed", "errors": [{"message": "too long"}]}
    side.github.faults.add(Fault(status=status, body=body))

    refused = await side.refused()

    assert refused.status == status
    assert str(refused).startswith(f"GET /api/v3{REPO}: {status}: Validation Failed (too long)")
    assert side.token not in str(refused)


async def test_errors_that_are_plain_words_are_told(side: Side) -> None:
    side.github.faults.add(Fault(status=422, body={"message": "Validation Failed", "errors": ["too long"]}))

    assert "Validation Failed (too long)" in str(await side.refused())


async def test_a_page_for_people_is_no_data(side: Side) -> None:
    page = Fault(status=200, body=b"<html>Log in</html>", headers={"Content-Type": "text/html"})
    side.github.faults.add(page)

    assert (await side.unavailable()).wait > 0


async def test_a_renamed_repository_is_found_by_its_old_name(side: Side) -> None:
    side.github.rename(side.shop, "acme/store")

    assert (await side.get())["full_name"] == "acme/store"
    sha = "0" * 40
    body = {"state": "pending", "context": "c"}
    with pytest.raises(GitHubRefused):
        await side.client.post(f"{REPO}/statuses/{sha}", data=body, oauth_token=side.token)
    assert side.github.requests[-1].method == "POST", "a write stays a write"


async def test_a_redirect_to_another_host_is_not_followed_and_the_token_stays_here(side: Side) -> None:
    async with elsewhere() as (url, came):
        side.github.faults.add(Fault(status=301, headers={"Location": f"{url}/steal"}))

        refused = await side.refused()

    assert "not followed" in str(refused)
    assert came == []


async def test_a_page_of_another_host_is_not_read_and_the_token_stays_here(side: Side) -> None:
    async with elsewhere() as (url, came):
        link = {"Link": f'<{url}/steal?page=2>; rel="next"'}
        side.github.faults.add(Fault(status=200, body=[{"id": 1}], headers=link))

        with pytest.raises(GitHubRefused, match="not followed"):
            async for _ in side.client.getiter(f"{REPO}/issues/1/comments", oauth_token=side.token):
                pass

    assert came == []


async def test_an_absolute_url_of_another_host_is_not_asked(side: Side) -> None:
    async with elsewhere() as (url, came):
        assert "not followed" in str(await side.refused(f"{url}/steal"))

    assert came == []


async def test_a_redirect_away_from_https_is_not_followed() -> None:
    asked: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.scheme)
        return httpx2.Response(301, headers={"Location": "http://api.test/plain"})

    async with httpx2.AsyncClient(verify=trusted(), transport=httpx2.MockTransport(answer)) as http:
        with pytest.raises(GitHubRefused):
            await Client(http, "https://api.test").getitem("/user", oauth_token="secret")

    assert asked == ["https"]


async def test_what_has_not_changed_is_not_sent_again(side: Side) -> None:
    first = await side.get()

    assert await side.get() == first

    assert [request.status for request in side.github.requests if request.path.endswith(REPO)] == [200, 304]


async def test_an_answer_to_one_token_is_never_given_to_another(side: Side) -> None:
    await side.get()

    with pytest.raises(GitHubRefused) as caught:
        await side.client.getitem(REPO, oauth_token=side.github.user("eve").token)

    assert caught.value.status == 404
    assert "if-none-match" not in side.github.requests[-1].headers


async def test_what_has_changed_is_seen(side: Side) -> None:
    await side.get()
    side.github.archive(side.shop, side.github.user("ada"))

    assert (await side.get())["archived"]


async def test_a_circle_of_redirects_ends(side: Side) -> None:
    location = {"Location": f"{side.github.api_url}{REPO}"}
    side.github.faults.add(Fault(status=302, headers=location, times=100))

    assert "circle" in str(await side.refused())
    assert len(side.github.requests) <= 10


@pytest.mark.parametrize(("ahead", "said"), [(3600, "-3600"), (-3600, "+3600"), (0, None)])
async def test_a_401_says_how_far_the_clock_is_off(side: Side, ahead: int, said: str | None) -> None:
    side.github.install_app(side.shop)
    side.github.shift_clock(ahead)
    side.github.faults.add(Fault(status=401, body={"message": "Bad credentials"}))

    text = str(await side.refused())

    assert ("clock is" in text) is (said is not None)
    if said is not None:
        off = int(text.partition("clock is ")[2].partition(" s off")[0])
        assert abs(off - int(said)) <= 60


async def test_an_apps_token_is_asked_for_once(side: Side) -> None:
    installation, auth = side.github.install_app(side.shop), side.app()

    tokens = {await auth.token("acme/shop", installation) for _ in range(3)}

    assert len(tokens) == 1
    assert await auth.token("acme/shop", None) in tokens, "found by the repository's name"
    assert side.asked("/access_tokens") == 1


async def test_an_apps_token_that_ends_soon_is_not_used_any_more(side: Side) -> None:
    installation, auth = side.github.install_app(side.shop), side.app()
    side.github.world.token_lifetime = timedelta(minutes=4)

    assert len({await auth.token("acme/shop", installation) for _ in range(3)}) == 3


async def test_a_clones_token_is_new_and_reads_this_one_repository_only(side: Side) -> None:
    other = await side.github.create_repository("acme/other", {"a": "b"})
    installation, auth = side.github.install_app(side.shop, other), side.app()

    clone = await auth.clone_token("acme/shop", installation)

    assert clone != await auth.token("acme/shop", installation)
    token = side.github.world.tokens[clone]
    assert token.permissions == {"contents": "read", "metadata": "read"}
    assert token.reaches(side.shop)
    assert not token.reaches(other)
    with pytest.raises(GitHubRefused):
        await side.client.getitem("/repos/acme/other", oauth_token=clone)


async def test_an_app_says_who_it_is_and_what_it_may_not(side: Side) -> None:
    auth = side.app()

    assert await auth.login() == f"{side.github.app.slug}[bot]"
    assert await auth.missing() == []
    side.github.app.permissions["statuses"] = "read"
    del side.github.app.permissions["deployments"]
    assert await auth.missing() == ["statuses: write", "deployments: write"]


async def test_a_plain_token_is_given_for_everything(side: Side) -> None:
    auth = TokenAuth(side.client, side.token)

    assert await auth.token("acme/shop", None) == await auth.clone_token("acme/shop", 5) == side.token
    assert [await auth.login() for _ in range(2)] == ["ada", "ada"]
    assert side.asked("/user") == 1


async def test_a_repository_without_the_app_is_refused(side: Side) -> None:
    with pytest.raises(GitHubRefused) as caught:
        await side.app().token("acme/shop", None)

    assert caught.value.status == 404
