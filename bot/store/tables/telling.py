"""What people ask for in comments, what holds a deploy, and what GitHub is owed."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, Index, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from bot.store.tables.columns import NEVER_TWICE, Moment, words
from workers.contract.messages import now


class CommandState(StrEnum):
    ACCEPTED = "accepted"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REFUSED = "refused"


class CommandRow(SQLModel, table=True):
    """One slash-command line that somebody wrote, and what became of it."""

    __tablename__ = "commands"

    id: int | None = Field(default=None, primary_key=True)
    repository_id: int = Field(sa_type=BigInteger)
    pull_number: int
    comment_id: int = Field(sa_type=BigInteger, index=True)
    line: str
    actor: str
    sha: str = Field(description="the head that it acts on")
    state: CommandState = Field(sa_type=words(CommandState))
    answer: str = Field(sa_type=Text, description="for people, in plain text")
    run_id: int | None = Field(default=None, index=True)
    created_at: datetime = Field(default_factory=now, sa_type=Moment)


class Approval(SQLModel, table=True):
    """Somebody with write access says that exactly this commit may be built, or deployed."""

    __tablename__ = "approvals"
    __table_args__ = (UniqueConstraint("repository_id", "sha", "actor"),)

    id: int | None = Field(default=None, primary_key=True)
    repository_id: int = Field(sa_type=BigInteger)
    pull_number: int
    sha: str
    actor: str
    created_at: datetime = Field(default_factory=now, sa_type=Moment)


class Lock(SQLModel, table=True):
    """Nothing is deployed to an environment, or to any (empty), until it is freed."""

    __tablename__ = "locks"
    __table_args__ = (UniqueConstraint("repository_id", "environment"),)

    id: int | None = Field(default=None, primary_key=True)
    repository_id: int = Field(sa_type=BigInteger)
    environment: str = Field(default="", description="empty for all of the repository's")
    owner: str
    reason: str = ""
    pull_number: int | None = Field(default=None, description="from which it was taken")
    created_at: datetime = Field(default_factory=now, sa_type=Moment)
    expires_at: datetime | None = Field(
        default=None, sa_type=Moment, description="from then on it holds nothing"
    )


class Wanted(SQLModel, table=True):
    """A commit that waits for somebody's approval: a fork's, to be built; any, to be deployed.

    Of each environment and pull request the newest alone.
    """

    __tablename__ = "wanted"
    __table_args__ = (UniqueConstraint("repository_id", "environment", "pull_number"), NEVER_TWICE)

    id: int | None = Field(default=None, primary_key=True)
    repository_id: int = Field(sa_type=BigInteger)
    environment: str = Field(default="", description="to which it is deployed; empty: a fork's, to be built")
    pull_number: int = Field(default=0, description="0 for a branch's")
    sha: str
    ref: str
    actor: str = Field(default="", description="whose wish it is")
    why: str = Field(sa_type=Text, description="what holds it, for people")
    denied_by: str = Field(default="", description="who said no; it waits no more then")
    created_at: datetime = Field(default_factory=now, sa_type=Moment)


class Check(SQLModel, table=True):
    """A check run that stands at GitHub in the place of a commit's status."""

    __tablename__ = "checks"

    repository_id: int = Field(
        primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False}
    )
    sha: str = Field(primary_key=True)
    context: str = Field(primary_key=True)
    check_id: int | None = Field(
        default=None, sa_type=BigInteger, description="GitHub's; none while statuses tell of it"
    )
    job: str = Field(default="", description="of which it tells, if of one")
    completed: bool = False
    told: int = Field(default=0, description="annotations that it has")
    created_at: datetime = Field(default_factory=now, sa_type=Moment, index=True)


class Mark(SQLModel, table=True):
    """How far a sweep has come."""

    __tablename__ = "marks"

    name: str = Field(primary_key=True)
    value: str


class ReportKind(StrEnum):
    STATUS = "status"
    DEPLOYMENT = "deployment"
    COMMENT = "comment"
    REACTION = "reaction"


class ReportState(StrEnum):
    PENDING = "pending"
    SENT = "sent"
    SUPERSEDED = "superseded"
    REFUSED = "refused"


class Report(SQLModel, table=True):
    """One thing owed to GitHub."""

    __tablename__ = "reports"
    __table_args__ = (
        Index("reports_by_key", "repository_id", "key", "state"),
        Index("reports_owed", "state", "kind", "created_at"),
    )

    id: int | None = Field(default=None, primary_key=True)
    repository_id: int = Field(sa_type=BigInteger)
    kind: ReportKind = Field(sa_type=words(ReportKind))
    key: str = Field(description="of all pending ones with this key only the newest is sent")
    payload: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    state: ReportState = Field(default=ReportState.PENDING, sa_type=words(ReportState))
    attempts: int = 0
    due_at: datetime = Field(default_factory=now, sa_type=Moment)
    created_at: datetime = Field(default_factory=now, sa_type=Moment)
    sent_at: datetime | None = Field(default=None, sa_type=Moment)
    reason: str = ""
