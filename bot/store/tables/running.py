"""What runs where, of which release, with which services, tasks and backups."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, Index, Text, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from bot.store.tables.columns import NEVER_TWICE, Moment, words
from config.processes import WEB
from workers.contract.messages import now


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
    trust: str = Field(default="", description="whose builds may use it: bot/jobs/trusts.py")
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


class ReleaseState(StrEnum):
    STARTING = "starting"
    LIVE = "live"
    RETIRED = "retired"
    FAILED = "failed"


class Release(SQLModel, table=True):
    """Image digests with their settings, in one environment."""

    __tablename__ = "releases"
    __table_args__ = NEVER_TWICE

    id: int | None = Field(default=None, primary_key=True)
    environment_id: int = Field(foreign_key="environments.id", index=True)
    run_id: int
    job_id: str = Field(unique=True)
    sha: str
    image: str
    images: dict[str, str] | None = Field(
        default=None, sa_type=JSON, description="by name, where its processes run in several"
    )
    settings: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    state: ReleaseState = Field(default=ReleaseState.STARTING, sa_type=words(ReleaseState), index=True)
    attempt: int = Field(default=0, description="whose containers it is")
    worker: str | None = None
    addresses: list[str] = Field(
        default_factory=list, sa_type=JSON, description="IP:PORT of each `web`, as the proxy reaches it"
    )
    further: dict[str, list[str]] | None = Field(
        default=None, sa_type=JSON, description="likewise of the other processes that visitors reach"
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


class ContainerRow(SQLModel, table=True):
    """A container of a release, as its worker's last heartbeat said."""

    __tablename__ = "containers"

    worker: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    release_id: int = Field(index=True)
    process: str = Field(default=WEB, sa_column_kwargs={"server_default": WEB})
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


class UsageRow(SQLModel, table=True):
    """What a container used in a span of time: told by its worker, and added up."""

    __tablename__ = "usage"
    __table_args__ = (Index("usage_by_time", "span", "at"),)

    environment_id: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    container: str = Field(primary_key=True, description="its name")
    span: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False}, description="seconds")
    at: datetime = Field(primary_key=True, sa_type=Moment, description="when the span begins")
    process: str
    release_id: int | None = None
    seconds: float = Field(description="for which it is known: of the span, as a rule")
    cpu: float = Field(description="seconds of a processor")
    memory: int = Field(sa_type=BigInteger, description="bytes, the most")
    memory_limit: int = Field(sa_type=BigInteger, description="bytes")
    received: int = Field(sa_type=BigInteger, description="bytes")
    sent: int = Field(sa_type=BigInteger, description="bytes")
    restarts: int = Field(description="all of them by then")


class VisitsRow(SQLModel, table=True):
    """How many requests for an environment the proxy answered in an hour; none, no row."""

    __tablename__ = "visits"
    __table_args__ = (Index("visits_by_time", "at"),)

    environment_id: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    at: datetime = Field(primary_key=True, sa_type=Moment, description="when the hour begins")
    requests: int = Field(sa_type=BigInteger)


class ServiceRow(SQLModel, table=True):
    """A service of an environment: what is kept of it, and how its container is, as its worker last said."""

    __tablename__ = "services"

    environment_id: int = Field(
        primary_key=True, foreign_key="environments.id", sa_column_kwargs={"autoincrement": False}
    )
    name: str = Field(primary_key=True)
    image: str = Field(default="", description="as the file said it when it started last")
    pinned: str = Field(default="", description="the same by its digest; empty before its first start")
    sealed: dict[str, str] = Field(
        default_factory=dict, sa_type=JSON, description="generated variables, encrypted with SECRET_KEY"
    )
    seeded: bool = False
    worker: str | None = Field(default=None, description="whose engine has its container and its volumes")
    running: bool = True
    restarts: int = 0
    exit_code: int = 0
    out_of_memory: bool = False
    health: str = Field(default="", description="of its health check; `gone` where it was removed")
    last_lines: str = Field(default="", sa_type=Text, description="what it printed before it ended, masked")
    restarted_at: datetime | None = Field(default=None, sa_type=Moment)
    created_at: datetime = Field(default_factory=now, sa_type=Moment)
    backup: dict[str, Any] | None = Field(
        default=None, sa_type=JSON, description="as the file says it that was deployed last"
    )
    backup_since: datetime | None = Field(
        default=None,
        sa_type=Moment,
        description="its last scheduled time that has a job, or when it was said",
    )
    backup_trouble: str = Field(
        default="",
        sa_column_kwargs={"server_default": text("''")},
        description="why there is no new one, for people",
    )
    update_cron: str = Field(
        default="",
        sa_column_kwargs={"server_default": text("''")},
        description="when its tag is asked for anew, as the file says it that was deployed last",
    )
    update_since: datetime | None = Field(
        default=None,
        sa_type=Moment,
        description="the last of these times that has a job, or when it was said",
    )


class BackupRow(SQLModel, table=True):
    """A backup of a service that is whole. What lies there is as long and has the checksum that is here."""

    __tablename__ = "backups"
    __table_args__ = (
        Index("backups_of", "repository_id", "environment", "service", "created_at"),
        NEVER_TWICE,
    )

    id: int | None = Field(default=None, primary_key=True)
    repository_id: int = Field(sa_type=BigInteger)
    environment: str
    service: str
    job_id: str = Field(unique=True)
    name: str = Field(description="below SERVICE_BACKUPS")
    sha256: str = Field(description="of the bytes that lie there, in hex")
    size: int = Field(sa_type=BigInteger, description="bytes that lie there")
    dumped: int = Field(sa_type=BigInteger, description="bytes before they were compressed")
    restore: list[str] | None = Field(
        default=None, sa_type=JSON, description="the command that takes it, as the file said"
    )
    begun_at: datetime = Field(sa_type=Moment)
    created_at: datetime = Field(default_factory=now, sa_type=Moment, description="when it was whole")


class TaskRow(SQLModel, table=True):
    """A task of an environment that has a schedule: how far its times have come."""

    __tablename__ = "tasks"

    environment_id: int = Field(
        primary_key=True, foreign_key="environments.id", sa_column_kwargs={"autoincrement": False}
    )
    name: str = Field(primary_key=True)
    cron: str
    ticked_at: datetime = Field(sa_type=Moment, description="its last time, or when it was first seen")
    skipped_at: datetime | None = Field(
        default=None, sa_type=Moment, description="a time at which it did not run"
    )
    skipped: str = Field(default="", description="why it did not, for people")


class LogDrainRow(SQLModel, table=True):
    """A log drain of what an environment prints: how far it is, and how it does."""

    __tablename__ = "log_drains"

    environment_id: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    scope: str = Field(primary_key=True, description="whose: `instance` or `repository`")
    address: str = Field(description="without its path, for people")
    place: int = Field(sa_type=BigInteger, description="in the stream of the environment's lines")
    dropped: int = Field(default=0, sa_type=BigInteger, description="lines that were left out, ever")
    sent_at: datetime | None = Field(default=None, sa_type=Moment)
    problem: str = Field(default="", description="why it takes nothing, for people")
    failing_since: datetime | None = Field(default=None, sa_type=Moment)


class TcpPort(SQLModel, table=True):
    """A TCP port of the instance's that leads to an environment's process or service, whatever is live."""

    __tablename__ = "tcp_ports"

    environment_id: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    process: str = Field(primary_key=True, description="or service")
    port: int = Field(unique=True)
    address: str = Field(description="HOST:PORT, for people")
