"""What a behaviour may look at to decide: GitHub as it is now, and the store."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from bot.decision import Cause, Complaint, Decision
from bot.github.forge import GitHub, PullHead
from bot.plan import PlannedJob
from bot.store.database import Store
from bot.store.tables import Pull, Repository
from bot.texts import MOST_STATUS, shortened
from config.errors import ConfigError
from config.repository import FILE, forbidden, parse
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
        config = await asyncio.to_thread(parse, await self.github.file(self.repository, FILE, sha))
        settings = self.settings
        if asked := forbidden(config, settings.trusts(self.repository.full_name), settings.registries):
            raise ConfigError("\n".join(asked))
        return config

    async def trusted(self) -> Config:
        """The default branch's file: no other branch loosens the gates that hold it. Raises ConfigError."""
        branch = self.repository.default_branch
        return await self.config(await self.github.branch_head(self.repository, branch) or branch)

    async def known_pull(self, number: int) -> Pull | None:
        """The pull request as it was last announced."""
        async with self.store.reading() as session:
            return await session.get(Pull, (self.repository.id, number))

    def caused(self, cause: Cause, config: Config) -> Cause:
        """The cause, with what the file says of older runs of its ref."""
        return dataclasses.replace(cause, queues=config.concurrency == "queue")

    async def may_write(self, login: str) -> bool:
        """Whether `login` has write access, by GitHub's word of the last minute. Raises GitHubError."""
        return await self.permissions.of(self.github, self.repository, login) in ("write", "admin")


def bad_config(sha: str, error: ConfigError, pull: PullHead | None = None) -> Decision:
    """A file that cannot be used is a failed status, and told in the comment; never silence."""
    description = shortened(str(error), MOST_STATUS)
    complaint = Complaint(sha, "blacktree/build", description)
    waiting = str(error) if pull else None
    return Decision(f"not run: {error}", pull=pull, complaint=complaint, waiting=waiting)


def untouched(
    sha: str,
    whole: Sequence[PlannedJob],
    jobs: Sequence[PlannedJob],
    said: str = "Not touched by this change",
) -> tuple[Complaint, ...]:
    """A good word for each status that this change needs no job for: what is required must not stall."""
    named = {job.context for job in jobs}
    left_out = [job.context for job in whole if job.context and job.context not in named]
    return tuple(Complaint(sha, context, shortened(said, MOST_STATUS), "success") for context in left_out)
