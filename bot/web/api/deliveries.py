"""Deliveries: what GitHub told, what came of it, and once more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import defer
from sqlmodel import col, select
from starlette.exceptions import HTTPException
from starlette.requests import Request

from bot.store.database import Store
from bot.store.tables import Delivery, DeliveryState
from bot.web.api.fields import FullName, Listed, Word
from bot.web.api.models import DeliveryListed, DeliveryShown, Said
from bot.web.api.operation import Call, Operation, Part
from bot.web.api.rows import alike, most, only, part, time_cursor, time_of
from bot.web.guard import changed, within
from bot.web.rules import SOME, Of, deploys, reads
from workers.contract.messages import now

_PAYLOAD: Any = Delivery.payload


class DeliveriesQuery(Listed):
    """Which deliveries."""

    repository: FullName | None = None
    state: DeliveryState | None = None
    event: Word | None = None


@dataclass(frozen=True)
class Deliveries:
    """The operations."""

    store: Store

    def operations(self) -> list[Operation]:
        at, look = "/deliveries/{guid}", reads(Of.DELIVERY)
        return [
            Operation(
                "GET",
                "/deliveries",
                SOME,
                "The newest deliveries",
                self.deliveries,
                list[DeliveryListed],
                DeliveriesQuery,
            ),
            Operation("GET", at, look, "A delivery, its payload as it came", self.delivery, DeliveryShown),
            Operation(
                "POST",
                f"{at}/replay",
                deploys(Of.DELIVERY),
                "Decide about a delivery again",
                self.replay,
                Said,
                status=202,
                makes=True,
            ),
        ]

    async def deliveries(self, call: Call) -> Part:
        query: DeliveriesQuery = call.query
        newest = select(Delivery).options(defer(_PAYLOAD))
        newest = newest.where(within(call.request, Delivery.repository_id))
        newest = newest.where(*alike((Delivery.state, query.state), (Delivery.event, query.event)))
        at, guid = col(Delivery.received_at), col(Delivery.guid)
        if query.cursor is not None:
            since, key = time_of(query.cursor)
            newest = newest.where((at < since) | ((at == since) & (guid < key)))
        limit = most(query.limit)
        async with self.store.reading() as session:
            if (one := await only(session, query.repository)) is not None:
                newest = newest.where(Delivery.repository_id == one)
            rows = (await session.exec(newest.order_by(at.desc(), guid.desc()).limit(limit + 1))).all()
        found = part(rows, limit, lambda row: time_cursor(row.received_at, row.guid))
        return Part([DeliveryListed.model_validate(row) for row in found.items], found.after)

    async def delivery(self, call: Call) -> DeliveryShown:
        async with self.store.reading() as session:
            row = await session.get(Delivery, call.path["guid"])
        if row is None:
            raise HTTPException(404, "there is no such delivery")
        return DeliveryShown.model_validate(row)

    async def replay(self, call: Call) -> Said:
        """From GitHub's state of now; what it has caused is not done twice."""
        await replayed(self.store, call.request, call.path["guid"])
        return Said(message="it is decided about again")


async def replayed(store: Store, request: Request, guid: str) -> None:
    """Have it decided about again. Raises HTTPException."""
    async with store.transaction() as session:
        row = await session.get(Delivery, guid)
        if row is None:
            raise HTTPException(404, "there is no such delivery")
        row.state, row.attempts, row.due_at = DeliveryState.RECEIVED, 0, now()
        changed(request, f"had delivery {row.guid} decided about again")
