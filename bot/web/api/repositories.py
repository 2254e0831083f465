"""Repositories, and what holds or allows their deploys: locks and approvals."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from pydantic import Field
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.exceptions import HTTPException
from starlette.requests import Request

from bot.decisions import effects
from bot.decisions.decision import FreeLock, TakeLock
from bot.store.database import Store
from bot.store.locks import holds
from bot.store.tables import Approval, Lock, Repository
from bot.web.access import TOO_LARGE
from bot.web.api.fields import Listed, Signed
from bot.web.api.models import ApprovalShown, LockShown, RepositoryShown
from bot.web.api.operation import Call, Operation, Part, whose
from bot.web.api.rows import most, number_of, part, repository
from bot.web.guard import changed, within
from bot.web.problems import Refusal
from bot.web.rules import SOME, Of, deploys, reads
from config.durations import seconds
from workers.contract.messages import now

SPAN = r"^[1-9][0-9]{0,3}[smhd]$"  # as config/durations.py reads it
_AT = "/repositories/{owner}/{name}"


class RepositoriesQuery(Listed):
    """Which part of them."""


class ApprovalsQuery(Listed):
    """Which part of them."""


class LockBody(Signed):
    """`why` is told to whoever is held."""

    environment: Annotated[
        str, Field(pattern=r"^([a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?)?$", description="all of them, if empty")
    ] = ""
    lasts: Annotated[
        str | None, Field(alias="for", pattern=SPAN, description="such as 2h: then it ends by itself")
    ] = None


@dataclass(frozen=True)
class Repositories:
    """The operations."""

    store: Store

    def operations(self) -> list[Operation]:
        look, act = reads(Of.REPOSITORY), deploys(Of.REPOSITORY)
        return [
            Operation(
                "GET",
                "/repositories",
                SOME,
                "All repositories",
                self.repositories,
                list[RepositoryShown],
                RepositoriesQuery,
            ),
            Operation("GET", _AT, look, "A repository", self.repository, RepositoryShown),
            Operation(
                "GET",
                f"{_AT}/approvals",
                look,
                "Which commits were approved, the newest first",
                self.approvals,
                list[ApprovalShown],
                ApprovalsQuery,
            ),
            Operation("GET", f"{_AT}/locks", look, "What is locked", self.locks, list[LockShown]),
            Operation(
                "POST",
                f"{_AT}/locks",
                act,
                "Let nobody else deploy",
                self.lock,
                LockShown,
                body=LockBody,
                status=201,
                makes=True,
            ),
            Operation("DELETE", f"{_AT}/locks/{{id:int}}", act, "Free a lock", self.unlock, None, status=204),
        ]

    async def repositories(self, call: Call) -> Part:
        query: RepositoriesQuery = call.query
        limit, after = most(query.limit), number_of(query.cursor)
        wanted = select(Repository).where(within(call.request, Repository.id))
        wanted = wanted.order_by(col(Repository.id)).limit(limit + 1)
        if after is not None:
            wanted = wanted.where(col(Repository.id) > after)
        async with self.store.reading() as session:
            rows = (await session.exec(wanted)).all()
        found = part(rows, limit, lambda row: str(row.id))
        return Part([RepositoryShown.model_validate(row) for row in found.items], found.after)

    async def repository(self, call: Call) -> RepositoryShown:
        async with self.store.reading() as session:
            return RepositoryShown.model_validate(await repository(session, call.path))

    async def approvals(self, call: Call) -> Part:
        query: ApprovalsQuery = call.query
        limit, before = most(query.limit), number_of(query.cursor)
        async with self.store.reading() as session:
            owner = await repository(session, call.path)
            wanted = select(Approval).where(Approval.repository_id == owner.id)
            if before is not None:
                wanted = wanted.where(col(Approval.id) < before)
            rows = (await session.exec(wanted.order_by(col(Approval.id).desc()).limit(limit + 1))).all()
        found = part(rows, limit, lambda row: str(row.id))
        return Part([ApprovalShown.model_validate(row) for row in found.items], found.after)

    async def locks(self, call: Call) -> list[LockShown]:
        async with self.store.reading() as session:
            owner = await repository(session, call.path)
            theirs = select(Lock).where(Lock.repository_id == owner.id, holds()).order_by(col(Lock.id))
            return [LockShown.model_validate(row) for row in (await session.exec(theirs)).all()]

    async def lock(self, call: Call) -> LockShown:
        """One that is taken stays its owner's."""
        async with self.store.transaction() as session:
            owner = await repository(session, call.path)
            return LockShown.model_validate(await lock(session, call.request, owner, call.body))

    async def unlock(self, call: Call) -> None:
        asked: int = call.path["id"]
        async with self.store.transaction() as session:
            owner = await repository(session, call.path)
            row = await session.get(Lock, asked) if asked < TOO_LARGE else None
            if row is None or row.repository_id != owner.id:
                raise HTTPException(404, f"{owner.full_name} has no lock {asked}")
            await unlock(session, call.request, owner, row)


async def lock(session: AsyncSession, request: Request, owner: Repository, body: LockBody) -> Lock:
    """Let nobody but its actor deploy there. Raises HTTPException where it is another's."""
    ends = now() + timedelta(seconds=seconds(body.lasts)) if body.lasts else None
    await effects.apply(
        session, owner, TakeLock(body.environment, body.actor, body.why[:200], None, expires_at=ends)
    )
    here = select(Lock).where(Lock.repository_id == owner.id, Lock.environment == body.environment)
    held = (await session.exec(here)).one()
    if held.owner != body.actor:
        raise Refusal("held", f"it is locked by {held.owner}", held=[f"locked by {held.owner}"])
    until = f" until {held.expires_at:%Y-%m-%d %H:%M} UTC" if held.expires_at else ""
    changed(
        request, f"locked {body.environment or 'all environments'}{until}{whose(request, body)}", body.why
    )
    return held


async def unlock(session: AsyncSession, request: Request, owner: Repository, row: Lock) -> None:
    """Free it, whoever took it."""
    await effects.apply(session, owner, FreeLock(row.environment))
    changed(request, f"unlocked {row.environment or 'all environments'}, of {row.owner}")
