"""The nouns of GitHub that the stand-in keeps in memory. Times are UTC."""

import base64
import secrets
import string
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from tests.github.bare import ZERO, Bare, Signature
from tests.github.work import WorkTree

Json = dict[str, Any]
Permission = Literal["none", "read", "triage", "write", "maintain", "admin"]
RANKS: tuple[Permission, ...] = ("none", "read", "triage", "write", "maintain", "admin")
REACTIONS = ("+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes")
ALPHABET = string.ascii_letters + string.digits


def node_id(kind: str, number: int) -> str:
    return base64.b64encode(f"{kind}:{number}".encode()).decode()


def random_token(prefix: str, length: int) -> str:
    return prefix + "".join(secrets.choice(ALPHABET) for _ in range(length))


@dataclass(frozen=True)
class User:
    id: int
    login: str
    kind: Literal["User", "Organization", "Bot"] = "User"
    token: str = field(default="", repr=False)
    created_at: datetime = field(default_factory=lambda: datetime.fromisoformat("2020-01-01T00:00:00+00:00"))

    @property
    def email(self) -> str:
        return f"{self.id}+{self.login}@users.noreply.github.com"

    def signature(self, now: datetime) -> Signature:
        return Signature(self.login, self.email, now)


@dataclass
class Repository:
    id: int
    owner: User
    name: str
    bare: Bare
    web: str
    created_at: datetime
    pushed_at: datetime
    private: bool = True
    default_branch: str = "main"
    collaborators: dict[str, Permission] = field(default_factory=dict)
    parent: "Repository | None" = None
    archived: bool = False
    pulls: dict[int, "Pull"] = field(default_factory=dict)
    issues: dict[int, "Issue"] = field(default_factory=dict)
    protections: dict[str, "Protection"] = field(default_factory=dict)

    @property
    def full_name(self) -> str:
        return f"{self.owner.login}/{self.name}"

    @property
    def clone_url(self) -> str:
        return f"{self.web}/{self.full_name}.git"

    async def clone(self, path: Path, user: User) -> WorkTree:
        """A clone at `path` in which `user` works."""
        return await WorkTree.clone(
            self.clone_url, path, login=user.login, email=user.email, token=user.token
        )

    async def head(self, branch: str | None = None) -> str | None:
        """The SHA that a branch (by default the default branch) is at."""
        return await self.bare.resolve(f"refs/heads/{branch or self.default_branch}")

    def next_number(self) -> int:
        """Of the next pull request or issue: they share their numbers."""
        return max((*self.pulls, *self.issues), default=0) + 1

    def role(self, user: User) -> Permission:
        """The highest role that `user` has here."""
        if user.login.casefold() == self.owner.login.casefold():
            return "admin"
        own = self.collaborators.get(user.login.casefold(), "none")
        return max(own, "none" if self.private else "read", key=RANKS.index)


@dataclass
class Pull:
    id: int
    number: int
    repository: Repository
    user: User
    title: str
    body: str | None
    base: str
    head: str
    head_repository: Repository | None
    head_owner: User
    created_at: datetime
    updated_at: datetime
    draft: bool = False
    locked: bool = False
    state: Literal["open", "closed"] = "open"
    base_sha: str = ZERO
    head_sha: str = ZERO
    closed_at: datetime | None = None
    merged_at: datetime | None = None
    merged_by: User | None = None
    merge_commit_sha: str | None = None
    mergeable: bool | None = None
    commits: int = 0
    additions: int = 0
    deletions: int = 0
    changed_files: int = 0
    labels: list[str] = field(default_factory=list)


@dataclass
class Issue:
    """One that is no pull request."""

    id: int
    number: int
    repository: Repository
    user: User
    title: str
    body: str | None
    created_at: datetime
    updated_at: datetime
    labels: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Protection:
    """What a branch asks of a merge into it. `ruleset`: by a rule set, which everybody may read."""

    checks: tuple[str, ...] = ()
    reviews: int = 0
    strict: bool = False
    ruleset: bool = False


@dataclass(frozen=True)
class Review:
    id: int
    pull: Pull
    user: User
    state: str
    sha: str
    body: str
    submitted_at: datetime


@dataclass
class CheckRun:
    """`conclusion` None: it is not over. `suite` is the id of its suite: one for each commit.

    `app`: whether it is the App's, and no CI's.
    """

    id: int
    repository: Repository
    sha: str
    name: str
    conclusion: str | None
    suite: int
    started_at: datetime
    completed_at: datetime | None
    app: bool = False
    status: str = "in_progress"  # while it is not over
    external_id: str = ""
    details_url: str = ""
    title: str | None = None
    summary: str | None = None
    annotations: list[Json] = field(default_factory=list)
    actions: list[Json] = field(default_factory=list)


@dataclass(frozen=True)
class Release:
    id: int
    repository: Repository
    tag: str
    target: str
    author: User
    prerelease: bool
    created_at: datetime


@dataclass
class Comment:
    id: int
    repository: Repository
    number: int
    user: User
    body: str
    created_at: datetime
    updated_at: datetime
    by_app: bool = False


@dataclass(frozen=True)
class Reaction:
    id: int
    comment_id: int
    user: User
    content: str
    created_at: datetime


@dataclass(frozen=True)
class Status:
    id: int
    repository: Repository
    sha: str
    state: str
    context: str
    description: str | None
    target_url: str | None
    creator: User
    created_at: datetime


@dataclass(frozen=True)
class DeploymentStatus:
    id: int
    deployment_id: int
    state: str
    description: str
    environment: str
    log_url: str
    environment_url: str
    creator: User
    created_at: datetime


@dataclass
class Deployment:
    id: int
    repository: Repository
    sha: str
    ref: str
    task: str
    environment: str
    description: str | None
    payload: Json | str
    transient: bool
    production: bool
    auto_merge: bool
    creator: User
    created_at: datetime
    by_app: bool = False
    statuses: list[DeploymentStatus] = field(default_factory=list)

    @property
    def state(self) -> str | None:
        """The state of its newest status, None before the first."""
        return self.statuses[-1].state if self.statuses else None


@dataclass
class Hook:
    """A place that events are POSTed to. `repository` None: the App's own."""

    id: int
    url: str | None
    secret: str | None
    events: frozenset[str]
    created_at: datetime
    repository: Repository | None = None
    content_type: Literal["json", "form"] = "json"
    active: bool = True


@dataclass
class Delivery:
    """One try at sending one event. `duration` in seconds; `status_code` 0: there was no answer."""

    id: int
    guid: str
    hook: Hook
    event: str
    action: str | None
    payload: Json
    redelivery: bool
    installation_id: int | None
    repository_id: int | None
    request_headers: dict[str, str] = field(default_factory=dict)
    delivered_at: datetime | None = None
    sent_at: float = 0.0  # seconds since 1970: what GitHub shows has no fractions
    duration: float = 0.0
    status: str = "pending"
    status_code: int = 0
    response_headers: dict[str, str] = field(default_factory=dict)
    response_body: str = ""

    @property
    def ok(self) -> bool:
        return 200 <= self.status_code < 300


@dataclass
class Installation:
    id: int
    account: User
    permissions: dict[str, str]
    created_at: datetime
    repositories: set[int] = field(default_factory=set)
    suspended_at: datetime | None = None


@dataclass(frozen=True)
class InstallationToken:
    token: str = field(repr=False)
    installation: Installation
    permissions: dict[str, str]
    repositories: frozenset[int] | None
    expires_at: datetime

    def reaches(self, repository: Repository) -> bool:
        reachable: Iterable[int] = self.installation.repositories
        return repository.id in reachable and (
            self.repositories is None or repository.id in self.repositories
        )


@dataclass(frozen=True)
class Code:
    """What a manifest's form gave: good for the keys of that App, once."""

    app_id: int
    expires_at: datetime


@dataclass(frozen=True)
class Grant:
    """What `login/oauth/authorize` gave: good for a token of this person's, once, to who has the verifier."""

    user: User
    back: str
    challenge: str
    expires_at: datetime


@dataclass
class App:
    """The GitHub App. `permissions` and `events` are what an installation gets by default."""

    id: int
    slug: str
    owner: User
    bot: User
    private_key: str = field(repr=False)
    public_key: str = field(repr=False)
    hook: Hook = field(repr=False)
    permissions: dict[str, str]
    created_at: datetime
    name: str = "Blacktree"
    website: str = "https://blacktree.example"
    callbacks: tuple[str, ...] = ()
    client_secret: str = field(default_factory=lambda: secrets.token_hex(20), repr=False)

    @property
    def client_id(self) -> str:
        return f"Iv1.{self.id:016x}"

    @property
    def webhook_secret(self) -> str:
        return self.hook.secret or ""

    @property
    def hook_url(self) -> str | None:
        return self.hook.url

    @hook_url.setter
    def hook_url(self, url: str | None) -> None:
        self.hook.url = url

    @property
    def events(self) -> frozenset[str]:
        return self.hook.events

    @events.setter
    def events(self, events: Iterable[str]) -> None:
        self.hook.events = frozenset(events)
