"""Pure: what happened, as lines for the screen."""

from __future__ import annotations

import re
from datetime import datetime

from pydantic import BaseModel
from rich.markup import escape

from tests.demo.screen import Line
from tests.github import (
    CommentCreated,
    CommentDeleted,
    CommentEdited,
    DeliverySent,
    DeploymentCreated,
    DeploymentStatusPosted,
    Happening,
    PullChanged,
    ReactionAdded,
    StatusPosted,
)
from tests.github.model import Comment

_COLOURS = {
    "success": "green",
    "succeeded": "green",
    "failure": "red",
    "failed": "red",
    "error": "red",
    "inactive": "dim",
    "cancelled": "dim",
}
_EMOJI = {"eyes": "👀", "rocket": "🚀", "confused": "😕", "+1": "👍"}
_NOTHING = "\N{EN DASH}"  # in a cell of the comment's tables
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")


class StepSeen(BaseModel):
    """A step, as the API tells it."""

    attempt: int
    name: str
    started_at: datetime
    ended_at: datetime | None
    ok: bool | None


class ImageSeen(BaseModel):
    size: int


class JobSeen(BaseModel):
    """A job, as the API tells it."""

    id: str
    kind: str
    name: str
    state: str
    attempt: int
    worker: str | None
    started_at: datetime | None
    ended_at: datetime | None
    sentence: str
    steps: list[StepSeen]
    image: ImageSeen | None

    @property
    def over(self) -> bool:
        return self.state in ("succeeded", "failed", "cancelled")


class RunSeen(BaseModel):
    """A run, as the API tells it."""

    id: int
    cause: str
    sha: str
    jobs: list[JobSeen]

    @property
    def over(self) -> bool:
        return bool(self.jobs) and all(job.over for job in self.jobs)


def coloured(state: str) -> str:
    colour = _COLOURS.get(state, "yellow")
    return f"[{colour}]{state}[/]"


def seconds(started: datetime | None, ended: datetime | None) -> str:
    return f"{(ended - started).total_seconds():.1f} s" if started and ended else "?"


def run_started(run: RunSeen) -> Line:
    return Line("run", f"[bold]run {run.id}[/]: {escape(run.cause)} at [cyan]{run.sha[:7]}[/]")


def job_started(run: RunSeen, job: JobSeen) -> Line:
    again = f", attempt {job.attempt}" if job.attempt > 1 else ""
    return Line("run", f"run {run.id} ▸ {_name(job)} runs on {escape(job.worker or '?')}{again}")


def step_ended(run: RunSeen, job: JobSeen, step: StepSeen) -> Line:
    mark = "[green]✓[/]" if step.ok else "[red]✗[/]"
    took = seconds(step.started_at, step.ended_at)
    return Line("run", f"run {run.id} ▸ {_name(job)} ▸ {step.name:<8} {mark} {took:>6}")


def job_ended(run: RunSeen, job: JobSeen) -> Line:
    size = f", {job.image.size / 1e6:.1f} MB" if job.image else ""
    took = f" in {seconds(job.started_at, job.ended_at)}" if job.started_at else ""
    why = f": {escape(job.sentence)}" if job.state != "succeeded" else ""
    return Line("run", f"run {run.id} ▸ {_name(job)} {coloured(job.state)}{took}{size}{why}")


def step_runs(run: RunSeen, job: JobSeen, step: StepSeen) -> str:
    return f"run {run.id} ▸ {_name(job)} ▸ {step.name}"


def _name(job: JobSeen) -> str:
    return f"[bold]{job.kind}[/] {escape(job.name)}"


def happened(happening: Happening) -> Line | None:
    """What the stand-in saw; None for what another line says already."""
    match happening:
        case DeliverySent(delivery):
            what = f"{delivery.event}.{delivery.action}" if delivery.action else delivery.event
            answer = f"[green]{delivery.status_code}[/]" if delivery.ok else f"[red]{delivery.status}[/]"
            return Line("webhook", f"{what} delivered: {answer} in {delivery.duration * 1000:.0f} ms")
        case StatusPosted(status):
            said = f" · {escape(status.description)}" if status.description else ""
            return Line("status", f"{status.sha[:7]} {status.context} {coloured(status.state)}{said}")
        case DeploymentCreated(made):
            return Line("deployment", f"{made.environment} of {made.sha[:7]} created")
        case DeploymentStatusPosted(made, status):
            where = f" · {status.environment_url}" if status.environment_url else ""
            return Line("deployment", f"{made.environment} of {made.sha[:7]} {coloured(status.state)}{where}")
        case CommentCreated(comment) if comment.by_app:
            return Line("comment", f"on #{comment.number} posted{_summary(comment)}")
        case CommentEdited(comment) if comment.by_app:
            return Line("comment", f"on #{comment.number} edited{_summary(comment)}")
        case CommentDeleted(comment):
            return Line("comment", f"on #{comment.number} deleted")
        case ReactionAdded(reaction):
            return Line("reaction", f"{_EMOJI.get(reaction.content, '')} {reaction.content} on the command")
        case PullChanged(pull, action):
            return Line("you", f"#{pull.number} is {action}") if action in ("closed", "reopened") else None
        case _:
            return None


def _summary(comment: Comment) -> str:
    """The rows of its tables, each a line."""
    lines = []
    rows = [row.strip() for row in comment.body.splitlines()]
    for before, row, after in zip(["", *rows], rows, [*rows[1:], ""], strict=False):
        is_row = row.startswith("|") and not row.startswith("|---") and not after.startswith("|---")
        if is_row and before.startswith("|"):
            cells = [_LINK.sub(r"\1", cell).strip(" `") for cell in row.strip("|").split("|")]
            lines.append("\n  │ " + " · ".join(escape(cell) for cell in cells if cell not in ("", _NOTHING)))
    return "".join(lines)
