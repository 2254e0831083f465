"""Secrets of repositories: set, forgotten, and their names. A value goes in, and is shown to nobody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import Request

from bot.secrets.repositories import Secrets
from bot.store.database import Store
from bot.web.api.fields import Body, Query
from bot.web.api.models import SecretShown
from bot.web.api.operation import Call, Operation
from bot.web.api.rows import repository
from bot.web.guard import changed, who
from bot.web.rules import Of, administers
from config.errors import ConfigError

_AT = "/repositories/{owner}/{name}/secrets"
_NAME = r"^[A-Za-z_][A-Za-z0-9_]{0,127}$"

Scope = Annotated[
    str,
    Field(
        pattern=r"^([a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?)?$",
        description="an environment, `preview` for previews, or empty for all that are no preview",
    ),
]


class SecretBody(Body):
    """A secret, whose value the next deploy or build has."""

    name: Annotated[str, Field(pattern=_NAME)]
    scope: Scope = ""
    value: Annotated[str, Field(min_length=1, max_length=40_000, pattern=r"^[^\x00]+$")]


class ScopeQuery(Query):
    """Which of the secrets of that name."""

    scope: Scope = ""


@dataclass(frozen=True)
class SecretsApi:
    """The operations."""

    store: Store
    secrets: Secrets

    def operations(self) -> list[Operation]:
        admin = administers(Of.REPOSITORY)
        return [
            Operation("GET", _AT, admin, "The names of its secrets", self.names, list[SecretShown]),
            Operation("PUT", _AT, admin, "Set a secret", self.set, None, body=SecretBody, status=204),
            Operation(
                "DELETE",
                f"{_AT}/{{secret}}",
                admin,
                "Forget a secret",
                self.remove,
                None,
                ScopeQuery,
                status=204,
            ),
        ]

    async def names(self, call: Call) -> list[SecretShown]:
        rows = await self.secrets.listed(await self._repository(call))
        return [SecretShown.model_validate(row) for row in rows]

    async def set(self, call: Call) -> None:
        await self.put(call.request, await self._repository(call), call.body)

    async def remove(self, call: Call) -> None:
        query: ScopeQuery = call.query
        await self.forget(call.request, await self._repository(call), query.scope, call.path["secret"])

    async def put(self, request: Request, repository_id: int, body: SecretBody) -> None:
        """Set it, for whoever asks. Raises HTTPException."""
        known = who(request)
        by = known.name if known else ""
        try:
            await self.secrets.set(repository_id, body.scope, body.name, body.value, by)
        except ConfigError as error:
            raise HTTPException(422, str(error)) from None
        changed(request, f"set the secret {body.name}{_of(body.scope)}")

    async def forget(self, request: Request, repository_id: int, scope: str, name: str) -> None:
        """Remove it. Raises HTTPException."""
        if not await self.secrets.remove(repository_id, scope, name):
            raise HTTPException(404, "there is no secret of that name and scope")
        changed(request, f"removed the secret {name}{_of(scope)}")

    async def _repository(self, call: Call) -> int:
        async with self.store.reading() as session:
            return (await repository(session, call.path)).id


def _of(scope: str) -> str:
    return f" of {scope}" if scope else ""
