"""What a delivery leads to: a value, made by `events` and `commands`, and written by `record`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bot.decisions.plan import PlannedJob
from bot.github.forge import PullHead
from bot.store.tables import CommandState


class Refused(Exception):
    """What somebody asks for is not done; the text says why and what to do."""


@dataclass(frozen=True)
class RepositoryFacts:
    """What a payload says of its repository."""

    id: int
    full_name: str
    default_branch: str
    private: bool
    installation_id: int | None


@dataclass(frozen=True)
class Cause:
    """Why there is a run. Two deliveries of one cause have one `key`."""

    kind: str
    key: str
    ref: str
    sha: str
    actor: str
    pull_number: int | None = None
    comment_id: int | None = None
    fork: bool = False  # a stranger's code
    queues: bool = False  # older runs of the ref go on

    @property
    def head_of(self) -> int | None:
        """The pull request whose head it is about; None where a comment there asks for something else."""
        return self.pull_number if self.ref.startswith("refs/pull/") else None


@dataclass(frozen=True)
class Complaint:
    """A status about something that keeps a commit, or a part of it, from being run."""

    sha: str
    context: str
    description: str
    state: str = "failure"


@dataclass(frozen=True)
class Heard:
    """One command of a comment, and what became of it so far."""

    number: int
    comment_id: int
    line: str
    actor: str
    sha: str
    state: CommandState
    answer: str


@dataclass(frozen=True)
class TakeLock:
    """Nothing is deployed to `environment` (any, if empty) but by whoever frees it."""

    environment: str
    owner: str
    reason: str
    pull_number: int | None  # from which it was taken
    expires_at: datetime | None = None


@dataclass(frozen=True)
class FreeLock:
    """The end of a lock."""

    environment: str


@dataclass(frozen=True)
class FreeLocksOf:
    """The end of the locks of these environments that were taken from a pull request which is merged."""

    pull_number: int
    environments: tuple[str, ...]


@dataclass(frozen=True)
class Approve:
    """Exactly this commit may be built, or deployed."""

    pull_number: int
    sha: str
    actor: str


@dataclass(frozen=True)
class Want:
    """A commit waits for an approval, to be deployed to `environment`; to be built, if empty."""

    environment: str
    pull_number: int | None
    sha: str
    ref: str
    actor: str
    why: str
    approved: bool = False  # something else alone still holds it


@dataclass(frozen=True)
class Unwant:
    """What waited for an approval of this commit there waits no more: it has been overtaken."""

    environment: str
    pull_number: int | None
    sha: str


@dataclass(frozen=True)
class Deny:
    """Somebody says no to what waits for an approval of this commit."""

    sha: str
    actor: str


@dataclass(frozen=True)
class CancelJob:
    """Somebody ends one job, by a button at GitHub."""

    job: str
    actor: str


@dataclass(frozen=True)
class CancelJobs:
    """End everything that a pull request still does."""

    pull_number: int
    sentence: str


@dataclass(frozen=True)
class Extend:
    """When a pull request's preview is stopped."""

    pull_number: int
    until: datetime


@dataclass(frozen=True)
class Thaw:
    """A freeze window holds a deploy of a ref: it is decided about again when that ends.

    It is then still `actor`'s wish, if the ref is still at `sha`.
    """

    environment: str
    ref: str
    sha: str
    actor: str
    until: datetime


@dataclass(frozen=True)
class Maintain:
    """What visitors of an environment are told instead of the app; empty for the app."""

    environment: str
    text: str


@dataclass(frozen=True)
class Tell:
    """What a pull request's comment says first."""

    pull_number: int
    text: str


@dataclass(frozen=True)
class Channels:
    """Who the default branch's file wants to be told of what goes wrong, by name: channels as it has them."""

    said: dict[str, Any]


@dataclass(frozen=True)
class Wake:
    """Look at once for images that are built elsewhere and waited for: of one commit, or of all."""

    sha: str | None


Effect = (
    TakeLock
    | FreeLock
    | FreeLocksOf
    | Approve
    | Want
    | Unwant
    | Deny
    | CancelJob
    | CancelJobs
    | Extend
    | Thaw
    | Maintain
    | Tell
    | Channels
    | Wake
)


@dataclass(frozen=True)
class Decision:
    """What is done about a delivery, and the reason for people."""

    reason: str
    cause: Cause | None = None
    jobs: tuple[PlannedJob, ...] = ()
    pull: PullHead | None = None
    complaint: Complaint | None = None
    reactions: tuple[tuple[int, str], ...] = ()  # comment id, content
    notes: tuple[Complaint, ...] = ()  # statuses of what needs no job
    waiting: str | None = None  # for what the pull request's head waits; None leaves what was said
    heard: Heard | None = None
    effects: tuple[Effect, ...] = ()
    further: tuple[Decision, ...] = ()  # the other commands of one comment
    later: float | None = None  # seconds after which the delivery is decided again
