"""When what ran, as bars beside each other. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bot.store.tables import Job, StepRow
from bot.web.pages.jobs import DOES
from bot.web.pages.render import duration
from workers.contract.messages import now

WIDTH = 1000  # of the whole time, in the picture's own units
_LEAST = 4  # that one still sees


@dataclass(frozen=True)
class Bar:
    """One line of it: a job, or one of its steps. `x` and `width` are in units of WIDTH."""

    name: str
    job: str
    state: str
    step: bool
    seconds: float
    x: int
    width: int

    @property
    def took(self) -> str:
        return duration(self.seconds)


def bars(jobs: Sequence[Job], steps: Sequence[StepRow], at: datetime | None = None) -> list[Bar]:
    """Each job that has begun, then the steps of its last attempt."""
    at = at or now()
    begun = [job for job in jobs if job.started_at is not None]
    theirs = [
        step for step in steps if any((job.id, job.attempt) == (step.job_id, step.attempt) for job in begun)
    ]
    starts = [job.started_at for job in begun if job.started_at] + [step.started_at for step in theirs]
    if not starts:
        return []
    first = min(starts)
    last = max([one.ended_at or at for one in begun] + [one.ended_at or at for one in theirs])
    whole = max((last - first).total_seconds(), 0.001)

    def bar(name: str, job: Job, state: str, step: bool, start: datetime, end: datetime | None) -> Bar:
        seconds = max(0.0, ((end or at) - start).total_seconds())
        width = max(_LEAST, round(seconds / whole * WIDTH))
        x = min(round((start - first).total_seconds() / whole * WIDTH), WIDTH - _LEAST)
        return Bar(name, job.id, state, step, seconds, max(0, x), min(width, WIDTH - max(0, x)))

    found = []
    for job in begun:
        assert job.started_at is not None, "it has begun"  # noqa: S101
        found.append(bar(f"{DOES[job.kind]} {job.name}", job, job.state, False, job.started_at, job.ended_at))
        found += [
            bar(step.name, job, step_state(step), True, step.started_at, step.ended_at)
            for step in theirs
            if step.job_id == job.id
        ]
    return found


def step_state(step: StepRow) -> str:
    """A step's state in a job's words."""
    if step.ended_at is None:
        return "running"
    return "succeeded" if step.ok else "failed"


def levels(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs in columns: each stands right of all that it needs."""
    depth: dict[str, int] = {}
    rest = list(jobs)
    while rest:
        known = [
            job
            for job in rest
            if all(need in depth or need not in {one.id for one in rest} for need in job.needs)
        ]
        for job in known or rest:
            depth[job.id] = 1 + max((depth.get(need, -1) for need in job.needs), default=-1)
        rest = [job for job in rest if job.id not in depth]
    columns: list[list[Job]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for job in jobs:
        columns[depth[job.id]].append(job)
    return columns
