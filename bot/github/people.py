"""Who somebody is at GitHub, by the App's OAuth, and what they may there. Every method raises GitHubError.

https://docs.github.com/apps/creating-github-apps/authenticating-with-a-github-app/generating-a-user-access-token-for-a-github-app
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import httpx2

from bot.github.calls import Calls
from bot.github.client import USER_AGENT, Client, GitHubRefused, GitHubUnavailable
from bot.store.tables import Repository

CALLBACK = "/sign-in/github/callback"  # where GitHub sends a browser back to, below our own address
_BROKEN_WAIT = 5.0  # seconds
# There is nothing to see: for an App that is suspended (403), of what is gone, or blocked by law (451). Each
# is about one repository, and keeps nobody from the others.
_NOTHING = {403, 404, 410, 451}


@dataclass(frozen=True)
class Account:
    """Somebody at GitHub. Logins change and are given to others, ids are not."""

    login: str
    id: int


@dataclass(frozen=True)
class OAuthClient:
    """What signs people in: the App's client, at the GitHub whose pages are at `url`."""

    url: str
    id: str
    secret: str = field(repr=False)


class People:
    """Asks about people; without a `client` nobody is signed in."""

    def __init__(self, http: httpx2.AsyncClient, calls: Calls, client: OAuthClient | None) -> None:
        self._http = http
        self._calls = calls
        self.client = client

    def address(self, state: str, verifier: str, back: str) -> str:
        """Where a browser is sent, to come `back` with this state and a code that `verifier` goes with."""
        assert self.client, "nobody is sent there without one"  # noqa: S101
        asked = {
            "client_id": self.client.id,
            "redirect_uri": back,
            "state": state,
            "code_challenge": challenge(verifier),
            "code_challenge_method": "S256",
        }
        return f"{self.client.url}/login/oauth/authorize?{urlencode(asked)}"

    async def behind(self, code: str, verifier: str, back: str) -> Account:
        """Who a browser that came back with `code` is. Their token is used for this alone, and forgotten."""
        token = await self._exchanged(code, verifier, back)
        # A client of its own: the other one keeps answers together with the tokens that asked.
        alone = Client(self._http, self._calls.client.base_url)
        told = await alone.getitem("/user", oauth_token=token)
        return Account(str(told["login"]), int(told["id"]))

    async def member(self, organization: str, login: str) -> bool:
        """Whether somebody is a member, concealed ones too."""
        token = await self._calls.auth.organization_token(organization)
        path = "/orgs/{org}/members/{login}"
        try:
            await self._calls.client.getitem(path, {"org": organization, "login": login}, oauth_token=token)
        except GitHubRefused as error:
            if error.status == 404:
                return False
            raise
        return True

    async def permission(self, repository: Repository, account: Account) -> str:
        """admin, write, read or none, of this very account: another one of its name has none.

        It is asked of the repository's number, where GitHub's own redirects lead to: whoever made another one
        of its name, which it gave up before we were told, may there what they like and nothing here.
        """
        path = "/repositories/{id}/collaborators/{login}/permission"
        variables = {"id": str(repository.id), "login": account.login}
        try:
            token = await self._calls.token(repository)
            told = await self._calls.client.getitem(path, variables, oauth_token=token)
        except GitHubRefused as error:
            if error.status in _NOTHING:
                return "none"
            raise
        theirs = (told.get("user") or {}).get("id")
        return str(told["permission"]) if theirs == account.id else "none"

    async def _exchanged(self, code: str, verifier: str, back: str) -> str:
        assert self.client, "nobody comes back without one"  # noqa: S101
        given = {
            "client_id": self.client.id,
            "client_secret": self.client.secret,
            "code": code,
            "redirect_uri": back,
            "code_verifier": verifier,
        }
        headers = {"accept": "application/json", "user-agent": USER_AGENT}
        try:
            answer = await self._http.post(
                f"{self.client.url}/login/oauth/access_token", data=given, headers=headers
            )
            told: Any = answer.json() if answer.status_code < 500 else {}
        except httpx2.HTTPError as error:
            raise GitHubUnavailable(
                f"GitHub does not answer: {type(error).__name__}", _BROKEN_WAIT
            ) from error
        except ValueError:
            told = {}
        if not isinstance(told, dict) or not ("access_token" in told or "error" in told):
            raise GitHubUnavailable(f"GitHub gave no token: {answer.status_code}", _BROKEN_WAIT)
        if "error" in told:  # with status 200, as it always does: what it says, never what we gave
            raise GitHubRefused(answer.status_code, str(told["error"])[:100])
        return str(told["access_token"])


def challenge(verifier: str) -> str:
    """Pure: S256 of https://www.rfc-editor.org/rfc/rfc7636."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
