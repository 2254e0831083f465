"""What the API answers about environments and their releases."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from bot.store.tables import ReleaseState
from bot.web.api.fields import Cursor, FullName, Number, Query, Word
from bot.web.api.models import Shown

All = Annotated[Number, Field(description="of how many; all, if 0")]


class PlacesQuery(Query):
    """Which environments."""

    repository: FullName | None = None
    name: Word | None = None
    limit: All = 0
    cursor: Cursor = None


class ReleasesQuery(Query):
    """Which part of them."""

    limit: All = 0
    cursor: Cursor = None


class CompareQuery(Query):
    """With what it is compared."""

    compare: Annotated[Number, Field(description="another release of the repository")] = 0


class Serving(Shown):
    """A release that is live."""

    id: int
    sha: str
    image: str
    images: dict[str, str] | None
    worker: str | None
    addresses: list[str]
    further: dict[str, list[str]] | None
    live_at: datetime | None
    steady_at: datetime | None
    job_id: str
    actor: str
    why: str
    problem: str


class ReleaseShown(Serving):
    """A release, whatever became of it."""

    environment_id: int
    run_id: int
    state: ReleaseState
    created_at: datetime
    last_lines: str


class Named(Shown):
    """Names that came, went, or mean something else."""

    added: list[str]
    removed: list[str]
    changed: list[str]


class CommitChange(Shown):
    """From which commit to which."""

    from_: Annotated[str, Field(alias="from")]
    to: str
    url: str


class Compared(Shown):
    """What changed since another release. Of variables only the names, never a value."""

    with_: Annotated[int, Field(alias="with")]
    image: list[str] | None
    images: dict[str, list[str | None]]
    commit: CommitChange | None
    settings: dict[str, Any]
    env: Named
    services: Named


class ReleaseWhole(ReleaseShown):
    """A release with its settings; of variables only the names."""

    repository: str
    environment: str
    settings: dict[str, Any]
    compared: Compared | None = None


class ContainerShown(Shown):
    """A container, as its worker's last heartbeat said."""

    name: str
    process: str
    running: bool
    restarts: int
    exit_code: int
    out_of_memory: bool
    health: str
    failing: str
    seen_at: datetime
    last_lines: str


class ServiceShown(Shown):
    """A service's container."""

    name: str
    image: str
    pinned: str
    worker: str | None
    running: bool
    restarts: int
    exit_code: int
    out_of_memory: bool
    health: str
    last_lines: str


class LockHeld(Shown):
    """What holds deploys here."""

    environment: str
    owner: str
    reason: str
    created_at: datetime
    expires_at: datetime | None


class PlaceShown(Shown):
    """What runs in an environment."""

    id: int
    name: str
    repository: str
    pull_number: int | None
    stopped: bool
    asleep: bool
    maintenance: str
    requested_at: datetime | None
    url: str | None
    tcp: dict[str, str]
    worker: str | None
    since: datetime | None
    problem: str
    release: Serving | None
    containers: list[ContainerShown]
    services: list[ServiceShown]
    locks: list[LockHeld]
