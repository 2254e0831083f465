"""Who we are to GitHub: an App with a short-lived token for each installation, or one plain token."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from gidgethub.apps import get_jwt

from bot.github.client import Client

# GitHub takes App JWTs of at most 10 minutes; gidgethub issues them a minute in the past.
_JWT_LIFE = 9 * 60
# What an App needs: https://docs.github.com/rest/overview/permissions-required-for-github-apps
NEEDED = {"contents": "read", "statuses": "write", "pull_requests": "write", "deployments": "write"}
_LEVELS = [None, "read", "write", "admin"]
_FRESH = 5 * 60  # seconds that a cached token must still live


class Auth(Protocol):
    """Gives out tokens."""

    async def token(self, full_name: str, installation_id: int | None) -> str:
        """A token for API requests about a repository. Raises GitHubError."""

    async def clone_token(self, full_name: str, installation_id: int | None) -> str:
        """A token that reads this one repository's contents. Raises GitHubError."""

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

    async def login(self) -> str:
        if self._login is None:
            self._login = str((await self._client.getitem("/user", oauth_token=self._token))["login"])
        return self._login

    async def missing(self) -> list[str]:
        scopes = await self._client.scopes(self._token)
        # A fine-grained token has no scopes to look at: what it lacks shows when it is used.
        return [] if scopes is None or "repo" in scopes else ["repo"]


@dataclass(frozen=True)
class _Cached:
    token: str
    expires_at: float  # seconds since 1970


class AppAuth:
    """A GitHub App: tokens of an hour, narrowed to one repository and `contents: read` for clones."""

    def __init__(self, client: Client, app_id: int, private_key: str) -> None:
        self._client = client
        self._app_id = app_id
        self._private_key = private_key
        self._tokens: dict[int, _Cached] = {}
        self._installations: dict[str, int] = {}
        self._login: str | None = None

    async def token(self, full_name: str, installation_id: int | None) -> str:
        installation = installation_id or await self._installation(full_name)
        cached = self._tokens.get(installation)
        if cached is None or cached.expires_at - time.time() < _FRESH:
            cached = self._tokens[installation] = await self._new_token(installation, {})
        return cached.token

    async def clone_token(self, full_name: str, installation_id: int | None) -> str:
        installation = installation_id or await self._installation(full_name)
        narrowed = {"repositories": [full_name.partition("/")[2]], "permissions": {"contents": "read"}}
        return (await self._new_token(installation, narrowed)).token

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

    async def _installation(self, full_name: str) -> int:
        if full_name not in self._installations:
            answer = await self._client.getitem(f"/repos/{full_name}/installation", jwt=self._jwt())
            self._installations[full_name] = answer["id"]
        return self._installations[full_name]

    async def _new_token(self, installation: int, narrowed: dict[str, Any]) -> _Cached:
        url = f"/app/installations/{installation}/access_tokens"
        answer = await self._client.post(url, data=narrowed, jwt=self._jwt())
        return _Cached(answer["token"], datetime.fromisoformat(answer["expires_at"]).timestamp())

    def _jwt(self) -> str:
        return get_jwt(app_id=str(self._app_id), private_key=self._private_key, expiration=_JWT_LIFE)
