"""What is around the runs of a town: environments, releases, pull requests, workers, deliveries."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession

from bot.routing.visits import begin
from bot.store.tables import (
    AttemptRow,
    BackupRow,
    ContainerRow,
    Delivery,
    DeliveryState,
    Environment,
    Image,
    Job,
    Lock,
    LogDrainRow,
    Outgoing,
    OutgoingState,
    Pull,
    Release,
    ReleaseState,
    Repository,
    ServiceRow,
    StepRow,
    UsageRow,
    VisitsRow,
    Wanted,
    Webhook,
    WorkerRow,
)
from tests.bot.conftest import REPOSITORY
from workers.contract.messages import Fault, now

HOSTILE = '<img src=x onerror="fetch(1)">'
_PAYLOAD = '{"ref": "refs/heads/main", "pusher": {"name": "ada"}, "commits": []}'


Columns = dict[str, Any]


def before(**since: float) -> datetime:
    return now() - timedelta(**since)


async def places(session: AsyncSession, first: Job, second: Job) -> None:
    """Production with two releases, by these deploys; staging, which is ill and locked; a preview asleep."""
    named: tuple[tuple[int, str, Columns], ...] = (
        (1, "production", {"requested_at": before(seconds=20)}),
        (2, "staging", {}),
        (3, "pr-41", {"pull_number": 41, "asleep": True}),
    )
    for number, name, columns in named:
        url = f"https://{name}.example.com"
        session.add(Environment(id=number, repository_id=REPOSITORY, name=name, url=url, **columns))
    await session.flush()
    _release(session, 1, 1, first, ReleaseState.RETIRED, before(days=2), actor="ada", why="push to main")
    _release(session, 2, 1, second, ReleaseState.LIVE, before(hours=3), actor="grace", why="push to main")
    why = f"promoted {HOSTILE}"
    _release(session, 3, 2, second, ReleaseState.LIVE, before(hours=2), actor="grace", why=why, job_id="9-1")
    running: tuple[tuple[int, str, Columns], ...] = (
        (2, "production", {"health": "healthy"}),
        (3, "staging", {"failing": "GET /health: 500", "restarts": 2}),
    )
    for number, name, columns in running:
        container = f"blacktree-shop-{name}-{number}-web-1"
        row = ContainerRow(worker="oak-1", name=container, release_id=number, running=True, **columns)
        session.add(row)
    session.add(Lock(repository_id=REPOSITORY, environment="staging", owner="grace", reason="a demo at noon"))
    _data(session)
    _seen(session)
    _wanted(session)


def _data(session: AsyncSession) -> None:
    """A database of production, with a backup; and one that could not be taken."""
    said = {"command": ["pg_dump"], "restore": ["psql"], "cron": "0 3 * * *"}
    known: Columns = {"image": "postgres:17", "worker": "oak-1", "health": "healthy", "backup": said}
    session.add(ServiceRow(environment_id=1, name="db", backup_trouble=HOSTILE, **known))
    row: Columns = {"repository_id": REPOSITORY, "environment": "production", "service": "db"}
    size: Columns = {"size": 84_200_000, "dumped": 1, "name": "x", "sha256": "0" * 64, "job_id": "2-1"}
    session.add(BackupRow(**row, **size, begun_at=before(hours=9), created_at=before(hours=9)))


def _seen(session: AsyncSession) -> None:
    """How often production was asked for, and what it used."""
    for hours, requests in ((0, 1204), (3, 310), (5, 98), (9, 2), (40, 77)):
        session.add(VisitsRow(environment_id=1, at=begin(before(hours=hours)), requests=requests))
    for minutes in range(1, 40):
        memory: Columns = {"memory": (90 + minutes) << 20, "memory_limit": 512 << 20}
        row: Columns = {"container": "blacktree-shop-production-2-web-1", "process": "web", "release_id": 2}
        flow: Columns = {"received": 60_000, "sent": 900_000, "restarts": 0}
        span: Columns = {"span": 60, "at": before(minutes=minutes), "seconds": 60, "cpu": 6.0 + minutes % 7}
        session.add(UsageRow(environment_id=1, **row, **span, **memory, **flow))


def _wanted(session: AsyncSession) -> None:
    """A fork's commit, and a deploy, that wait for somebody."""
    for number, place in ((43, ""), (0, "production")):
        known: Columns = {"repository_id": REPOSITORY, "sha": f"{number or 55}" * 20, "actor": "eve"}
        about: Columns = {"ref": HOSTILE, "why": f"nobody has looked at it {HOSTILE}"}
        session.add(Wanted(environment=place, pull_number=number, **known, **about))


def _release(
    session: AsyncSession,
    number: int,
    place: int,
    job: Job,
    state: ReleaseState,
    at: datetime,
    **columns: Any,
) -> None:
    known: dict[str, Any] = {"run_id": job.run_id, "job_id": job.id, "sha": job.sha, "image": "shop@sha256:1"}
    told = {**known, "worker": "oak-1", "attempt": 1, "created_at": at, "live_at": at, **columns}
    session.add(Release(id=number, environment_id=place, state=state, **told))


def pulls(session: AsyncSession) -> None:
    """One with a preview, one that is being built, one of a fork."""
    opened: tuple[tuple[int, str, Columns], ...] = (
        (41, "colours", {"expires_at": before(days=-3)}),
        (42, "a-basket-with-a-very-long-name-of-its-branch", {"draft": True}),
        (43, HOSTILE, {"fork": True, "waiting": "a fork: somebody with write access says /build 4343434"}),
    )
    for number, ref, columns in opened:
        sha = f"{number}" * 20
        session.add(Pull(repository_id=REPOSITORY, number=number, head_sha=sha, head_ref=ref, **columns))


def fleet(session: AsyncSession) -> None:
    """One worker with room, one without, one that is ill."""
    workers: tuple[tuple[str, str, int, int, float, Columns], ...] = (
        ("oak-1", "default", 4, 1, 84e9, {}),
        ("oak-2", "default", 1, 1, 9e9, {}),
        ("elm-1", "forks", 2, 0, 4e8, {"problem": "its disk is full: 0.4 GB are free", "labels": "arm64"}),
    )
    for name, pool, slots, running, disk, columns in workers:
        known: dict[str, Any] = {"instance": name, "address": "10.0.0.5", "software": "blacktree 0.1"}
        told = {**known, "disk_free": int(disk), **columns}
        session.add(WorkerRow(name=name, pool=pool, slots=slots, running=running, **told))


def deliveries(session: AsyncSession, reason: str) -> None:
    """Three pushes that became runs, and one that nothing could be decided about."""
    for number, event, state, run in (
        (1, "push", DeliveryState.PROCESSED, 1),
        (2, "push", DeliveryState.PROCESSED, 2),
        (3, "pull_request", DeliveryState.FAILED, None),
        (4, "push", DeliveryState.PROCESSED, 4),
    ):
        told: dict[str, Any] = {"guid": f"6f1c0000-{number}", "event": event, "state": state, "run_id": run}
        said = reason if run else f"GitHub: 502 {HOSTILE}"
        known: Columns = {"repository_id": REPOSITORY, "payload": _PAYLOAD, "reason": said, "attempts": 1}
        session.add(Delivery(**told, **known, received_at=before(hours=5 - number)))


async def told(session: AsyncSession) -> None:
    """A channel, a webhook and log drains, each of which went well and did not."""
    owner = await session.get_one(Repository, REPOSITORY)
    owner.channels = {"team": {"secret": "TEAM_CHAT", "on": ["crash"], "environments": ["prod*"]}, "ops": {}}
    session.add(
        Webhook(
            id=1, repository_id=REPOSITORY, shown="https://in.example.com/hook", sealed="", events=["*"],
            made_by="grace", failing_since=before(hours=1),
        )
    )  # fmt: skip
    channel = f"channel:{REPOSITORY}:team"
    outcomes: tuple[tuple[str, str, OutgoingState, Columns], ...] = (
        ("webhook:1", "release", OutgoingState.SENT, {"status": 200, "sent_at": before(hours=2)}),
        ("webhook:1", "crash", OutgoingState.GIVEN_UP, {"status": 500, "reason": f"answered {HOSTILE}"}),
        ("webhook:1", "job", OutgoingState.PENDING, {"attempts": 3, "due_at": before(minutes=-9)}),
        (channel, "crash", OutgoingState.GIVEN_UP, {"reason": "its secret is not set"}),
    )
    for lane, event, state, columns in outcomes:
        session.add(Outgoing(lane=lane, event=event, state=state, body="{}", **columns))
    row: Columns = {"place": 9, "sent_at": before(minutes=4)}
    session.add(LogDrainRow(environment_id=1, scope="instance", address="https://logs.example.com", **row))
    ill: Columns = {"problem": f"answered 503 {HOSTILE}", "failing_since": before(minutes=3), "dropped": 84}
    where = "syslog+tls://logs.example.com:6514"
    session.add(LogDrainRow(environment_id=2, scope="repository", address=where, **row, **ill))


def tries(session: AsyncSession, failed: Job, again: Job) -> None:
    """Attempts: one failed by its user's fault; of the other the first by ours, and the second did well."""
    away: Columns = {
        "fault": Fault.OURS,
        "reason": "registry",
        "sentence": "The registry did not answer: 503",
    }
    session.add(AttemptRow(job_id=again.id, attempt=1, worker="oak-1", outcome="failed", **away))
    session.add(AttemptRow(job_id=again.id, attempt=2, worker="oak-2", outcome="succeeded"))
    session.add(AttemptRow(job_id=failed.id, attempt=1, outcome="failed", sentence=failed.sentence))
    built: dict[str, Any] = {"sha": again.sha, "tree": "t", "digest": "sha256:1", "reference": "shop:2"}
    size: Columns = {"size": 84_200_000, "layers": 9, "cached": 7}
    session.add(Image(repository_id=REPOSITORY, name="web", job_id=again.id, **built, **size))


def step(
    job: Job, name: str, start: float, end: float | None, ok: bool | None = True, attempt: int = 1
) -> StepRow:
    """One that began and ended so many seconds after its job."""
    begun = job.started_at or now()
    ended = None if end is None else begun + timedelta(seconds=end)
    at = begun + timedelta(seconds=start)
    told = None if end is None else ok
    return StepRow(job_id=job.id, attempt=attempt, name=name, started_at=at, ended_at=ended, ok=told)
