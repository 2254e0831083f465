"""The JSON API's view of services' backups, and its orders to take one or to put one back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.exceptions import HTTPException
from starlette.requests import Request

from bot.decisions import backups
from bot.decisions.decision import Refused
from bot.jobs.backups import of
from bot.store.database import Store
from bot.store.tables import BackupRow, Environment, Repository
from bot.web.api.fields import Signed, Whole
from bot.web.api.models import Ordered, Shown
from bot.web.api.operation import Call, Operation, whose
from bot.web.guard import changed
from bot.web.places import found
from bot.web.problems import Refusal
from bot.web.rules import Of, administers, deploys, reads
from config.settings import Settings

Name = Annotated[str, Field(max_length=64, pattern=r"^[^\x00]*$")]


class BackupBody(Signed):
    """Of what."""

    service: Annotated[Name | None, Field(description="all that say how, if none is named")] = None


class RestoreBody(Signed):
    """What is put back."""

    confirm: Annotated[Name, Field(description="the environment's name: what it has may be lost")]
    backup: Annotated[Whole | None, Field(description="the last one, if none is named")] = None
    source: Annotated[
        Name | None, Field(alias="from", description="of this environment; of the same one, if none is named")
    ] = None
    service: Name | None = None


class BackupShown(Shown):
    """A backup of a service."""

    id: int
    environment: str
    service: str
    job_id: str
    name: str
    sha256: str
    size: Annotated[int, Field(description="bytes")]
    dumped: Annotated[int, Field(description="bytes, before it was packed")]
    begun_at: datetime
    created_at: datetime


@dataclass(frozen=True)
class Backups:
    """The operations."""

    store: Store
    settings: Settings

    def operations(self) -> list[Operation]:
        at, look, act = "/environments/{id:int}/backups", reads(Of.ENVIRONMENT), deploys(Of.ENVIRONMENT)
        back, admin = "/environments/{id:int}/restore", administers(Of.ENVIRONMENT)
        more: dict[str, Any] = {"status": 202, "makes": True}
        return [
            Operation("GET", at, look, "Its services' backups, newest first", self.listed, list[BackupShown]),
            Operation("POST", at, act, "Take a backup", self.run, Ordered, body=BackupBody, **more),
            Operation(
                "POST", back, admin, "Put a backup back", self.restore, Ordered, body=RestoreBody, **more
            ),
        ]

    async def listed(self, call: Call) -> list[BackupShown]:
        async with self.store.reading() as session:
            environment = await found(session, Environment, call.request)
            return [shown(row) for row in await of(session, environment.repository_id, environment.name)]

    async def run(self, call: Call) -> Ordered:
        return await self.taken(call.request, call.body, "api", call.key)

    async def restore(self, call: Call) -> Ordered:
        return await self.restored(call.request, call.body, "api", call.key)

    async def taken(self, request: Request, body: BackupBody, by: str, key: str) -> Ordered:
        """Take one, once for `by` and `key`. Raises HTTPException."""
        told = {"actor": body.actor, "cause": "api backup"}

        async def run(session: AsyncSession, environment: Environment, key: str) -> tuple[str, int | None]:
            return await backups.run(session, environment, body.service, self.settings, **told, key=key)

        return await self._ordered(request, (by, "backups", key), body, run)

    async def restored(self, request: Request, body: RestoreBody, by: str, key: str) -> Ordered:
        """Put one back, once for `by` and `key`. Raises HTTPException."""

        async def restore(
            session: AsyncSession, environment: Environment, key: str
        ) -> tuple[str, int | None]:
            owner = await session.get_one(Repository, environment.repository_id)
            place = body.source or environment.name
            row = await backups.find(session, owner, body.backup, place, body.service)
            return await backups.restore(
                session, environment, row, self.settings, confirm=body.confirm, actor=body.actor, key=key
            )

        return await self._ordered(request, (by, "restore", key), body, restore)

    async def _ordered(
        self, request: Request, about: tuple[str, str, str], body: Signed, order: Any
    ) -> Ordered:
        by, name, key = about
        async with self.store.transaction() as session:
            environment = await found(session, Environment, request)
            repository = await session.get_one(Repository, environment.repository_id)
            if repository.inactive:
                raise Refusal("inactive", f"{repository.full_name} is {repository.inactive}")
            try:
                said, run = await order(session, environment, f"{by}:{environment.id}:{name}:{key}")
            except Refused as refused:
                raise HTTPException(422, str(refused)) from None
            changed(request, f"{environment.name}: {said}{whose(request, body)}", body.why)
        return Ordered(message=said, run=run)


def shown(row: BackupRow) -> BackupShown:
    """Pure: a backup as people are shown it."""
    return BackupShown.model_validate(row)
