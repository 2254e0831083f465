"""What Blacktree tells people on GitHub: statuses and the living comment. Texts only, no decisions."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bot.store.tables import CommandState, Job, JobState, Release, ReleaseState, Run
from bot.store.tables import Environment as Place
from workers.contract.messages import Fault, ImageResult, Kind

MOST_STATUS = 140  # characters; GitHub refuses a longer description with a 422
MOST_COMMENT = 60_000  # characters; GitHub's limit is 65,536
MARKER = "<!-- blacktree:living-comment -->"

TAIL_LINES = 30
_TAIL_WIDTH = 300  # characters of a line

_DOING = {Kind.BUILD: "Building", Kind.DEPLOY: "Deploying", Kind.STOP: "Stopping"}
_EMOJI = {
    JobState.WAITING: "⏳ waiting",
    JobState.QUEUED: "⏳ queued",
    JobState.RUNNING: "🔨 running",
    JobState.SUCCEEDED: "✅ succeeded",
    JobState.FAILED: "❌ failed",
    JobState.CANCELLED: "⚪ cancelled",
}
_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=StrictUndefined,
    autoescape=False,  # noqa: S701 (Markdown; what users wrote goes through `quoted`)
    trim_blocks=True,
    lstrip_blocks=True,
)


def status(job: Job) -> dict[str, str]:
    """A job's commit status: state, context and a description within GitHub's 140 characters."""
    state, description = _status(job)
    return {"state": state, "context": job.context, "description": shortened(description, MOST_STATUS)}


def _status(job: Job) -> tuple[str, str]:
    match job.state:
        case JobState.WAITING | JobState.QUEUED:
            return "pending", f"Trying again: {job.sentence}" if job.attempt else job.sentence or "Queued"
        case JobState.RUNNING:
            again = f" (attempt {job.attempt})" if job.attempt > 1 else ""
            return "pending", f"{_DOING[job.kind]} on {job.worker}{again}"
        case JobState.SUCCEEDED:
            return "success", job.sentence
        case JobState.FAILED:
            where = f"{job.failed_step}: " if job.failed_step else ""
            return "failure" if job.fault is Fault.USER else "error", f"{where}{job.sentence}"
        case JobState.CANCELLED:
            return "failure" if job.reason == "needs_failed" else "error", job.sentence


def deployment_state(job: Job) -> str | None:
    """The state of a deploy in GitHub's words, None where it says nothing new."""
    return {
        JobState.QUEUED: "queued" if job.attempt else None,
        JobState.RUNNING: "in_progress",
        JobState.SUCCEEDED: "success",
        JobState.FAILED: "failure" if job.fault is Fault.USER else "error",
        JobState.CANCELLED: "inactive" if job.attempt else None,
    }.get(job.state)


def built(seconds: float, image: ImageResult) -> str:
    cached = f", {layers(image.layers, image.cached)}" if image.layers else ""
    return f"Built in {duration(seconds)}, {megabytes(image.size)}{cached}"


def layers(of: int, cached: int) -> str:
    return f"{cached} of {of} layers from cache"


def reused(sha: str) -> str:
    return f"Not built again: {sha[:7]} had the same inputs"


def deployed(url: str) -> str:
    return f"Live at {url}"


def why(run: Run) -> str:
    """What caused a run, on one line: push (main), command /rollback (#7)."""
    if run.pull_number is not None:
        return f"{run.cause} (#{run.pull_number})"
    return f"{run.cause} ({run.ref.removeprefix('refs/heads/').removeprefix('refs/tags/')})"


def rolled_back(what: str, sha: str) -> str:
    return f"Went live, then {what}: rolled back to {sha[:7]}"


def brought_back(what: str, sha: str) -> str:
    return f"Went live, then {what}: {sha[:7]} is being brought back"


def went_wrong(what: str) -> str:
    return f"Went live, then {what}; there is no earlier release to go back to"


def superseded(sha: str) -> str:
    return f"Superseded by {sha[:7]}"


def needs_failed(contexts: list[str]) -> str:
    return f"Not run: {' and '.join(contexts)} did not succeed"


def duration(seconds: float) -> str:
    """Seconds for people: 8.4 s, 2 min 5 s."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60} s"


def megabytes(size: int) -> str:
    """Bytes for people: 4.2 MB."""
    return f"{size / 1e6:.1f} MB"


def shortened(text: str, most: int) -> str:
    """One line of at most `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def quoted(text: str) -> str:
    """What somebody wrote, as inline text that can't ping, link, close issues or break out of a table."""
    line = " ".join(text.split())
    line = re.sub(r"([\\`*_{}\[\]<>()!|~$&])", r"\\\1", line)
    return re.sub(r"([@#](?=\w)|\bGH(?=-)|https?:(?=//))", "\\1\u200b", line, flags=re.IGNORECASE)


def fenced(text: str) -> str:
    """Text as a block of code that its content can't end."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def tail(log: str) -> str:
    """The end of a log, as much as a comment shows of it."""
    lines = log.replace("\r\n", "\n").replace("\0", "").splitlines()[-TAIL_LINES:]
    return "\n".join(line if len(line) <= _TAIL_WIDTH else f"{line[:_TAIL_WIDTH]}…" for line in lines)


@dataclass(frozen=True)
class ImageView:
    """An image of the head commit, for the comment. `delta`: bytes more than the base branch's."""

    name: str
    state: str
    seconds: float | None
    size: int | None
    delta: int | None
    log_url: str
    problem: str
    log: str = ""


@dataclass(frozen=True)
class PlaceView:
    """An environment that the pull request runs in, for the comment."""

    name: str
    state: str
    url: str | None
    sha: str | None
    log_url: str
    problem: str
    log: str = ""


@dataclass(frozen=True)
class CommandView:
    """A command, and what became of it."""

    line: str
    actor: str
    state: str
    answer: tuple[str, ...]


@dataclass(frozen=True)
class RunView:
    """An earlier run."""

    number: int
    cause: str
    sha: str
    states: str


@dataclass(frozen=True)
class CommentView:
    """All that the living comment shows; `sha` is the head that it announces."""

    sha: str
    updated_at: datetime
    images: list[ImageView]
    places: list[PlaceView]
    waiting: tuple[str, ...] = ()
    commands: tuple[CommandView, ...] = ()
    history: tuple[RunView, ...] = ()


def command_state(state: CommandState) -> str:
    return {
        CommandState.ACCEPTED: "🔨",
        CommandState.SUCCEEDED: "✅",
        CommandState.FAILED: "❌",
        CommandState.REFUSED: "⛔",
    }[state]


def state_of(job: Job) -> str:
    return _EMOJI[job.state]


def place_state(job: Job, place: Place, brought_out: Release | None, live: Release | None) -> str:
    """How an environment stands for the people who read about the `job` that deployed to it."""
    if place.stopped and live is None:
        return "🗑 removed"
    if job.state is not JobState.SUCCEEDED:
        return state_of(job)
    if brought_out is not None and brought_out.state is ReleaseState.FAILED:
        return "↩️ rolled back"
    if place.asleep:
        return "💤 asleep"
    if place.maintenance:
        return "🚧 in maintenance"
    return "⚠️ unwell" if live is not None and live.problem else state_of(job)


def place_line(place: Place, live: Release | None) -> str:
    """What runs in an environment since when, on one line."""
    if live is None:
        return f"{place.name} {'sleeps until it is asked for' if place.asleep else 'runs nothing'}"
    said = f"{place.name} runs {live.sha[:7]} (release {live.id}"
    said += f", {live.why}" if live.why else ""
    said += f") on {live.worker} since {live.live_at:%Y-%m-%d %H:%M} UTC at {place.url}"
    said += "; it is in maintenance" if place.maintenance else ""
    return said + (f"; {live.problem}" if live.problem else "")


def comment(view: CommentView) -> str:
    """The living comment's Markdown, its hidden marker first, within `MOST_COMMENT` characters.

    What is least needed is left out first: history, the ends of logs, then all but the newest command.
    """
    bare = [replace(one, log="") for one in view.images], [replace(one, log="") for one in view.places]
    short = tuple(replace(one, answer=one.answer[:1]) for one in view.commands[:1])
    for less in (
        view,
        replace(view, history=()),
        replace(view, history=(), images=bare[0], places=bare[1]),
        replace(view, history=(), images=bare[0], places=bare[1], commands=short),
        replace(view, history=(), images=bare[0][:5], places=bare[1][:5], commands=short),
    ):
        text = _comment(less)
        if len(text) <= MOST_COMMENT:
            return text
    return f"{MARKER}\n### Blacktree · `{view.sha[:7]}`\n\nThere is too much to show here: see the statuses."


def _comment(view: CommentView) -> str:
    helpers = {
        "duration": duration,
        "megabytes": megabytes,
        "quoted": quoted,
        "shortened": shortened,
        "fenced": fenced,
        "coded": lambda text: text.replace("`", "'"),
    }
    return _templates.get_template("comment.md.j2").render(view=view, marker=MARKER, **helpers)
