"""Pure: what happened, as entries: each says what, when, how it stands, and where there is more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from bot.store.tables import (
    Approval,
    AttemptRow,
    CommandRow,
    Delivery,
    Environment,
    Image,
    Job,
    JobState,
    Release,
    Report,
    ReportKind,
    ReportState,
    Run,
)
from bot.web.pages.jobs import DOES, caused, says, waits


class Happened(StrEnum):
    """The kinds of entries, in the order in which they stand at one moment."""

    DELIVERY = "delivery"
    COMMAND = "command"
    DECISION = "decision"
    APPROVAL = "approval"
    GATE = "gate"
    JOB = "job"
    ATTEMPT = "attempt"
    REUSE = "reuse"
    RELEASE = "release"
    TRAFFIC = "traffic"
    REPORT = "report"


@dataclass(frozen=True)
class Entry:
    """Something that happened. `link` is a page of ours, or an address elsewhere; or there is none."""

    at: datetime
    kind: Happened
    what: str
    state: str = ""
    link: str = ""


@dataclass(frozen=True)
class Known:
    """All that is known of a subject."""

    page: str  # the repository's at GitHub
    runs: Sequence[Run] = ()
    deliveries: Sequence[Delivery] = ()
    commands: Sequence[CommandRow] = ()
    approvals: Sequence[Approval] = ()
    jobs: Sequence[Job] = ()
    attempts: Sequence[AttemptRow] = ()
    images: Sequence[Image] = ()
    sources: Mapping[str, str] | None = None  # references ▸ the jobs that built them
    releases: Sequence[Release] = ()
    later: Sequence[Release] = ()  # of the same environments
    places: Mapping[int, Environment] | None = None
    reports: Sequence[Report] = ()


_ORDER = {kind: place for place, kind in enumerate(Happened)}


def told(known: Known) -> list[Entry]:
    """All entries, in the order in which they happened."""
    parts = (_deliveries, _commands, _decisions, _approvals, _jobs, _attempts, _images, _releases, _reports)
    found = [entry for part in parts for entry in part(known)]
    return sorted(found, key=lambda entry: (entry.at, _ORDER[entry.kind]))


def verdict(known: Known) -> str:
    """How it stands, in a sentence."""
    places = known.places or {}
    live = [places[one.environment_id].name for one in known.releases if one.state.value == "live"]
    live = list(dict.fromkeys(name for name in live))
    newest = max((run.id or 0 for run in known.runs), default=None)
    jobs = [job for job in known.jobs if job.run_id == newest]
    for state, words in (
        (JobState.RUNNING, "is being worked on"), (JobState.FAILED, "failed"),
        (JobState.QUEUED, "waits for a worker"),
        (JobState.WAITING, "waits"), (JobState.CANCELLED, "was cancelled"),
    ):  # fmt: skip
        if found := [job for job in jobs if job.state is state]:
            where = f"; live in {' and '.join(live)}" if live else ""
            job = found[0]
            why = job.sentence or says(job) or "no more is known"
            stands = "waits" if waits(job) else words
            return f"{DOES[job.kind]} {job.name} {stands}: {why}{where}"
    if live:
        return f"live in {' and '.join(live)}"
    if jobs:
        return "all that was to be done is done; nothing of it is live any more"
    held = [report for report in known.reports if _held(report)]
    if held:
        return str(held[-1].payload.get("description", ""))
    if known.deliveries:
        return known.deliveries[-1].reason or "nothing is decided yet"
    return "nothing was heard of it"


def _deliveries(known: Known) -> Iterator[Entry]:
    for row in known.deliveries:
        name = f"{row.event}.{row.action}" if row.action else row.event
        link = f"/deliveries/{row.guid}"
        yield Entry(row.received_at, Happened.DELIVERY, f"GitHub told: {name}", row.state.value, link)
        if row.run_id is None and row.reason:
            yield Entry(row.received_at, Happened.DECISION, row.reason, "nothing", link)


def _commands(known: Known) -> Iterator[Entry]:
    for row in known.commands:
        link = f"{known.page}/pull/{row.pull_number}#issuecomment-{row.comment_id}"
        said = f"{row.actor} said {row.line}: {row.answer}"
        yield Entry(row.created_at, Happened.COMMAND, said, row.state.value, link)


def _decisions(known: Known) -> Iterator[Entry]:
    reasons = {row.run_id: row.reason for row in known.deliveries if row.run_id is not None}
    for run in known.runs:
        reason = reasons.get(run.id or 0, "")
        said = f"run {run.id} for {caused(run)}" + (f": {reason}" if reason else "")
        yield Entry(run.created_at, Happened.DECISION, said, "", f"/runs/{run.id}")


def _approvals(known: Known) -> Iterator[Entry]:
    for row in known.approvals:
        link = f"{known.page}/pull/{row.pull_number}"
        yield Entry(row.created_at, Happened.APPROVAL, f"{row.actor} approved of {row.sha[:7]}", "", link)


def _jobs(known: Known) -> Iterator[Entry]:
    for job in known.jobs:
        name, link = f"{DOES[job.kind]} {job.name}", f"/jobs/{job.id}"
        if job.state.final:
            sentence = f": {job.sentence}" if job.sentence else ""
            at = job.ended_at or job.created_at
            yield Entry(at, Happened.JOB, f"{name} {job.state.value}{sentence}", job.state.value, link)
        else:
            at = job.started_at or job.created_at
            yield Entry(at, Happened.JOB, f"{name}: {says(job)}", job.state.value, link)


def _attempts(known: Known) -> Iterator[Entry]:
    """Each try that began; that it ended well is the job's entry."""
    jobs = {job.id: job for job in known.jobs}
    for row in known.attempts:
        job = jobs[row.job_id]
        name, link = f"{DOES[job.kind]} {job.name}", f"/jobs/{job.id}?attempt={row.attempt}"
        if row.started_at is not None:
            said = f"{name}, attempt {row.attempt}, on {row.worker or 'no worker'}"
            yield Entry(row.started_at, Happened.ATTEMPT, said, "running" if not row.outcome else "", link)
        if row.ended_at is not None and row.outcome == "failed" and row.attempt < job.attempt:
            said = f"{name}, attempt {row.attempt}, failed: {row.sentence}"
            yield Entry(row.ended_at, Happened.ATTEMPT, said, "failed", link)


def _images(known: Known) -> Iterator[Entry]:
    sources = known.sources or {}
    for image in known.images:
        if image.reused:
            source = sources.get(image.digest, "")
            said = f"{image.name}: nothing was built, the image of {image.reused[:7]} has the same inputs"
            yield Entry(image.created_at, Happened.REUSE, said, "", f"/jobs/{source}" if source else "")


def _releases(known: Known) -> Iterator[Entry]:
    places = known.places or {}
    for release in known.releases:
        name, link = places[release.environment_id].name, f"/environments/{release.environment_id}"
        said = f"release {release.id} of {name}" + (f": {release.why}" if release.why else "")
        yield Entry(release.created_at, Happened.RELEASE, said, release.state.value, link)
        if release.live_at is not None:
            said = f"{name}'s visitors reach release {release.id}"
            yield Entry(release.live_at, Happened.TRAFFIC, said, "live", link)
            if follower := _follower(release, known.later):
                at, _ = follower
                said = f"{name}'s visitors left release {release.id} for release {follower[1].id}"
                yield Entry(at, Happened.TRAFFIC, said, "retired", link)
        if release.problem:
            at = release.steady_at or release.live_at or release.created_at
            yield Entry(at, Happened.RELEASE, f"release {release.id}: {release.problem}", "ailing", link)


def _follower(release: Release, later: Sequence[Release]) -> tuple[datetime, Release] | None:
    """The release that took the place of this one, and when."""
    after = [
        (one.live_at, one)
        for one in later
        if one.environment_id == release.environment_id
        and one.live_at is not None
        and release.live_at is not None
        and one.live_at > release.live_at
    ]
    return min(after, key=lambda one: one[0]) if after else None


def _held(report: Report) -> bool:
    return str(report.payload.get("description", "")).startswith(("Held by", "Waits for /approve"))


def _reports(known: Known) -> Iterator[Entry]:
    for row in known.reports:
        if row.state is ReportState.SUPERSEDED:
            continue
        payload = row.payload
        if row.kind is ReportKind.STATUS:
            said = f"{payload.get('context')}: {payload.get('state')}, {payload.get('description')}"
            link = f"{known.page}/commit/{payload.get('sha')}"
        elif row.kind is ReportKind.DEPLOYMENT:
            said = f"deployment of release {payload.get('release')}: {payload.get('state')}"
            link = f"{known.page}/deployments"
        elif row.kind is ReportKind.COMMENT:
            said = f"the comment of #{payload.get('number')}"
            link = f"{known.page}/pull/{payload.get('number')}"
        else:
            continue
        if _held(row):
            yield Entry(row.created_at, Happened.GATE, str(payload["description"]), "", link)
        owed = {ReportState.PENDING: "is owed", ReportState.REFUSED: "was refused"}.get(row.state, "was told")
        why = f" ({row.reason})" if row.reason else ""
        at, said = row.sent_at or row.created_at, f"GitHub {owed}: {said}{why}"
        yield Entry(
            at,
            Happened.REPORT,
            said,
            row.state.value,
            link,
        )
