"""What a behaviour may look at to decide: GitHub as it is now, and the store."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from bot.decisions.decision import Cause, Complaint, Decision
from bot.decisions.files import Said, said
from bot.decisions.patience import Patience
from bot.decisions.plan import PlannedJob
from bot.github.forge import GitHub, PullHead
from bot.reports.texts import MOST_STATUS, shortened
from bot.store.database import Store
from bot.store.tables import Pull, Repository
from config.authority import governed, misnamed, unheard
from config.errors import ConfigError
from config.processes import exposing, unroutable
from config.repository import FILE, forbidden
from config.repository import Repository as Config
from config.settings import Settings

_MOST_KEYS = 16  # that people are told


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
    patience: Patience = field(default_factory=Patience)
    _files: dict[str, Said] = field(default_factory=dict, repr=False)
    _heads: dict[str, str | None] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.github, GitHub):
            object.__setattr__(self, "github", self.github.for_one_decision())

    async def config(self, sha: str, branch: str | None = None) -> Config:
        """What a commit is run as: a push to the default `branch` as its own file says.

        Of any other commit the default branch's file decides all but how it is built and run, whatever its
        own says. Raises ConfigError with what is wrong in either, and GitHubError.
        """
        own = await self.file(sha)
        if branch == self.repository.default_branch:
            return own
        return governed(await self.ruling(), own)

    async def ruling(self) -> Config:
        """The default branch's file, which decides. Raises ConfigError and GitHubError."""
        branch = self.repository.default_branch
        sha = await self.head(branch)
        if sha is None:
            raise ConfigError(f"there is no branch {branch}, whose {FILE} decides what may run")
        try:
            return await self.file(sha)
        except ConfigError as error:
            raise ConfigError(f"{branch} decides, and its file cannot be used: {error}") from None

    async def file(self, sha: str) -> Config:
        """The file of a commit as it stands there, read once. Raises ConfigError and GitHubError."""
        if sha not in self._files:
            self._files[sha] = await self._file(sha)
        return self._files[sha].config

    async def _file(self, sha: str) -> Said:
        found = await said(self.github, self.repository, sha)
        config = found.config
        settings = self.settings
        name = self.repository.full_name
        asked = forbidden(config, settings.trusts(name), settings.registries)
        if settings.proxy != "none":
            asked += misnamed(config, name, settings.host_rules)
        else:
            asked += [f"{FILE}: {key}: {why}" for key, why in unroutable(config)]
        if not settings.tcp_ports:
            asked += [f"{FILE}: {key}: {why}" for key, why in exposing(config)]
        if asked:
            raise ConfigError("\n".join(asked))
        return found

    async def head(self, branch: str) -> str | None:
        """The commit that a branch is at, asked once; None where there is no such branch.

        What is asked of GitHub by a branch's name may be answered about a tag of that name.
        """
        if branch not in self._heads:
            self._heads[branch] = await self.github.branch_head(self.repository, branch)
        return self._heads[branch]

    async def unheard(self, sha: str) -> str:
        """For people: what of a commit's file does not count yet; empty if all does. As `config` raises."""
        keys, left_out = unheard(await self.ruling(), await self.file(sha)), await self.left_out(sha)
        return "\n".join([*([self._not_yet(keys, sha)] if keys else []), *left_out])

    async def left_out(self, sha: str) -> list[str]:
        """For people: what of a commit's Compose file is not carried over, below a line that says so."""
        await self.file(sha)
        found = self._files[sha]
        if not (lines := found.left_out):
            return []
        more = [f"{found.name}: and {len(lines) - _MOST_KEYS} more"] if len(lines) > _MOST_KEYS else []
        return [f"Of this commit's {found.name} these are left out:", *lines[:_MOST_KEYS], *more]

    def _not_yet(self, keys: Sequence[str], sha: str) -> str:
        more = f" and {len(keys) - _MOST_KEYS} more" if len(keys) > _MOST_KEYS else ""
        branch = self.repository.default_branch
        named, file = ", ".join(keys[:_MOST_KEYS]) + more, self._files[sha].name
        return f"Of this commit's {file} these do not count before they are on {branch}: {named}"

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


async def left_out(desk: Desk, sha: str) -> tuple[Complaint, ...]:
    """A good word in a status of its own that some of a commit's Compose file is left out, if so."""
    _, *lines = await desk.left_out(sha) or [""]
    named = list(dict.fromkeys(line.split(": ")[1] for line in lines))
    told = f"Left out, and told by `blacktree config check`: {', '.join(named)}"
    return (Complaint(sha, "blacktree/compose", shortened(told, MOST_STATUS), "success"),) if named else ()


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
