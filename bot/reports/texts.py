"""What Blacktree tells people on GitHub: statuses and the living comment. Texts only, no decisions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy import inspect

from bot.store.tables import CommandState, ContainerRow, Job, JobState, Release, ReleaseState, Run
from bot.store.tables import Environment as Place
from workers.contract.messages import BackupResult, Fault, ImageResult, Kind

MOST_STATUS = 140  # characters; GitHub refuses a longer description with a 422
MOST_COMMENT = 60_000  # characters; GitHub's limit is 65,536
MARKER = "<!-- blacktree:living-comment -->"

_DIGEST = 19  # characters: sha256: and twelve
TAIL_LINES = 30
_TAIL_WIDTH = 300  # characters of a line

_DOING = {
    Kind.BUILD: "Building",
    Kind.DEPLOY: "Deploying",
    Kind.STOP: "Stopping",
    Kind.TASK: "Running",
    Kind.BACKUP: "Backing up",
    Kind.RESTORE: "Restoring",
    Kind.UPDATE: "Updating",
}
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


def waits_for_labels(labels: str) -> str:
    """`labels` that no worker has now that is there."""
    return f"Waits for a worker with {labels}"


def awaits(job: Job) -> str:
    """The image that is built elsewhere and a job waits for; empty if it builds one."""
    if job.kind is not Kind.BUILD or "spec" in inspect(job).unloaded:  # lists of jobs are read without
        return ""
    return str(job.spec.get("awaits") or "")


AWAITED = "image_awaited"  # the reason of a job that waits for one


def waiting(reference: str, said: str) -> str:
    """`said`: why its registry does not tell more."""
    return f"Waiting for {reference}" + (f" ({said})" if said else "")


def found(reference: str, digest: str) -> str:
    return f"{reference} is {shortly(digest)}"


def never_came(reference: str, why: str, said: str) -> str:
    return f"{reference} is not there: {why}" + (f". {said}" if said else "")


def in_time(waited: timedelta) -> str:
    return f"nobody has pushed it within {duration(waited.total_seconds())}"


def shortly(digest: str) -> str:
    """A digest, by itself or behind a name, as people tell it from another."""
    return digest.rpartition("@")[2][:_DIGEST]


def updated(service: str, image: str, before: str, after: str) -> str:
    if before == after:
        return f"{image} is {shortly(after)} still: nothing was done"
    return f"{service} runs {image} as it is now: {shortly(before)} → {shortly(after)}"


def _status(job: Job) -> tuple[str, str]:
    if (reference := awaits(job)) and not job.state.final:
        return "pending", job.sentence or waiting(reference, "")
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
    return f"Live at {url}" if url else "Live"


def ran(seconds: float) -> str:
    return f"Ended with 0 after {duration(seconds)}"


def not_begun_again(why: str) -> str:
    """Of a task: `why` its attempt has ended."""
    why = why.removesuffix("; another goes on").rstrip(".")  # of a worker that is told to stop
    said = f"{why[:1].upper()}{why[1:]}. It may have begun, so it is not begun again"
    return f"{said}: with retry: true it would be"


def nowhere(name: str, place: Place | None) -> str:
    """Why nothing can be run in an environment of which nothing is live."""
    if place is not None and place.asleep:
        return f"{name} sleeps: wake it with a visit, then say it again"
    if place is not None and place.stopped:
        return f"{name} is stopped: deploy it first"
    return f"nothing was ever deployed to {name}: deploy it first"


def task_line(job: Job) -> str:
    """How the last run of a task went, on one line."""
    at = job.ended_at or job.started_at or job.created_at
    said = f": {job.sentence}" if job.sentence else ""
    return f"task {job.name} of {job.environment} {job.state} at {at:%Y-%m-%d %H:%M} UTC{said}"


def backed_up(service: str, made: BackupResult) -> str:
    return f"{service} is backed up: {megabytes(made.dumped)}, kept as {megabytes(made.size)}"


def overdue(since: datetime) -> str:
    return f"its backup of {since:%Y-%m-%d %H:%M} UTC is overdue"


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


def ended(jobs: Sequence[Job], wrong: Job | None) -> str:
    """How a command's run ended: the first that went wrong, or what was done."""
    if wrong is not None:
        step = f"{wrong.failed_step}: " if wrong.failed_step else ""
        return f"{wrong.name} {wrong.state}: {step}{wrong.sentence}"
    deeds = {
        Kind.BUILD: "built",
        Kind.DEPLOY: "deployed",
        Kind.STOP: "stopped",
        Kind.TASK: "ran",
        Kind.BACKUP: "backed up",
        Kind.RESTORE: "restored",
        Kind.UPDATE: "updated",
    }
    last = [job for job in jobs if job.kind is not Kind.BUILD] or list(jobs)
    return "; ".join(f"{deeds[job.kind]} {job.name}: {job.sentence}".removesuffix(": ") for job in last)


def duration(seconds: float) -> str:
    """Seconds for people: 8.4 s, 2 min 5 s."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60} s"


def megabytes(size: int) -> str:
    """Bytes for people: 4.2 MB."""
    return f"{size / 1e6:.1f} MB"


NO_KEY = "Its secrets cannot be opened: whoever runs this instance finds in its log which key is missing"
LOCKED_CONTEXT = "blacktree/commands"
LOCKED = "The conversation is locked, so no comment shows this commit: commands that follow may act on it"


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
    processes: str = ""  # how many of each run; empty where there is one alone
    tcp: str = ""  # where each is reached by TCP that has a port for it


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
    if (reference := awaits(job)) and not job.state.final:
        return f"⏳ waiting for {quoted(reference)}"
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


def running(live: Release, containers: Sequence[ContainerRow]) -> str:
    """How many of each process of a release run; empty where it names none."""
    counted = Counter(one.process for one in containers if one.release_id == live.id and one.running)
    processes = live.settings.get("processes") or {}
    return ", ".join(f"{name} {counted[name]} of {said['replicas']}" for name, said in processes.items())


def by_tcp(addresses: Mapping[str, str]) -> str:
    """Where processes are reached by TCP; empty where none is."""
    return ", ".join(f"{process} at {address}" for process, address in addresses.items())


def place_line(
    place: Place, live: Release | None, containers: Sequence[ContainerRow] = (), tcp: str = ""
) -> str:
    """What runs in an environment since when, on one line."""
    if live is None:
        return f"{place.name} {'sleeps until it is asked for' if place.asleep else 'runs nothing'}"
    said = f"{place.name} runs {live.sha[:7]} (release {live.id}"
    said += f", {live.why}" if live.why else ""
    said += f") on {live.worker} since {live.live_at:%Y-%m-%d %H:%M} UTC"
    said += f" at {place.url}" if place.url else ""
    said += f" (TCP: {tcp})" if tcp else ""
    said += f": {several}" if (several := running(live, containers)) else ""
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
