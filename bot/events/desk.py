"""What a behaviour may look at to decide: GitHub as it is now, and the store."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from bot.decision import Complaint, Decision
from bot.github.forge import GitHub, PullHead
from bot.store.database import Store
from bot.store.tables import Pull, Repository
from bot.texts import MOST_STATUS, shortened
from config.errors import ConfigError
from config.repository import FILE, parse
from config.repository import Repository as Config
from config.settings import Settings


class Permissions:
    """Who may do what, as GitHub said at most a minute ago."""

    FRESH = 60.0  # seconds
    _MOST = 1000

    def __init__(self) -> None:
        self._known: dict[tuple[int, str], tuple[str, float]] = {}

    async def of(self, github: GitHub, repository: Repository, login: str) -> str:
        """admin, write, read or none. Raises GitHubError."""
        key, clock = (repository.id, login), time.monotonic()
        known = self._known.get(key)
        if known is None or clock - known[1] >= self.FRESH:
            if len(self._known) >= self._MOST:
                self._known.clear()
            known = self._known[key] = (await github.permission(repository, login), clock)
        return known[0]


@dataclass(frozen=True)
class Desk:
    """One delivery's surroundings."""

    github: GitHub
    store: Store
    repository: Repository
    settings: Settings = field(default_factory=Settings)
    permissions: Permissions = field(default_factory=Permissions)

    async def config(self, sha: str) -> Config:
        """The repository's file at a commit. Raises ConfigError with what is wrong in it."""
        return await asyncio.to_thread(parse, await self.github.file(self.repository, FILE, sha))

    async def trusted(self) -> Config:
        """The default branch's file: no other branch loosens the gates that hold it. Raises ConfigError."""
        branch = self.repository.default_branch
        return await self.config(await self.github.branch_head(self.repository, branch) or branch)

    async def known_pull(self, number: int) -> Pull | None:
        """The pull request as it was last announced."""
        async with self.store.reading() as session:
            return await session.get(Pull, (self.repository.id, number))

    async def may_write(self, login: str) -> bool:
        """Whether `login` has write access, by GitHub's word of the last minute. Raises GitHubError."""
        return await self.permissions.of(self.github, self.repository, login) in ("write", "admin")


def bad_config(sha: str, error: ConfigError, pull: PullHead | None = None) -> Decision:
    """A file that cannot be used is a failed status, and told in the comment; never silence."""
    description = shortened(str(error), MOST_STATUS)
    complaint = Complaint(sha, "blacktree/build", description)
    waiting = str(error) if pull else None
    return Decision(f"not run: {error}", pull=pull, complaint=complaint, waiting=waiting)
