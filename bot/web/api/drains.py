"""A worker that is to take no more jobs: kept with its row, and told it until it drains."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request

from bot.store.database import Store
from bot.store.tables import WorkerRow
from bot.web.api.fields import Signed
from bot.web.api.models import Said
from bot.web.api.operation import Call, Operation, whose
from bot.web.guard import changed
from bot.web.rules import Of, Rule
from config.settings import Settings


class DrainBody(Signed):
    """Why, for the history."""


@dataclass(frozen=True)
class Drains:
    """The operation."""

    store: Store
    settings: Settings

    def operations(self) -> list[Operation]:
        ends, says = Rule(Of.INSTANCE, audited=True), "Let it take no more jobs, end those that run, and end"
        return [
            Operation(
                "POST", "/workers/{name}/drain", ends, says, self.drain, Said, body=DrainBody, status=202
            )
        ]

    async def drain(self, call: Call) -> Said:
        return Said(message=await self.drained(call.request, call.path["name"], call.body))

    async def drained(self, request: Request, name: str, body: Signed) -> str:
        """Have it drain; what is done. Of its next life nothing is said. Raises HTTPException."""
        if self.settings.queue_url.startswith("memory"):
            raise HTTPException(422, f"{name} and the bot are one process here: end that instead")
        async with self.store.transaction() as session:
            row = await session.get(WorkerRow, name)
            if row is None or row.stopped:
                raise HTTPException(404, f"there is no worker {name} that runs")
            row.leaving = row.instance
            changed(request, f"let worker {name} drain{whose(request, body)}", body.why)
        return f"{name} takes no more jobs, and ends when those that run have ended"
