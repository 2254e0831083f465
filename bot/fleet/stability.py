"""Pure: whether a release that serves is well, and what is done if it is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from bot.jobs import images
from bot.jobs.images import is_local
from bot.store.tables import ContainerRow, Release, ServiceRow, WorkerRow
from config.processes import WEB
from workers.contract.lines import Line

# A restart is forgotten when none has followed it for so long. Docker waits up to a minute before it
# starts again what ends at once (https://docs.docker.com/engine/containers/start-containers-automatically).
CALM = timedelta(minutes=5)
# What happened in the last moment of the stability window is told this much later at most.
LATE = timedelta(seconds=3)


class What(StrEnum):
    NOTHING = "nothing"
    TELL = "tell"  # what it suffers, or that it is well again
    GIVE_UP = "give up"


@dataclass(frozen=True)
class Verdict:
    """What is done about a release; `problem` is what it suffers, for people, empty if it is well."""

    what: What
    problem: str = ""


def judged(
    release: Release,
    containers: Sequence[ContainerRow],
    lost: str,
    at: datetime,
    *,
    deployed: bool,
    lacks: str = "",
) -> Verdict:
    """What follows from how a live release's containers are.

    `lost` is why its worker can't tell, for people, empty if it can. `deployed`: its job has ended, so that
    nothing else is said of it meanwhile. In the stability window any restart counts: it had none when it
    was switched to. What is wrong with its services, which it `lacks`, is told after it and is no reason to
    go back.
    """
    if lost:
        return _told(release, lost)
    proving = release.steady_at is not None and at <= release.steady_at + LATE
    problem = ailing(containers, None if proving else at - CALM)
    if not proving:
        return _told(release, problem or lacks)
    if not problem:
        return _told(release, "")
    if not deployed or release.problem:
        return Verdict(What.NOTHING)
    return Verdict(What.GIVE_UP, problem)


def _told(release: Release, problem: str) -> Verdict:
    return Verdict(What.NOTHING if problem == release.problem else What.TELL, problem)


def ailing(containers: Sequence[ContainerRow], since: datetime | None) -> str:
    """What is wrong with a release's containers, for people; restarts `since` then count, all if None."""
    said = [(container, wrong) for container in containers if (wrong := _wrong(container, since))]
    if not said:
        return ""
    worst = min(said, key=lambda one: one[0].running)[1]
    if len(containers) == 1:
        return worst
    several = {one.process for one in containers} != {WEB}
    whose = f" ({', '.join(sorted({one.process for one, _ in said}))})" if several else ""
    return f"{len(said)} of {len(containers)} containers{whose}: {worst}"


def ailing_service(services: Sequence[ServiceRow], since: datetime) -> tuple[str, ServiceRow | None]:
    """What is wrong with the first of them that is not well, for people, and which that is."""
    for service in services:
        told = service.model_dump(exclude={"worker", "name"})
        container = ContainerRow(worker=service.worker or "", name=service.name, release_id=0, **told)
        if wrong := _wrong(container, since):
            return f"service {service.name}: {wrong}", service
    for service in services:
        if service.backup_trouble:
            return f"service {service.name}: {service.backup_trouble}", None
    return "", None


def last_lines(containers: Sequence[ContainerRow]) -> str:
    """What the worst of them printed before it ended."""
    said = [container for container in containers if container.last_lines]
    return min(said, key=lambda one: one.running).last_lines if said else ""


def _wrong(container: ContainerRow, since: datetime | None) -> str:
    restarted = container.restarts > 0 and (
        since is None or (container.restarted_at is not None and container.restarted_at > since)
    )
    if container.health == "gone":
        return "its container was removed by somebody"
    if container.out_of_memory and (restarted or not container.running):
        return "it ran out of memory: raise limits.memory"
    if restarted:
        return f"it restarted {container.restarts} time{'' if container.restarts == 1 else 's'}" + _code(
            container
        )
    if not container.running:
        return f"it ended{_code(container)}"
    if container.failing:
        return f"its health check fails: {container.failing}"
    return "its HEALTHCHECK says unhealthy" if container.health == "unhealthy" else ""


def _code(container: ContainerRow) -> str:
    return "" if container.running else f" with exit code {container.exit_code}"


@dataclass(frozen=True)
class Fate:
    """What becomes of a release whose worker is gone: whether it is started elsewhere, and why not."""

    moves: bool
    said: str


def fate(release: Release, pool: str, at_work: Mapping[str, str], local: bool) -> Fate:
    """`at_work` has the pools of the workers that take jobs; `local`: images stay in their engines."""
    if release.settings.get("target") == "swarm":
        return Fate(False, "the swarm looks after it")
    if release.settings.get("services"):
        return Fate(False, "its services are there, so it waits for that worker")
    if release.settings.get("volumes"):
        return Fate(False, "its volumes are there, so it waits for that worker")
    if local or any(map(is_local, images.of(release))):
        return Fate(
            False,
            "its image is only there, so it waits for that worker (with REGISTRY only a fork's would)",
        )
    pool = Line.read(pool).pool
    if not any(theirs == pool and name != release.worker for name, theirs in at_work.items()):
        return Fate(False, f"no other worker of pool {pool} is there")
    return Fate(True, "another worker starts it")


def lost(worker: WorkerRow | None, then: Fate) -> str:
    """Why nothing is known of a release whose `worker` is gone, for people; empty for None."""
    if worker is None:
        return ""
    return f"worker {worker.name} is silent since {worker.seen_at:%Y-%m-%d %H:%M} UTC: {then.said}"
