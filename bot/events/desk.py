"""What a behaviour may look at to decide: GitHub as it is now, and the store."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from bot.decision import Complaint, Decision
from bot.github.forge import GitHub, PullHead
from bot.store.database import Store
from bot.store.tables import Pull, Repository
from bot.texts import MOST_STATUS, shortened
from config.errors import ConfigError
from config.repository import FILE, parse
from config.repository import Repository as Config


@dataclass(frozen=True)
class Desk:
    """One delivery's surroundings. `repository` is None for events that have none."""

    github: GitHub
    store: Store
    repository: Repository

    async def config(self, sha: str) -> Config:
        """The repository's file at a commit. Raises ConfigError with what is wrong in it."""
        return await asyncio.to_thread(parse, await self.github.file(self.repository, FILE, sha))

    async def known_pull(self, number: int) -> Pull | None:
        """The pull request as it was last announced."""
        async with self.store.reading() as session:
            return await session.get(Pull, (self.repository.id, number))


def bad_config(sha: str, error: ConfigError, pull: PullHead | None = None) -> Decision:
    """A file that cannot be used is a failed status, never silence."""
    description = shortened(str(error), MOST_STATUS)
    complaint = Complaint(sha, "blacktree/build", description)
    return Decision(f"not run: {error}", pull=pull, complaint=complaint)
