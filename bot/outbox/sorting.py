"""Of what happened: what is told, and who is owed it. Each happening is sorted once, in one transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import structlog
from pydantic import BaseModel
from sqlalchemy import delete
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.outbox import choosing
from bot.outbox.grouping import COLLECT
from bot.outbox.troubles import News, turns, weighed
from bot.reports.lanes import Lane, named
from bot.reports.notifications import Item
from bot.store.database import Store
from bot.store.outages import told
from bot.store.tables import Happening, Outgoing, Repository, Trouble, Webhook
from bot.web.api.events import ReleaseEvent
from bot.web.api.models import JobListed, RunShown, log_of
from config.settings import Settings

_BATCH = 200

log = structlog.get_logger()


class Sorter:
    """Sorts, oldest first."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._base = settings.base_url
        self._instance = settings.channels

    async def sort(self) -> None:
        """All that has happened. Raises SQLAlchemyError when the store is away."""
        while await self._some():
            pass

    async def _some(self) -> bool:
        """Sort a part; whether there may be more."""
        async with (
            self._store.reading() as session
        ):  # nearly always there is nothing: no transaction for that
            if (await session.exec(select(Happening.id).limit(1))).first() is None:
                return False
        async with self._store.transaction() as session:
            oldest = select(Happening).order_by(col(Happening.id)).limit(_BATCH)
            found = (await session.exec(oldest)).all()
            owners = {one.repository_id for one in found}
            theirs = select(Repository).where(col(Repository.id).in_(owners - {None}))
            repositories = {row.id: row for row in (await session.exec(theirs)).all()}
            webhooks = (await session.exec(select(Webhook).where(Webhook.disabled == ""))).all()
            for one in found:
                await self._sorted(session, one, repositories.get(one.repository_id or 0), webhooks)
            ids = [one.id for one in found]
            await session.exec(delete(Happening).where(col(Happening.id).in_(ids)))
        return len(found) == _BATCH

    async def _sorted(
        self, session: AsyncSession, one: Happening, owner: Repository | None, webhooks: Sequence[Webhook]
    ) -> None:
        try:
            await self._told(session, one, owner, webhooks)
        except SQLAlchemyError:
            raise  # the store is away: it is no happening's fault
        except Exception as error:
            # Of another version, or a fault of ours: what nobody can read must not hold up the others.
            told(log, "a happening was left out", error, happening=one.id, kind=one.kind)

    async def _told(
        self, session: AsyncSession, one: Happening, owner: Repository | None, webhooks: Sequence[Webhook]
    ) -> None:
        if owner is not None and (model := streamed(one.kind, one.about, owner.full_name)) is not None:
            body = model.model_dump_json(by_alias=True)
            for lane in choosing.webhooks(webhooks, owner.id, one.kind):
                session.add(Outgoing(lane=str(lane), event=one.kind, body=body))
        for news in await self._news(session, owner.id if owner else 0, turns(one.kind, one.about)):
            self._owe(session, news, owner, one.at, webhooks)

    async def _news(self, session: AsyncSession, repository_id: int, turned: Sequence[Any]) -> list[News]:
        """What is told of these turns, and kept of them."""
        if not turned:
            return []
        things = {turn.thing for turn in turned}
        known = select(Trouble.thing).where(
            Trouble.repository_id == repository_id, col(Trouble.thing).in_(things)
        )
        standing = set((await session.exec(known)).all())
        news, wrong = weighed(turned, standing)
        for thing in wrong - standing:
            session.add(Trouble(repository_id=repository_id, thing=thing))
        well = col(Trouble.thing).in_(standing - wrong)
        if standing - wrong:
            await session.exec(delete(Trouble).where(col(Trouble.repository_id) == repository_id, well))
        await session.flush()
        return news

    def _owe(
        self,
        session: AsyncSession,
        news: News,
        owner: Repository | None,
        at: datetime,
        webhooks: Sequence[Webhook],
    ) -> None:
        turn = news.turn
        item = Item(
            event=news.event,
            repository=owner.full_name if owner else "",
            environment=turn.environment,
            name=turn.name,
            problem=turn.problem,
            link=f"{self._base}{turn.link}" if turn.link else "",
        )
        body = item.model_dump_json()
        own = named(owner.channels if owner else None)
        whose = (owner.id, owner.full_name) if owner else None
        for lane in choosing.channels(own, self._instance, whose, news.event, turn.environment):
            thing = f"{owner.id if owner else 0}:{turn.thing}"
            due = at + COLLECT
            session.add(Outgoing(lane=str(lane), event=news.event, thing=thing, body=body, due_at=due))
        said = json.dumps({**json.loads(body), "at": at.isoformat()})
        for lane in choosing.webhooks(webhooks, owner.id if owner else None, news.event):
            if lane != _of(turn.kind, turn.name):
                session.add(Outgoing(lane=str(lane), event=news.event, body=said))


def _of(kind: str, name: str) -> Lane | None:
    """The webhook that news is about, which is not told of itself."""
    return Lane(webhook=int(name)) if kind == "webhook" else None


def streamed(kind: str, about: dict[str, Any], repository: str) -> BaseModel | None:
    """Pure: a happening as /api/v1/events has it, None for one that it has not. Raises ValidationError."""
    if kind == "run":
        return RunShown.model_validate({**about, "repository": repository, "jobs": []})
    if kind == "job":
        return JobListed.model_validate({**about, "repository": repository, "log": log_of(about["id"])})
    if kind == "release":
        return ReleaseEvent.model_validate({**about, "repository": repository})
    return None
