"""Who is let in, what they may, what they changed; and what is secret."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, BigInteger, Text, text
from sqlmodel import Field, SQLModel

from bot.store.tables.columns import NEVER_TWICE, Moment
from workers.contract.messages import now


class Instance(SQLModel, table=True):
    """This Blacktree, told from others that use the same engines. One row."""

    __tablename__ = "instance"

    id: str = Field(primary_key=True)


class Sealed(SQLModel, table=True):
    """A secret of the instance's, encrypted with SECRET_KEY: an App's key, its webhook secret."""

    __tablename__ = "sealed"

    name: str = Field(primary_key=True)
    value: str = Field(sa_type=Text)
    created_at: datetime = Field(default_factory=now, sa_type=Moment)


class SessionRow(SQLModel, table=True):
    """Somebody who is signed in with a browser. Neither the cookie nor what it follows from is kept."""

    __tablename__ = "sessions"

    mark: str = Field(primary_key=True, description="a keyed hash of the cookie")
    name: str = Field(description="who it is, for people")
    how: str = Field(description="what was shown to sign in: a link, the token, GitHub")
    login: str = Field(
        default="",
        sa_column_kwargs={"server_default": text("''")},
        description="at GitHub, whose rights count; empty for the administrator",
    )
    account_id: int | None = Field(default=None, sa_type=BigInteger, description="the login's id at GitHub")
    address: str = Field(default="", description="the only one that it counts from; empty for any")
    agent: str = Field(default="", description="what the browser says of itself")
    created_at: datetime = Field(default_factory=now, sa_type=Moment)
    seen_at: datetime = Field(default_factory=now, sa_type=Moment)
    expires_at: datetime = Field(sa_type=Moment)


class SignInLink(SQLModel, table=True):
    """A link that signs in whoever follows it first."""

    __tablename__ = "sign_in_links"

    mark: str = Field(primary_key=True, description="a keyed hash of its code")
    expires_at: datetime = Field(sa_type=Moment)


class TokenRow(SQLModel, table=True):
    """A token of somebody's, or of a program's. Only its hash is kept."""

    __tablename__ = "tokens"

    id: int | None = Field(default=None, primary_key=True)
    mark: str = Field(unique=True, description="a hash of the token")
    name: str = Field(description="what it is for, and who a program is")
    login: str = Field(default="", index=True, description="at GitHub, whose it is; empty for a program's")
    account_id: int | None = Field(default=None, sa_type=BigInteger, description="the login's id at GitHub")
    scope: str = Field(description="the most that it may: read, deploy, admin")
    repositories: list[int] | None = Field(default=None, sa_type=JSON, description="the only ones; else all")
    made_by: str
    created_at: datetime = Field(default_factory=now, sa_type=Moment)
    expires_at: datetime = Field(sa_type=Moment)
    used_at: datetime | None = Field(default=None, sa_type=Moment)
    used_from: str = Field(default="", description="the address that used it last")
    revoked_at: datetime | None = Field(default=None, sa_type=Moment)


class AuditRow(SQLModel, table=True):
    """Something that somebody changed here."""

    __tablename__ = "audit"
    __table_args__ = NEVER_TWICE

    id: int | None = Field(default=None, primary_key=True)
    at: datetime = Field(default_factory=now, sa_type=Moment, index=True)
    who: str = Field(index=True)
    how: str = Field(description="a session, a token, a comment at GitHub, a command line")
    address: str = Field(default="", description="where it was asked from, if by HTTP")
    what: str
    why: str = Field(default="", description="as they said")
    repository_id: int | None = Field(default=None, sa_type=BigInteger, index=True)


class Answered(SQLModel, table=True):
    """What a request with an Idempotency-Key was answered, for a day."""

    __tablename__ = "answered"

    mark: str = Field(primary_key=True, description="a hash of who asked what with which key")
    request: str = Field(description="a hash of its query and body")
    status: int = Field(default=0, description="0 while it is under way")
    body: str = Field(default="", sa_type=Text)
    created_at: datetime = Field(default_factory=now, sa_type=Moment, index=True)


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
    set_by: str = Field(default="", sa_column_kwargs={"server_default": text("''")})
