"""What GitHub said once, for as long as one decision lasts."""

from __future__ import annotations

from typing import Any

from bot.github.calls import Calls
from bot.store.tables import Repository


class Kept(Calls):
    """Calls that ask each thing once. Who shares these shares one moment of GitHub's."""

    def __init__(self, calls: Calls) -> None:
        super().__init__(calls.client, calls.auth)
        self._said: dict[tuple[object, ...], Any] = {}

    async def get(self, repository: Repository, path: str, **variables: str) -> Any:
        asked = (repository.id, path, *sorted(variables.items()))
        if asked not in self._said:
            self._said[asked] = await super().get(repository, path, **variables)
        return self._said[asked]
