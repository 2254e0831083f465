"""The parts of the API that need the store and the logs alone."""

from __future__ import annotations

from dataclasses import dataclass

from bot.store.database import Store
from bot.store.logs import LogStore
from bot.web.api.deliveries import Deliveries
from bot.web.api.jobs import Jobs
from bot.web.api.operation import Operation
from bot.web.api.repositories import Repositories
from bot.web.api.runs import Runs
from bot.web.api.workers import Workers


@dataclass(frozen=True)
class Api:
    """Runs, jobs and logs, workers, deliveries, repositories."""

    store: Store
    logs: LogStore

    def operations(self) -> list[Operation]:
        store = self.store
        parts = (Runs(store), Jobs(store, self.logs), Workers(store), Deliveries(store), Repositories(store))
        return [operation for part in parts for operation in part.operations()]
