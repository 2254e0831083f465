"""Who we are to GitHub: an App with a short-lived token for each installation, or one plain token."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, Protocol, cast

import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from jwt.algorithms import RSAAlgorithm

from bot.github.client import MOST_OFF, Client, GitHubRefused

# GitHub takes App JWTs that expire within 10 minutes and were issued in the past, by its own clock.
_JWT_LIFE = 8 * 60
_JWT_PAST = 60
_JWT_FRESH = 60  # seconds that one which is used again must still live
# What an App needs: https://docs.github.com/rest/overview/permissions-required-for-github-apps
NEEDED = {"contents": "read", "statuses": "write", "pull_requests": "write", "deployments": "write"}
# What `/setup` asks for: that, and what some events and gates want.
ASKED = NEEDED | {
    "metadata": "read",
    "checks": "read",  # gates on checks
    "issues": "read",  # to be sent issue_comment at all
    "merge_queues": "read",  # merge_group
    "members": "read",  # whether who signs in is of ORGANIZATIONS
}
# What whoever sets the instance up may choose instead: check runs in place of statuses, with annotations.
# Nothing else needs it, so nobody is asked for it who did not choose.
WITH_CHECKS = ASKED | {"checks": "write"}
_LEVELS = [None, "read", "write", "admin"]
_FRESH = 5 * 60  # seconds that a cached token must still live

log = structlog.get_logger()


class Auth(Protocol):
    """Gives out tokens."""

    async def token(self, full_name: str, installation_id: int | None) -> str:
        """A token for API requests about a repository. Raises GitHubError."""

    async def clone_token(self, full_name: str, installation_id: int | None) -> str:
        """A token that reads this one repository's contents. Raises GitHubError."""

    async def organization_token(self, organization: str) -> str:
        """A token for API requests about an organisation. Raises GitHubError."""

    async def grants(self, full_name: str, installation_id: int | None, name: str, level: str) -> bool:
        """Whether we hold a permission of an App's there, in GitHub's words. Raises GitHubError."""

    async def login(self) -> str:
        """The login that our comments are written by. Raises GitHubError."""

    async def missing(self) -> list[str]:
        """What we may not do and need to, in GitHub's words. Raises GitHubError."""


class TokenAuth:
    """A plain token for everything; it lives as long as its owner lets it."""

    def __init__(self, client: Client, token: str) -> None:
        self._client = client
        self._token = token
        self._login: str | None = None

    async def token(self, full_name: str, installation_id: int | None) -> str:  # noqa: ARG002
        return self._token

    async def clone_token(self, full_name: str, installation_id: int | None) -> str:  # noqa: ARG002
        return self._token

    async def organization_token(self, organization: str) -> str:  # noqa: ARG002
        return self._token

    async def grants(self, full_name: str, installation_id: int | None, name: str, level: str) -> bool:  # noqa: ARG002
        return False

    async def login(self) -> str:
        if self._login is None:
            self._login = str((await self._client.getitem("/user", oauth_token=self._token))["login"])
        return self._login

    async def missing(self) -> list[str]:
        scopes = await self._client.scopes(self._token)
        # A fine-grained token has no scopes to look at: what it lacks shows when it is used.
        return [] if scopes is None or "repo" in scopes else ["repo"]


class Renewing(Client):
    """Asks once more with other credentials where GitHub does not take the first ones.

    A refusal for good that is about credentials says what to do.
    """

    def __init__(self, *about: Any) -> None:
        super().__init__(*about)
        # From the Authorization that was refused to one that may be taken, None where there is none.
        self.renewed: Callable[[str, GitHubRefused], Awaitable[str | None]] | None = None

    async def _request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b""
    ) -> tuple[int, Mapping[str, str], bytes]:
        try:
            return await super()._request(method, url, headers, body)
        except GitHubRefused as error:
            if error.status == 403 and "installation has been suspended" in str(error):
                sentence = f"{error}; whoever installed the App can end that in their settings at GitHub"
                raise GitHubRefused(403, sentence) from error
            if error.status != 401 or self.renewed is None:
                raise
            better = await self.renewed(headers.get("authorization", ""), error)
            if better is None:
                raise
        return await super()._request(method, url, {**headers, "authorization": better}, body)


@dataclass(frozen=True)
class _Cached:
    token: str
    expires_at: float  # seconds since 1970, by GitHub's clock
    held: Mapping[str, str] = field(default_factory=dict)  # permissions


class AppAuth:
    """A GitHub App: tokens of an hour, narrowed to one repository and `contents: read` for clones."""

    def __init__(self, client: Client, app_id: int, private_key: str) -> None:
        self._client = client
        self._app_id = app_id
        self._private_key = private_key
        self._tokens: dict[int, _Cached] = {}
        self._refused: dict[int, str] = {}
        self._asking: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._installations: dict[str, int] = {}
        self._login: str | None = None
        self._off = 0.0  # seconds that our clock is ahead of GitHub's
        self._signed: _Cached | None = None

    async def token(self, full_name: str, installation_id: int | None) -> str:
        return await self._of(full_name, installation_id, self._token)

    async def clone_token(self, full_name: str, installation_id: int | None) -> str:
        narrowed = {"repositories": [full_name.partition("/")[2]], "permissions": {"contents": "read"}}

        async def new(installation: int) -> str:
            return (await self._new_token(installation, narrowed)).token

        return await self._of(full_name, installation_id, new)

    async def organization_token(self, organization: str) -> str:
        return await self._of(organization, None, self._token, "orgs")

    async def grants(self, full_name: str, installation_id: int | None, name: str, level: str) -> bool:
        """As the installation's newest token has it: what was granted since shows within its hour."""

        async def held(installation: int) -> str:
            await self._token(installation)
            return self._tokens[installation].held.get(name, "")

        found = await self._of(full_name, installation_id, held)
        return _LEVELS.index(found or None) >= _LEVELS.index(level)

    async def login(self) -> str:
        if self._login is None:
            self._login = f"{(await self._client.getitem('/app', jwt=self._jwt()))['slug']}[bot]"
        return self._login

    async def missing(self) -> list[str]:
        held = (await self._client.getitem("/app", jwt=self._jwt()))["permissions"]
        return [
            f"{name}: {level}"
            for name, level in NEEDED.items()
            if _LEVELS.index(held.get(name)) < _LEVELS.index(level)
        ]

    async def renewed(self, authorization: str, error: GitHubRefused) -> str | None:
        """Another Authorization for one that got a 401, None where there is no better one."""
        scheme, _, credential = authorization.partition(" ")
        if scheme == "bearer":
            return self._by_github_clock(credential, error)
        for installation in list(self._asking):
            cached = self._tokens.get(installation)
            if cached is not None and cached.token == credential:
                log.warning("an installation's token was revoked early", installation=installation)
                self._refused[installation] = self._tokens.pop(installation).token
            if self._refused.get(installation) == credential:
                return f"token {await self._token(installation)}"
        return None

    def _by_github_clock(self, refused: str, error: GitHubRefused) -> str | None:
        if self._signed is not None and self._signed.token != refused:
            return f"bearer {self._jwt()}"  # somebody learned it while this one was asking
        if abs(error.off - self._off) <= MOST_OFF:
            return None
        self._off, self._signed = error.off, None
        log.warning("this machine's clock is off GitHub's: correct it", seconds=round(error.off))
        return f"bearer {self._jwt()}"

    async def _of(
        self,
        full_name: str,
        installation_id: int | None,
        give: Callable[[int], Awaitable[str]],
        kind: str = "repos",
    ) -> str:
        """What `give` gives for the installation that a repository or organisation has, or has by now."""
        known = installation_id or self._installations.get(full_name)
        if known is not None:
            try:
                return await give(known)
            except GitHubRefused as error:
                if error.status != 404:
                    raise
                self._tokens.pop(known, None)  # the App was removed, and perhaps installed again
        answer = await self._client.getitem(f"/{kind}/{full_name}/installation", jwt=self._jwt())
        self._installations[full_name] = int(answer["id"])
        return await give(self._installations[full_name])

    async def _token(self, installation: int) -> str:
        async with self._asking[installation]:
            cached = self._tokens.get(installation)
            if cached is None or cached.expires_at - self._now() < _FRESH:
                cached = self._tokens[installation] = await self._new_token(installation, {})
            return cached.token

    async def _new_token(self, installation: int, narrowed: dict[str, Any]) -> _Cached:
        url = f"/app/installations/{installation}/access_tokens"
        answer = await self._client.post(url, data=narrowed, jwt=self._jwt())
        ends = datetime.fromisoformat(answer["expires_at"]).timestamp()
        return _Cached(answer["token"], ends, answer.get("permissions") or {})

    def jwt(self) -> str:
        """What proves that we are the App itself, for the few requests that no installation answers."""
        return self._jwt()

    def _now(self) -> float:
        """Seconds since 1970 by GitHub's clock, as far as it is known."""
        return time.time() - self._off

    def _jwt(self) -> str:
        if self._signed is None or self._signed.expires_at - self._now() < _JWT_FRESH:
            issued = int(self._now()) - _JWT_PAST
            expires = issued + _JWT_PAST + _JWT_LIFE
            signed = self._sign({"iat": issued, "exp": expires, "iss": str(self._app_id)})
            self._signed = _Cached(signed, expires)
        return self._signed.token

    def _sign(self, claims: dict[str, Any]) -> str:
        try:
            return jwt.encode(claims, _parsed(self._private_key), algorithm="RS256")
        except (ValueError, TypeError, jwt.PyJWTError):
            raise GitHubRefused(0, "GITHUB_APP_PRIVATE_KEY is not an RSA private key in PEM form") from None


@lru_cache(maxsize=1)
def _parsed(private_key: str) -> RSAPrivateKey:
    """Parsed once: that costs more than to sign."""
    key = RSAAlgorithm(RSAAlgorithm.SHA256).prepare_key(private_key)
    return cast(RSAPrivateKey, key)  # whatever else it is does not sign
