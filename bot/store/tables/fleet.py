"""Who works: workers, their credentials, and how many there are to be."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, text
from sqlmodel import Field, SQLModel

from bot.store.tables.columns import Moment, words
from workers.contract.messages import now


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
    labels: str = Field(
        default="",
        sa_column_kwargs={"server_default": text("''")},
        description="in order, with + between them",
    )
    told: str = Field(default="", description="a hash of what it told of its containers, and that is noted")
    leaving: str = Field(
        default="",
        sa_column_kwargs={"server_default": text("''")},
        description="its instance that somebody lets drain",
    )
    started_at: datetime = Field(
        default_factory=now, sa_type=Moment, description="when this instance was heard first"
    )
    seen_at: datetime = Field(default_factory=now, sa_type=Moment)


class Enrolled(SQLModel, table=True):
    """A worker that may speak to the bot over a broker: `blacktree workers add` made its credential."""

    __tablename__ = "enrolled"

    name: str = Field(primary_key=True)
    pool: str
    public_key: str = Field(description="hex; its private key is in its credential alone")
    broker_hash: str = Field(description="of its own login's password, as RabbitMQ keeps it")
    number: int = Field(default=0, sa_type=BigInteger, description="of its last request: each has a greater")
    created_at: datetime = Field(default_factory=now, sa_type=Moment)
    revoked_at: datetime | None = Field(default=None, sa_type=Moment)


class ScaledState(StrEnum):
    STARTING = "starting"
    WORKING = "working"
    DRAINING = "draining"
    ENDING = "ending"


class ScaledRow(SQLModel, table=True):
    """A worker that the bot started, or is about to: the row is there first, and goes last."""

    __tablename__ = "scaled"

    name: str = Field(primary_key=True)
    pool: str = Field(index=True)
    place: str = Field(description="where its machine is, in its provider's words")
    state: ScaledState = Field(default=ScaledState.STARTING, sa_type=words(ScaledState))
    reason: str = Field(default="", description="why it is in this state, for people")
    created_at: datetime = Field(default_factory=now, sa_type=Moment)
    changed_at: datetime = Field(default_factory=now, sa_type=Moment, description="when it got its state")


class PoolRow(SQLModel, table=True):
    """What is remembered of a pool that grows and shrinks."""

    __tablename__ = "pools"

    name: str = Field(primary_key=True)
    surplus_since: datetime | None = Field(
        default=None, sa_type=Moment, description="since when there are more workers than wanted"
    )
    failures: int = Field(default=0, description="one after another, of its provider")
    trouble: str = Field(default="", description="what its provider says of the last, for people")
    retry_at: datetime | None = Field(default=None, sa_type=Moment)
    unseen: str = Field(default="", description="why its provider says nothing; empty if it answers")
