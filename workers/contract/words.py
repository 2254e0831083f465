"""The words that every message is made of, and the version of the contract that all of them carry."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

# Of this contract: raised with every change that a reader of before would take wrongly. What may change
# without: a field more, whose default means what was meant before there was one.
VERSION: Final = 6


def now() -> datetime:
    """This moment, in UTC."""
    return datetime.now(UTC)


class Message(BaseModel):
    """A frozen value. A reader of another version of the contract refuses it as a whole.

    One of this version leaves out what it does not know yet: so bot and workers are upgraded in any order.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: Literal[6] = VERSION


class Value(BaseModel):
    """A part of a message."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Kind(StrEnum):
    """What a job does."""

    BUILD = "build"
    DEPLOY = "deploy"
    STOP = "stop"
    TASK = "task"
    BACKUP = "backup"
    RESTORE = "restore"
    UPDATE = "update"


class Step(StrEnum):
    """A named stage inside an attempt."""

    CHECKOUT = "checkout"
    BUILD = "build"
    TEST = "test"
    PUSH = "push"
    PULL = "pull"
    SERVICES = "services"  # what the environment needs: there, and healthy
    RELEASE = "release"  # the release command, in the new image
    SEED = "seed"  # what fills a new service
    BACKUP = "backup"
    VERIFY = "verify"  # that a backup is what was kept
    RESTORE = "restore"
    SCRUB = "scrub"  # what makes a backup's data fit for a preview
    START = "start"
    CHECK = "check"
    SWITCH = "switch"
    STOP = "stop"
    TASK = "task"  # a task's command: from here on it may have begun


class Fault(StrEnum):
    """Whose fault a failure is, which decides what follows."""

    USER = "user"  # never retried; shown with what to do
    OURS = "ours"  # retried, up to the job's limit
    FINAL = "final"  # ours, and not worth a retry


class AttemptRef(Value):
    """One try at a job. Its number is the fencing token."""

    job: str
    attempt: int
