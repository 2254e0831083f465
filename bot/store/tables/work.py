"""What is to be done: what GitHub told, what follows from it, and how each job goes."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, Index, Text
from sqlmodel import Field, SQLModel

from bot.store.tables.columns import NEVER_TWICE, Moment, words
from workers.contract.messages import Fault, Kind, now


class Repository(SQLModel, table=True):
    """A repository of GitHub's, by its id: names change."""

    __tablename__ = "repositories"

    id: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    full_name: str = Field(index=True)
    default_branch: str
    private: bool = True
    installation_id: int | None = Field(default=None, sa_type=BigInteger)
    inactive: str = Field(default="", description="why nothing is done for it, such as: archived")
    at_once: int = Field(
        default=0,
        sa_column_kwargs={"server_default": "0"},
        description="jobs that its file lets run at once; any number if 0",
    )
    built_on: list[str] | None = Field(
        default=None, sa_type=JSON, description="the workers of its last builds, the last one first"
    )
    deployed_on: list[str] | None = Field(default=None, sa_type=JSON, description="likewise of its deploys")
    channels: dict[str, Any] | None = Field(
        default=None, sa_type=JSON, description="who its file wants to be told of what goes wrong, by name"
    )

    @property
    def name(self) -> str:
        return self.full_name.partition("/")[2]


class DeliveryState(StrEnum):
    RECEIVED = "received"
    PROCESSED = "processed"
    FAILED = "failed"


class Delivery(SQLModel, table=True):
    """One webhook request, as it came."""

    __tablename__ = "deliveries"
    __table_args__ = (
        Index("deliveries_due", "state", "repository_id", "received_at", "due_at"),
        Index("deliveries_in_line", "state", "received_at"),
    )

    guid: str = Field(primary_key=True)
    event: str
    action: str | None = None
    repository_id: int | None = Field(default=None, sa_type=BigInteger, index=True)
    payload: str = Field(sa_type=Text)
    received_at: datetime = Field(default_factory=now, sa_type=Moment)
    state: DeliveryState = Field(default=DeliveryState.RECEIVED, sa_type=words(DeliveryState))
    attempts: int = 0
    due_at: datetime = Field(default_factory=now, sa_type=Moment)
    reason: str = Field(default="", description="what was or wasn't done, and why, for people")
    run_id: int | None = None


class Pull(SQLModel, table=True):
    """A pull request, and where our living comment on it is."""

    __tablename__ = "pulls"

    repository_id: int = Field(primary_key=True, sa_type=BigInteger)
    number: int = Field(primary_key=True)
    head_sha: str
    head_ref: str
    fork: bool = False
    open: bool = True
    base_ref: str = ""
    draft: bool = False
    expires_at: datetime | None = Field(
        default=None, sa_type=Moment, description="when its preview is stopped if nobody extends it"
    )
    waiting: str = Field(default="", description="for what its head waits, for people; empty for nothing")
    comment_id: int | None = Field(default=None, sa_type=BigInteger)
    announced_sha: str | None = Field(default=None, description="the head that the comment shows")
    announced_at: datetime | None = Field(default=None, sa_type=Moment, description="by GitHub's clock")


class Run(SQLModel, table=True):
    """Everything that one cause sets off. Its id is its place in the order of causes."""

    __tablename__ = "runs"
    __table_args__ = NEVER_TWICE

    id: int | None = Field(default=None, primary_key=True)
    repository_id: int = Field(sa_type=BigInteger, index=True)
    cause: str
    cause_key: str = Field(unique=True, description="the same for the same cause, whatever delivered it")
    ref: str
    sha: str
    pull_number: int | None = None
    actor: str
    delivery_guid: str | None = None
    comment_id: int | None = Field(default=None, sa_type=BigInteger, description="of the command")
    fork: bool = Field(default=False, description="a stranger's code: no secrets, no shared tags")
    created_at: datetime = Field(default_factory=now, sa_type=Moment)


class JobState(StrEnum):
    WAITING = "waiting"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class Job(SQLModel, table=True):
    """One unit that one worker executes."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index("jobs_by_place", "repository_id", "environment", "state"),
        Index("jobs_ready", "state", "unmet"),
        Index("jobs_next", "state", "pool", "turn", "run_id"),
        Index("jobs_in_line", "pool", "repository_id", "state", "rank", "turn"),
        Index("jobs_of_line", "state", "pool", "repository_id", "turn"),
        Index("jobs_offered", "pool", "state", "offered_at"),
        Index("jobs_counted", "state", "pool", "kind"),
        Index("jobs_held", "worker", "state"),
        Index("jobs_by_kind", "repository_id", "kind", "ended_at"),
        Index("jobs_oldest", "pool", "state", "created_at"),
    )

    id: str = Field(primary_key=True)
    run_id: int = Field(foreign_key="runs.id", index=True)
    repository_id: int = Field(sa_type=BigInteger)
    sha: str
    kind: Kind = Field(sa_type=words(Kind))
    name: str = Field(
        description="the image that it builds, the environment that it deploys or stops, the task"
    )
    environment: str | None = None
    context: str = Field(description="of its commit status; empty for none")
    pool: str = Field(description="of workers; once it is queued, the line that it stands in there")
    needs: list[str] = Field(default_factory=list, sa_type=JSON)
    unmet: int = Field(
        default=0,
        sa_column_kwargs={"server_default": "-1"},
        description="how many of the jobs that it needs have not succeeded yet; -1: not counted",
    )
    rank: int = Field(
        default=0, sa_column_kwargs={"server_default": "0"}, description="how much it matters, 0 the most"
    )
    turn: int = Field(
        default=0,
        sa_type=BigInteger,
        sa_column_kwargs={"server_default": "0"},
        description="the lowest of a pool is offered first",
    )
    spec: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    state: JobState = Field(default=JobState.WAITING, sa_type=words(JobState))
    attempt: int = 0
    attempts: int = Field(description="the most there may be")
    not_before: datetime = Field(default_factory=now, sa_type=Moment)
    worker: str | None = None
    instance: str | None = None
    nonce: str | None = None
    lease_until: datetime | None = Field(default=None, sa_type=Moment)
    cancelling: str | None = Field(default=None, description="why a running job is being stopped")
    created_at: datetime = Field(default_factory=now, sa_type=Moment)
    offered_at: datetime | None = Field(default=None, sa_type=Moment, description="when it went to the queue")
    passed_at: datetime | None = Field(
        default=None, sa_type=Moment, description="when a worker that took its offer got another first"
    )
    carrier: str | None = Field(default=None, description="the job by whose offer it runs, if by another's")
    started_at: datetime | None = Field(default=None, sa_type=Moment)
    ended_at: datetime | None = Field(default=None, sa_type=Moment)
    fault: Fault | None = Field(default=None, sa_type=words(Fault))
    reason: str = ""
    sentence: str = ""
    failed_step: str | None = None
    exit_code: int | None = Field(default=None, description="of a task's command, once it has ended")


class AttemptRow(SQLModel, table=True):
    """An attempt that has ended, and how: its job may have gone on with another."""

    __tablename__ = "attempts"

    job_id: str = Field(primary_key=True, foreign_key="jobs.id")
    attempt: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    worker: str | None = None
    started_at: datetime | None = Field(default=None, sa_type=Moment)
    ended_at: datetime | None = Field(default=None, sa_type=Moment)
    outcome: str = Field(description="succeeded, failed or cancelled; empty while it runs")
    fault: Fault | None = Field(default=None, sa_type=words(Fault))
    reason: str = ""
    sentence: str = ""
    failed_step: str | None = None


class StepRow(SQLModel, table=True):
    """A step of an attempt, with its times."""

    __tablename__ = "steps"

    job_id: str = Field(primary_key=True, foreign_key="jobs.id")
    attempt: int = Field(primary_key=True)
    name: str = Field(primary_key=True)
    started_at: datetime = Field(sa_type=Moment)
    ended_at: datetime | None = Field(default=None, sa_type=Moment)
    ok: bool | None = None


class AwaitRow(SQLModel, table=True):
    """An image that is built elsewhere, and waited for by its job until that has ended."""

    __tablename__ = "awaits"

    job_id: str = Field(primary_key=True, foreign_key="jobs.id")
    repository_id: int = Field(sa_type=BigInteger, index=True)
    sha: str = Field(description="the commit whose checks say whether it is still to come")
    until: datetime = Field(sa_type=Moment)
    looks: int = Field(default=0, description="how often the registry was asked in vain")
    said: str = Field(default="", description="why it did not tell more, as people were told last")
    since: datetime = Field(default_factory=now, sa_type=Moment)
    asked_at: datetime | None = Field(default=None, sa_type=Moment, description="when GitHub was asked last")
    ended_at: datetime | None = Field(
        default=None, sa_type=Moment, description="when nothing was known to make it any more"
    )
    good: bool = Field(default=False, description="whether what made it has succeeded")
    checks: str = Field(default="", description="how that ended, for people")
