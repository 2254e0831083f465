"""Workers, as their heartbeats say."""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import col, select
from starlette.exceptions import HTTPException

from bot.store.database import Store
from bot.store.tables import WorkerRow
from bot.web.api.models import WorkerShown
from bot.web.api.operation import Call, Operation
from bot.web.rules import SOME


@dataclass(frozen=True)
class Workers:
    """The operations."""

    store: Store

    def operations(self) -> list[Operation]:
        return [
            Operation("GET", "/workers", SOME, "All workers, by name", self.workers, list[WorkerShown]),
            Operation("GET", "/workers/{name}", SOME, "A worker", self.worker, WorkerShown),
        ]

    async def workers(self, _call: Call) -> list[WorkerShown]:
        async with self.store.reading() as session:
            rows = (await session.exec(select(WorkerRow).order_by(col(WorkerRow.name)))).all()
        return [WorkerShown.model_validate(row) for row in rows]

    async def worker(self, call: Call) -> WorkerShown:
        async with self.store.reading() as session:
            row = await session.get(WorkerRow, call.path["name"])
        if row is None:
            raise HTTPException(404, "no such worker was heard yet")
        return WorkerShown.model_validate(row)
