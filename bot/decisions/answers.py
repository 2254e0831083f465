"""What commands are answered with, in plain text; the living comment quotes it."""

from __future__ import annotations

from collections.abc import Sequence

from bot.decisions.gates import Closed
from bot.store.tables import Job, JobState


def accepted(sha: str) -> str:
    return f"working on {sha[:7]}"


def held(closed: Sequence[Closed]) -> str:
    """Each gate that holds a deploy, and what opens it."""
    return "\n".join(f"held by {one}" for one in closed)


def job_line(job: Job, base_url: str) -> str:
    """A job on one line, with the way to its log."""
    what = job.kind.value
    said = f" ({job.sentence})" if job.state is JobState.FAILED else ""
    return f"{what} {job.name} {job.state}{said}: {base_url}/jobs/{job.id}"
