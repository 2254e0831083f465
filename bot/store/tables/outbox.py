"""What is told beside GitHub: what happened, what stands wrong, what is owed to whom."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import uuid4

from sqlalchemy import JSON, BigInteger, Index, Text
from sqlmodel import Field, SQLModel

from bot.store.tables.columns import NEVER_TWICE, Moment, words
from workers.contract.messages import now


class Happening(SQLModel, table=True):
    """Something that somebody may want to be told, written with what did it. Gone once it is sorted."""

    __tablename__ = "happenings"
    __table_args__ = NEVER_TWICE

    id: int | None = Field(default=None, primary_key=True)
    repository_id: int | None = Field(default=None, sa_type=BigInteger)
    kind: str = Field(description="run, job, release, or turn: something goes wrong, or is well again")
    about: dict[str, Any] = Field(default_factory=dict, sa_type=JSON, description="as it was then")
    at: datetime = Field(default_factory=now, sa_type=Moment)


class Trouble(SQLModel, table=True):
    """What stands wrong and was told: it is not told again before it was well."""

    __tablename__ = "troubles"

    repository_id: int = Field(
        primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False}
    )
    thing: str = Field(primary_key=True, description="such as deploy:production")
    since: datetime = Field(default_factory=now, sa_type=Moment)


class OutgoingState(StrEnum):
    PENDING = "pending"
    SENT = "sent"
    LEFT_OUT = "left out"  # what came after it says more
    GIVEN_UP = "given up"


class Outgoing(SQLModel, table=True):
    """One thing owed to a channel or a webhook."""

    __tablename__ = "outgoing"
    __table_args__ = (
        Index("outgoing_owed", "state", "lane", "due_at"),
        Index("outgoing_of_lane", "lane", "id"),
        NEVER_TWICE,
    )

    id: int | None = Field(default=None, primary_key=True)
    guid: str = Field(default_factory=lambda: str(uuid4()), index=True, description="the same at each try")
    lane: str = Field(description="webhook:ID, or channel:REPOSITORY:NAME, the instance's of repository 0")
    event: str
    thing: str = Field(default="", description="of all that a channel is owed of this the newest is told")
    body: str = Field(sa_type=Text, description="as a webhook gets it; JSON of what a channel is told")
    state: OutgoingState = Field(default=OutgoingState.PENDING, sa_type=words(OutgoingState))
    attempts: int = 0
    due_at: datetime = Field(default_factory=now, sa_type=Moment)
    created_at: datetime = Field(default_factory=now, sa_type=Moment)
    sent_at: datetime | None = Field(default=None, sa_type=Moment)
    status: int | None = Field(default=None, description="that the last try was answered with, if it was")
    reason: str = ""


class Webhook(SQLModel, table=True):
    """An address that is told what happens, of a repository or of all."""

    __tablename__ = "webhooks"
    __table_args__ = NEVER_TWICE

    id: int | None = Field(default=None, primary_key=True)
    repository_id: int | None = Field(default=None, sa_type=BigInteger, index=True)
    mark: str = Field(default_factory=lambda: uuid4().hex, description="what its secrets are sealed with")
    shown: str = Field(description="its address, without what follows its path")
    sealed: str = Field(sa_type=Text, description="its address and its secret")
    events: list[str] = Field(default_factory=list, sa_type=JSON, description="or * alone")
    made_by: str = ""
    created_at: datetime = Field(default_factory=now, sa_type=Moment)
    failing_since: datetime | None = Field(default=None, sa_type=Moment)
    disabled: str = Field(default="", description="why it gets nothing any more; empty while it does")
