"""Freeze windows that ended: what they held last becomes a delivery of our own making."""

from __future__ import annotations

import json
from datetime import datetime

import structlog
from sqlmodel import col, select

from bot.decisions.effects import THAW
from bot.store.database import Store
from bot.store.tables import Delivery, Mark, Repository
from bot.sweeps import marks
from workers.contract.messages import now

EVERY = 30.0  # seconds

log = structlog.get_logger()


async def sweep(store: Store) -> None:
    """Have each deploy decided about again that only a window held which is over."""
    held = select(Mark).where(col(Mark.name).startswith(THAW, autoescape=True))
    async with store.reading() as session:
        rows = (await session.exec(held)).all()
    for row in rows:
        told = json.loads(row.value)
        if datetime.fromisoformat(told["until"]) <= now():
            await _thaw(store, row.name, told)


async def _thaw(store: Store, name: str, told: dict[str, str]) -> None:
    repository_id, _, environment = name.removeprefix(THAW).partition(":")
    async with store.transaction() as session:
        mark, repository = await session.get(Mark, name), await session.get(Repository, int(repository_id))
        if mark is None or json.loads(mark.value) != told:
            return
        await session.delete(mark)
        if repository is None:
            return
        payload = marks.surroundings(repository, marks.about(repository)) | {
            "thaw": {"environment": environment, **told}
        }
        delivery = Delivery(
            guid=marks.guid(), event="thaw", repository_id=repository.id, payload=json.dumps(payload)
        )
        session.add(delivery)
    store.instruments.found("thaws")
    log.info("freeze over", repository=repository.full_name, environment=environment, ref=told["ref"])
