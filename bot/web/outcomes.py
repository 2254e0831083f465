"""What is owed to a channel or a webhook, as programs see it; and what came of something, waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from pydantic import Field
from sqlmodel import col, select

from bot.reports.lanes import Lane
from bot.store.database import Store, heard
from bot.store.tables import Outgoing, OutgoingState
from bot.web.api.models import Shown

_PATIENCE = 20.0  # seconds that whoever tests something waits for what comes of it
_LOOK = 1.0  # seconds, for what was not heard


class OutgoingShown(Shown):
    """One thing that a channel or a webhook was owed."""

    id: int
    guid: Annotated[str, Field(description="the same at each try, and where it is sent again")]
    event: str
    state: OutgoingState
    attempts: int
    status: Annotated[int | None, Field(description="that the last try was answered with")]
    reason: Annotated[str, Field(description="why the last try went wrong")]
    created_at: datetime
    due_at: datetime
    sent_at: datetime | None


async def waited(store: Store, made: Outgoing) -> OutgoingShown:
    """Keep `made`, and give what has come of it, or after a while how it stands."""
    with store.changes(Outgoing) as changed:
        async with store.transaction() as session:
            session.add(made)
        loop = asyncio.get_running_loop()
        until = loop.time() + _PATIENCE
        row = made
        while row.state is OutgoingState.PENDING and loop.time() < until:
            await heard(changed, _LOOK)
            changed.clear()
            async with store.reading() as session:
                row = await session.get(Outgoing, made.id) or row
    return OutgoingShown.model_validate(row)


async def newest(store: Store, lane: Lane, before: int | None, limit: int) -> Sequence[Outgoing]:
    """What a receiver was owed, the newest first."""
    mine = select(Outgoing).where(Outgoing.lane == str(lane))
    if before is not None:
        mine = mine.where(col(Outgoing.id) < before)
    async with store.reading() as session:
        return (await session.exec(mine.order_by(col(Outgoing.id).desc()).limit(limit))).all()
