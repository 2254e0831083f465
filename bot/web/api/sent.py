"""What a channel or a webhook was sent: its history in parts, and something of it once more."""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.exceptions import HTTPException

from bot.reports.lanes import Lane
from bot.store.tables import Outgoing
from bot.web.access import TOO_LARGE
from bot.web.api.fields import Listed
from bot.web.api.operation import Part
from bot.web.api.rows import part
from bot.web.outcomes import OutgoingShown


class HistoryQuery(Listed):
    """Which part of it."""


def past(rows: Sequence[Outgoing], limit: int) -> Part:
    """Of one row more than was asked for, as it is shown."""
    found = part(rows, limit, lambda one: str(one.id))
    return Part([OutgoingShown.model_validate(one) for one in found.items], found.after)


async def repeated(session: AsyncSession, lane: Lane, number: int, whose: str) -> Outgoing:
    """That again, by its own guid, as a row of its own: what came of it before stays to be seen.

    Raises HTTPException for what that lane was never owed.
    """
    before = await session.get(Outgoing, number) if number < TOO_LARGE else None
    if before is None or before.lane != str(lane):
        raise HTTPException(404, f"{whose} was sent no {number}: GET …/deliveries lists them")
    made = Outgoing(
        guid=before.guid, lane=before.lane, event=before.event, body=before.body, thing=before.thing
    )
    session.add(made)
    await session.flush()
    return made
