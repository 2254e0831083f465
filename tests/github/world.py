"""Everything that the stand-in knows: accounts, repositories, the App and what was written to them."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, Literal

from tests.github.bare import Bare
from tests.github.faults import Faults
from tests.github.feed import Feed
from tests.github.keys import key_pair
from tests.github.model import (
    App,
    CheckRun,
    Code,
    Comment,
    Deployment,
    Grant,
    Hook,
    Installation,
    InstallationToken,
    Permission,
    Pull,
    Reaction,
    Release,
    Repository,
    Review,
    Status,
    User,
    random_token,
)
from tests.github.post import PostOffice

PERMISSIONS = {
    "metadata": "read",
    "contents": "read",
    "statuses": "write",
    "deployments": "write",
    "pull_requests": "write",
    "issues": "write",
    "checks": "read",
}
EVENTS = frozenset(
    {
        *("push", "pull_request", "pull_request_review", "issue_comment", "create", "delete", "merge_group"),
        *("release", "check_suite", "check_run", "repository"),
    }
)


@dataclass(frozen=True)
class LoggedRequest:
    """One API request as it came, without its credentials. `status` None: it was never answered."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    status: int | None
    by: str


@dataclass
class World:
    root: Path
    url: str
    offset: timedelta = timedelta(0)
    token_lifetime: timedelta = timedelta(hours=1)
    rate_limit: int = 5000
    feed: Feed = field(default_factory=Feed)
    faults: Faults = field(default_factory=Faults)
    users: dict[str, User] = field(default_factory=dict)
    repositories: dict[int, Repository] = field(default_factory=dict)
    old_names: dict[str, int] = field(default_factory=dict)
    installations: dict[int, Installation] = field(default_factory=dict)
    tokens: dict[str, InstallationToken] = field(default_factory=dict)
    hooks: dict[int, Hook] = field(default_factory=dict)
    comments: dict[int, Comment] = field(default_factory=dict)
    reactions: dict[int, Reaction] = field(default_factory=dict)
    deployments: dict[int, Deployment] = field(default_factory=dict)
    reviews: dict[int, Review] = field(default_factory=dict)
    check_runs: dict[int, CheckRun] = field(default_factory=dict)
    codes: dict[str, Code] = field(default_factory=dict)
    grants: dict[str, Grant] = field(default_factory=dict)
    user_tokens: dict[str, tuple[User, datetime]] = field(default_factory=dict)
    members: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    visitor: User | None = None  # who sits before the browser that comes to the pages
    releases: dict[int, Release] = field(default_factory=dict)
    statuses: dict[tuple[int, str], list[Status]] = field(default_factory=lambda: defaultdict(list))
    requests: list[LoggedRequest] = field(default_factory=list)
    used: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    locks: dict[int, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))

    def __post_init__(self) -> None:
        self.root = self.root.absolute()
        self.ids = count(1001)
        self.started = self.now()
        self.app = self._make_app()
        self.post = PostOffice(self.feed, self.ids, self.now, self.app.id)

    @property
    def api_url(self) -> str:
        return f"{self.url}/api/v3"

    def now(self) -> datetime:
        """The time on GitHub's clock, in whole seconds."""
        return (datetime.now(UTC) + self.offset).replace(microsecond=0)

    def account(self, login: str, kind: Literal["User", "Organization", "Bot"] = "User") -> User:
        """The account of that name, created at its first mention."""
        key = login.casefold()
        if key not in self.users:
            token = random_token("ghp_", 36) if kind == "User" else ""
            self.users[key] = User(next(self.ids), login, kind, token, self.now())
        return self.users[key]

    def user_by_email(self, email: str) -> User | None:
        return next((user for user in self.users.values() if user.email == email), None)

    def user_by_token(self, token: str) -> User | None:
        if token in self.user_tokens:
            user, until = self.user_tokens[token]
            return user if until > self.now() else None
        return next((user for user in self.users.values() if token and user.token == token), None)

    async def create_repository(
        self,
        full_name: str,
        *,
        private: bool,
        default_branch: str,
        collaborators: Mapping[str, Permission],
        parent: Repository | None = None,
    ) -> Repository:
        owner, _, name = full_name.partition("/")
        if self.find(owner, name):
            raise ValueError(f"{full_name} is there already")
        number, now = next(self.ids), self.now()
        repository = Repository(
            id=number,
            owner=self.users.get(owner.casefold()) or self.account(owner, "Organization"),
            name=name,
            bare=Bare(self.root / f"{number}.git"),
            web=self.url,
            created_at=now,
            pushed_at=now,
            private=private,
            default_branch=default_branch,
            collaborators={login.casefold(): role for login, role in collaborators.items()},
            parent=parent,
        )
        for login in collaborators:
            self.account(login)
        self.repositories[number] = repository
        return repository

    def find(self, owner: str, name: str) -> Repository | None:
        wanted = f"{owner}/{name}".casefold()
        return next((one for one in self.repositories.values() if one.full_name.casefold() == wanted), None)

    def moved(self, owner: str, name: str) -> Repository | None:
        """The repository that once had this name."""
        return self.repositories.get(self.old_names.get(f"{owner}/{name}".casefold(), 0))

    def rename(self, repository: Repository, full_name: str) -> None:
        owner, _, name = full_name.partition("/")
        self.old_names[repository.full_name.casefold()] = repository.id
        repository.owner = self.users.get(owner.casefold()) or self.account(owner, "Organization")
        repository.name = name

    def installation_of(self, repository: Repository) -> Installation | None:
        return next((one for one in self.installations.values() if repository.id in one.repositories), None)

    def pulls(self) -> Iterator[Pull]:
        for repository in self.repositories.values():
            yield from repository.pulls.values()

    def hooks_of(self, repository: Repository, event: str) -> list[Hook]:
        """The hooks that want this event, the App's first."""
        installation = self.installation_of(repository)
        app = [self.app.hook] if self.app.hook.url and installation and not installation.suspended_at else []
        own = [hook for hook in self.hooks.values() if hook.repository is repository and hook.active]
        return [hook for hook in [*app, *own] if {"*", event} & hook.events]

    def new_token(
        self, installation: Installation, permissions: dict[str, str], repositories: frozenset[int] | None
    ) -> InstallationToken:
        expires = self.now() + self.token_lifetime
        token = InstallationToken(random_token("ghs_", 92), installation, permissions, repositories, expires)
        self.tokens[token.token] = token
        return token

    def adopt(self, app: App) -> None:
        """Let this be the App that the stand-in knows; the one before is gone, with its installations."""
        self.app = app
        self.post.app_id = app.id
        self.installations.clear()
        self.tokens.clear()

    def _make_app(self) -> App:
        private, public = key_pair()
        hook = Hook(next(self.ids), None, random_token("", 32), EVENTS, self.now())
        return App(
            id=next(self.ids),
            slug="blacktree",
            owner=self.account("blacktree-owner"),
            bot=self.account("blacktree[bot]", "Bot"),
            private_key=private,
            public_key=public,
            hook=hook,
            permissions=dict(PERMISSIONS),
            created_at=self.now(),
        )
