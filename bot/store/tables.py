"""The tables. DESIGN's words are their names; the states here are the only ones there are."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Enum,
    Index,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlmodel import Field, SQLModel

from workers.contract.messages import Fault, Kind, now


class Moment(TypeDecorator[datetime]):
    """A UTC time. SQLite has no time zones, so they are put back on when it is read."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


def _words(states: type[StrEnum]) -> Any:
    """A column of words, of which a newer version may know more: no database enum, no constraint."""
    return Enum(
        states, native_enum=False, length=16, values_callable=lambda kind: [item.value for item in kind]
    )


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


class DeliveryState(StrEnum):
    RECEIVED = "received"
    PROCESSED = "processed"
    FAILED = "failed"


class ReleaseState(StrEnum):
    STARTING = "starting"
    LIVE = "live"
    RETIRED = "retired"
    FAILED = "failed"


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


class Instance(SQLModel, table=True):
    """This Blacktree, told from others that use the same engines. One row."""

    __tablename__ = "instance"

    id: str = Field(primary_key=True)


class Repository(SQLModel, table=True):
    """A repository of GitHub's, by its id: names change."""

    __tablename__ = "repositories"

    id: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    full_name: str = Field(index=True)
    default_branch: str
    private: bool = True
    installation_id: int | None = Field(default=None, sa_type=BigInteger)
    inactive: str = Field(default="", description="why nothing is done for it, such as: archived")

    @property
    def name(self) -> str:
        return self.full_name.partition("/")[2]


class Delivery(SQLModel, table=True):
    """One webhook request, as it came."""

    __tablename__ = "deliveries"

    guid: str = Field(primary_key=True)
    event: str
    action: str | None = None
    repository_id: int | None = Field(default=None, sa_type=BigInteger, index=True)
    payload: str = Field(sa_type=Text)
    received_at: datetime = Field(default_factory=now, sa_type=Moment)
    state: DeliveryState = Field(default=DeliveryState.RECEIVED, sa_type=_words(DeliveryState), index=True)
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


class Job(SQLModel, table=True):
    """One unit that one worker executes."""

    __tablename__ = "jobs"
    __table_args__ = (Index("jobs_by_place", "repository_id", "environment", "state"),)

    id: str = Field(primary_key=True)
    run_id: int = Field(foreign_key="runs.id", index=True)
    repository_id: int = Field(sa_type=BigInteger)
    sha: str
    kind: Kind = Field(sa_type=_words(Kind))
    name: str = Field(description="the image that it builds, or the environment that it deploys or stops")
    environment: str | None = None
    context: str = Field(description="of its commit status; empty for none")
    pool: str
    needs: list[str] = Field(default_factory=list, sa_type=JSON)
    spec: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    state: JobState = Field(default=JobState.WAITING, sa_type=_words(JobState), index=True)
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
    started_at: datetime | None = Field(default=None, sa_type=Moment)
    ended_at: datetime | None = Field(default=None, sa_type=Moment)
    fault: Fault | None = Field(default=None, sa_type=_words(Fault))
    reason: str = ""
    sentence: str = ""
    failed_step: str | None = None


class AttemptRow(SQLModel, table=True):
    """An attempt that has ended, and how: its job may have gone on with another."""

    __tablename__ = "attempts"

    job_id: str = Field(primary_key=True, foreign_key="jobs.id")
    attempt: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    worker: str | None = None
    started_at: datetime | None = Field(default=None, sa_type=Moment)
    ended_at: datetime | None = Field(default=None, sa_type=Moment)
    outcome: str = Field(description="succeeded, failed or cancelled; empty while it runs")
    fault: Fault | None = Field(default=None, sa_type=_words(Fault))
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


class WorkerRow(SQLModel, table=True):
    """A worker, as its last heartbeat said."""

    __tablename__ = "workers"

    name: str = Field(primary_key=True)
    instance: str
    pool: str
    slots: int
    address: str
    software: str
    draining: bool = False
    stopped: bool = False
    running: int = 0
    disk_free: int = Field(default=0, sa_type=BigInteger)
    problem: str = Field(default="", description="why it takes no jobs, for people; empty if it does")
    started_at: datetime = Field(
        default_factory=now, sa_type=Moment, description="when this instance was heard first"
    )
    seen_at: datetime = Field(default_factory=now, sa_type=Moment)


class ContainerRow(SQLModel, table=True):
    """A container of a release, as its worker's last heartbeat said."""

    __tablename__ = "containers"

    worker: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    release_id: int = Field(index=True)
    running: bool
    restarts: int = 0
    exit_code: int = 0
    out_of_memory: bool = False
    health: str = Field(default="", description="of its HEALTHCHECK; `gone` where it was removed")
    failing: str = Field(default="", description="what its probe finds wrong in the stability window")
    last_lines: str = Field(default="", sa_type=Text, description="what it printed before it ended, masked")
    restarted_at: datetime | None = Field(
        default=None, sa_type=Moment, description="when it was first seen to have restarted once more"
    )
    seen_at: datetime = Field(default_factory=now, sa_type=Moment, description="when it was told so first")


class Image(SQLModel, table=True):
    """A digest in a registry, with the git tree that it was built from."""

    __tablename__ = "images"
    __table_args__ = (Index("images_by_key", "repository_id", "key"),)

    id: int | None = Field(default=None, primary_key=True)
    repository_id: int = Field(sa_type=BigInteger, index=True)
    name: str
    job_id: str = Field(unique=True)
    sha: str
    tree: str
    digest: str
    reference: str
    size: int = Field(sa_type=BigInteger)
    key: str = Field(default="", description="of what it was built from; empty where that is not all known")
    worker: str | None = Field(default=None, description="whose engine has it")
    layers: int = 0
    cached: int = Field(default=0, description="layers that came from the cache")
    reused: str = Field(default="", description="the commit that it was built for, if nothing was built")
    fork: bool = Field(default=False, description="built from a stranger's code: used for nothing else")
    created_at: datetime = Field(default_factory=now, sa_type=Moment)


class Environment(SQLModel, table=True):
    """A named place that a repository runs in."""

    __tablename__ = "environments"
    __table_args__ = (UniqueConstraint("repository_id", "name"),)

    id: int | None = Field(default=None, primary_key=True)
    repository_id: int = Field(sa_type=BigInteger)
    name: str
    pull_number: int | None = None
    port: int | None = Field(default=None, unique=True, description="the proxy's, where there are no domains")
    url: str | None = None
    stopped: bool = False
    asleep: bool = Field(default=False, description="stopped until somebody asks for it")
    maintenance: str = Field(default="", description="what visitors are told instead; empty for the app")
    requested_at: datetime | None = Field(default=None, sa_type=Moment, description="the last seen request")


class Release(SQLModel, table=True):
    """One image digest with its settings, in one environment."""

    __tablename__ = "releases"

    id: int | None = Field(default=None, primary_key=True)
    environment_id: int = Field(foreign_key="environments.id", index=True)
    run_id: int
    job_id: str = Field(unique=True)
    sha: str
    image: str
    settings: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    state: ReleaseState = Field(default=ReleaseState.STARTING, sa_type=_words(ReleaseState), index=True)
    attempt: int = Field(default=0, description="whose containers it is")
    worker: str | None = None
    addresses: list[str] = Field(
        default_factory=list, sa_type=JSON, description="IP:PORT of each replica, as the proxy reaches it"
    )
    actor: str = ""
    why: str = Field(default="", description="what caused it, for people")
    problem: str = Field(default="", description="why it was given up after its switch, or what it suffers")
    last_lines: str = Field(
        default="", sa_type=Text, description="what its container printed before it ended"
    )
    created_at: datetime = Field(default_factory=now, sa_type=Moment)
    live_at: datetime | None = Field(default=None, sa_type=Moment)
    steady_at: datetime | None = Field(
        default=None, sa_type=Moment, description="when its stability window ends, after its switch"
    )
    remove_after: datetime | None = Field(default=None, sa_type=Moment, description="when it has drained")
    deployment_id: int | None = Field(default=None, sa_type=BigInteger, description="GitHub's")


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
    state: CommandState = Field(sa_type=_words(CommandState))
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


class Sealed(SQLModel, table=True):
    """A secret of the instance's, encrypted with SECRET_KEY: an App's key, its webhook secret."""

    __tablename__ = "sealed"

    name: str = Field(primary_key=True)
    value: str = Field(sa_type=Text)
    created_at: datetime = Field(default_factory=now, sa_type=Moment)


class Secret(SQLModel, table=True):
    """A repository's secret, encrypted with SECRET_KEY."""

    __tablename__ = "secrets"

    repository_id: int = Field(
        primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False}
    )
    scope: str = Field(
        primary_key=True, description="an environment, `preview`, or empty for all that are no preview"
    )
    name: str = Field(primary_key=True)
    value: str = Field(sa_type=Text)
    updated_at: datetime = Field(default_factory=now, sa_type=Moment)


class Mark(SQLModel, table=True):
    """How far a sweep has come."""

    __tablename__ = "marks"

    name: str = Field(primary_key=True)
    value: str


class Report(SQLModel, table=True):
    """One thing owed to GitHub."""

    __tablename__ = "reports"
    __table_args__ = (Index("reports_by_key", "repository_id", "key", "state"),)

    id: int | None = Field(default=None, primary_key=True)
    repository_id: int = Field(sa_type=BigInteger)
    kind: ReportKind = Field(sa_type=_words(ReportKind))
    key: str = Field(description="of all pending ones with this key only the newest is sent")
    payload: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    state: ReportState = Field(default=ReportState.PENDING, sa_type=_words(ReportState), index=True)
    attempts: int = 0
    due_at: datetime = Field(default_factory=now, sa_type=Moment)
    created_at: datetime = Field(default_factory=now, sa_type=Moment)
    sent_at: datetime | None = Field(default=None, sa_type=Moment)
    reason: str = ""
