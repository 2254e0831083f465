"""What a delivery leads to: a value, made by `events` and written by `record`."""

from __future__ import annotations

from dataclasses import dataclass

from bot.github.forge import PullHead
from bot.plan import PlannedJob


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


@dataclass(frozen=True)
class Complaint:
    """A failed status about something that keeps a commit from being run at all."""

    sha: str
    context: str
    description: str


@dataclass(frozen=True)
class Decision:
    """What is done about a delivery, and the reason for people."""

    reason: str
    cause: Cause | None = None
    jobs: tuple[PlannedJob, ...] = ()
    pull: PullHead | None = None
    complaint: Complaint | None = None
    reactions: tuple[tuple[int, str], ...] = ()  # comment id, content
