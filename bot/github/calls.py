"""Calls about one repository, each with the token that is made for it. Every method raises GitHubError."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from bot.github.auth import Auth
from bot.github.client import Client
from bot.store.tables import Repository

MOST = (
    100  # items that GitHub gives at once, https://docs.github.com/rest/using-the-rest-api/using-pagination
)


class Calls:
    """Paths are what follows /repos/OWNER/NAME."""

    def __init__(self, client: Client, auth: Auth) -> None:
        self.client = client
        self.auth = auth

    async def token(self, repository: Repository) -> str:
        return await self.auth.token(repository.full_name, repository.installation_id)

    async def get(self, repository: Repository, path: str, **variables: str) -> Any:
        """`variables` fill the path's template."""
        token = await self.token(repository)
        return await self.client.getitem(_url(repository, path), variables, oauth_token=token)

    async def pages(self, repository: Repository, path: str, key: str = "items") -> AsyncIterator[Any]:
        """The items of all pages; where a page is no list, those below its `key`."""
        token = await self.token(repository)
        async for item in self.client.getiter(_url(repository, path), oauth_token=token, iterable_key=key):
            yield item

    async def post(self, repository: Repository, path: str, body: dict[str, Any]) -> Any:
        token = await self.token(repository)
        return await self.client.post(_url(repository, path), data=body, oauth_token=token)

    async def patch(self, repository: Repository, path: str, body: dict[str, Any]) -> Any:
        token = await self.token(repository)
        return await self.client.patch(_url(repository, path), data=body, oauth_token=token)

    async def put(self, repository: Repository, path: str, body: dict[str, Any]) -> Any:
        token = await self.token(repository)
        return await self.client.put(_url(repository, path), data=body, oauth_token=token)


def _url(repository: Repository, path: str) -> str:
    return f"/repos/{repository.full_name}{path}"
