"""What the API answers: runs, jobs, workers, deliveries, and what is kept of repositories."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from bot.store.tables import DeliveryState, JobState
from workers.contract.messages import Fault, Kind

S = TypeVar("S", bound="Shown")


class Shown(BaseModel):
    """A row, as it is shown."""

    model_config = ConfigDict(from_attributes=True, json_schema_serialization_defaults_required=True)


class Said(Shown):
    """What was done, for people."""

    message: str


class Ordered(Said):
    """The same of an order, and its run, where there is one."""

    run: int | None = None


class JobBrief(Shown):
    """A job of a run."""

    id: str
    kind: Kind
    name: str
    state: JobState


class RunShown(Shown):
    """What one cause set off."""

    id: int
    repository_id: int
    repository: str
    cause: str
    ref: str
    sha: str
    pull_number: int | None
    actor: str
    delivery_guid: str | None
    comment_id: int | None
    fork: bool
    created_at: datetime
    jobs: list[JobBrief]


class StepShown(Shown):
    """A step of an attempt."""

    attempt: int
    name: str
    started_at: datetime
    ended_at: datetime | None
    ok: bool | None


class ImageShown(Shown):
    """What a build made."""

    digest: str
    reference: str
    size: Annotated[int, Field(description="bytes")]
    tree: str
    reused: Annotated[str, Field(description="the commit that it was built for, if nothing was built")]


class AttemptShown(Shown):
    """A try."""

    attempt: int
    worker: str | None
    started_at: datetime | None
    ended_at: datetime | None
    outcome: str
    fault: Fault | None
    reason: str
    sentence: str
    failed_step: str | None
    log: str


class JobListed(Shown):
    """A job, without its steps and attempts."""

    id: str
    run_id: int
    repository: str
    sha: str
    kind: Kind
    name: str
    environment: str | None
    context: str
    pool: str
    needs: list[str]
    unmet: int
    rank: int
    turn: int
    state: JobState
    attempt: int
    attempts: int
    not_before: datetime
    worker: str | None
    lease_until: datetime | None
    cancelling: str | None
    created_at: datetime
    offered_at: datetime | None
    passed_at: datetime | None
    carrier: str | None
    started_at: datetime | None
    ended_at: datetime | None
    fault: Fault | None
    reason: str
    sentence: str
    failed_step: str | None
    exit_code: int | None
    log: str


class JobShown(JobListed):
    """A job with all that is known of it."""

    steps: list[StepShown]
    image: ImageShown | None
    history: list[AttemptShown]


class RunWhole(RunShown):
    """A run with its jobs, and their steps."""

    jobs: list[JobShown]  # type: ignore[assignment]


class WorkerShown(Shown):
    """A worker, as its last heartbeat said."""

    name: str
    instance: str
    pool: str
    slots: int
    address: str
    software: str
    draining: bool
    stopped: bool
    running: int
    disk_free: Annotated[int, Field(description="bytes")]
    problem: str
    labels: str
    started_at: datetime
    seen_at: datetime


class DeliveryListed(Shown):
    """A webhook request, without its payload."""

    guid: str
    event: str
    action: str | None
    repository_id: int | None
    received_at: datetime
    state: DeliveryState
    attempts: int
    due_at: datetime
    reason: str
    run_id: int | None


class DeliveryShown(DeliveryListed):
    """With its payload as it came."""

    payload: str


class RepositoryShown(Shown):
    """A repository that something was heard of."""

    id: int
    full_name: str
    default_branch: str
    private: bool
    inactive: str
    at_once: int


class ApprovalShown(Shown):
    """Who approved which commit."""

    id: int
    pull_number: int
    sha: str
    actor: str
    created_at: datetime


class LockShown(Shown):
    """What holds deploys; of all environments, if it names none."""

    id: int
    environment: str
    owner: str
    reason: str
    pull_number: int | None
    created_at: datetime
    expires_at: datetime | None


class SecretShown(Shown):
    """A secret's name, and for what it is. Its value is shown to nobody."""

    name: str
    scope: str
    updated_at: datetime
    set_by: str


class TokenShown(Shown):
    """What lets somebody in. What it is itself is shown to nobody."""

    id: str
    kind: Annotated[str, Field(description="api, metrics, session, or whose: person, program")]
    name: str
    about: str
    created_at: datetime | None = None
    seen_at: datetime | None = None
    expires_at: datetime | None = None


def log_of(job: str) -> str:
    """Where a job's log is."""
    return f"/api/v1/jobs/{job}/log"


def of(model: type[S], row: Any, **more: Any) -> S:
    """Pure: a row as `model` shows it, with what the row has not."""
    return model(**{name: getattr(row, name) for name in model.model_fields if name not in more}, **more)


def listed(row: Any, repository: str) -> JobListed:
    """Pure: a job's row."""
    return of(JobListed, row, repository=repository, log=log_of(row.id))
