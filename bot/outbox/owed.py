"""The rows of what is owed: what a receiver is owed now, and what becomes of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy import case, func, update
from sqlmodel import col, select

from bot.reports.lanes import PING, TEST
from bot.store.database import Store
from bot.store.tables import Outgoing, OutgoingState
from workers.contract.messages import now

TOO_OLD = timedelta(days=1)  # then it is given up
_BATCH = 1000  # as many as one message of a channel is of
_SOON = 5.0  # seconds until the first further try; each is three times as far from the one before
_MOST_WAIT = 3600.0
_MOST_REASON = 500  # characters
_PENDING = col(Outgoing.state) == OutgoingState.PENDING
_TESTS = (TEST, PING)

log = structlog.get_logger()


class Owed:
    """All of it."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def lanes(self) -> dict[str, datetime]:
        """The lanes that something is owed ▸ when the first of it is due."""
        pending = (
            select(Outgoing.lane, func.min(Outgoing.due_at)).where(_PENDING).group_by(col(Outgoing.lane))
        )
        async with self.store.reading() as session:
            return dict((await session.exec(pending)).all())

    async def of(self, lane: str, *, due: bool) -> Sequence[Outgoing]:
        """A part of what a lane is owed, or of what of it is `due`, in the order in which it happened.

        What is too old is given up, all of it.
        """
        await self._give_up(lane)
        mine = select(Outgoing).where(col(Outgoing.lane) == lane, _PENDING)
        if due:
            mine = mine.where(col(Outgoing.due_at) <= now())
        async with self.store.reading() as session:
            return (await session.exec(mine.order_by(col(Outgoing.id)).limit(_BATCH))).all()

    async def _give_up(self, lane: str) -> None:
        old = (col(Outgoing.lane) == lane, _PENDING, col(Outgoing.created_at) < now() - TOO_OLD)
        async with self.store.reading() as session:
            found = (await session.exec(select(func.count(), func.max(Outgoing.reason)).where(*old))).one()
        if not found[0]:
            return
        why = found[1] or "it was not taken within a day"  # also of those that never had their turn
        said = case((col(Outgoing.reason) == "", why), else_=Outgoing.reason)
        async with self.store.transaction() as session:
            gone = update(Outgoing).where(*old).values(state=OutgoingState.GIVEN_UP, reason=said)
            many = (await session.exec(gone)).rowcount
        log.error("given up: it was not taken within a day", lane=lane, many=many, why=why)
        self.store.instruments.outgoing(_kind(lane), "given_up", many)

    async def last(self, lane: str) -> datetime | None:
        """When a channel took its last message that was no test."""
        taken = (Outgoing.lane == lane, Outgoing.state == OutgoingState.SENT, Outgoing.event != TEST)
        async with self.store.reading() as session:
            return (await session.exec(select(func.max(Outgoing.sent_at)).where(*taken))).one()

    async def hold(self, lane: str, until: datetime) -> None:
        """Let a lane rest, but for what somebody tests it with."""
        early = update(Outgoing).where(
            col(Outgoing.lane) == lane,
            _PENDING,
            col(Outgoing.due_at) < until,
            col(Outgoing.event).not_in(_TESTS),
        )
        async with self.store.transaction() as session:
            await session.exec(early.values(due_at=until))

    async def postpone(self, rows: Sequence[Outgoing], reason: str, status: int | None = None) -> None:
        """Try these again later."""
        async with self.store.transaction() as session:
            for attempts in {one.attempts for one in rows}:
                theirs = [one.id for one in rows if one.attempts == attempts]
                mine = update(Outgoing).where(col(Outgoing.id).in_(theirs), _PENDING)
                due, why = now() + timedelta(seconds=backoff(attempts)), reason[:_MOST_REASON]
                tried = {"attempts": attempts + 1, "due_at": due, "reason": why, "status": status}
                await session.exec(mine.values(**tried))
        if rows:
            self.store.instruments.outgoing(_kind(rows[0].lane), "postponed", len(rows))

    async def end(
        self, rows: Sequence[Outgoing], state: OutgoingState, reason: str = "", status: int | None = None
    ) -> None:
        """That is what became of these."""
        if not rows:
            return
        mine = update(Outgoing).where(col(Outgoing.id).in_([one.id for one in rows]))
        tried = Outgoing.attempts if state is OutgoingState.LEFT_OUT else Outgoing.attempts + 1
        ended = {"state": state, "reason": reason[:_MOST_REASON], "status": status, "attempts": tried}
        async with self.store.transaction() as session:
            await session.exec(mine.values(**ended, sent_at=now() if state is OutgoingState.SENT else None))
        lane = rows[0].lane
        log.info("outgoing", lane=lane, outcome=state.value, guids=[one.guid for one in rows], reason=reason)
        self.store.instruments.outgoing(_kind(lane), state.value.replace(" ", "_"), len(rows))


def backoff(attempts: int) -> float:
    """Pure: seconds until the next try, after so many before."""
    return min(_SOON * 3.0 ** min(attempts, 20), _MOST_WAIT)


def _kind(lane: str) -> str:
    return lane.partition(":")[0]
