"""What commands are answered with, in plain text; the living comment quotes it."""

from __future__ import annotations

from collections.abc import Sequence

from bot.gates import Closed
from bot.store.tables import Job, JobState
from workers.contract.messages import Kind


def accepted(sha: str) -> str:
    return f"working on {sha[:7]}"


def held(closed: Sequence[Closed]) -> str:
    """Each gate that holds a deploy, and what opens it."""
    return "\n".join(f"held by {one}" for one in closed)


def ended(jobs: Sequence[Job], wrong: Job | None) -> str:
    """How a command's run ended: the first that went wrong, or what was done."""
    if wrong is not None:
        step = f"{wrong.failed_step}: " if wrong.failed_step else ""
        return f"{wrong.name} {wrong.state}: {step}{wrong.sentence}"
    deeds = {Kind.BUILD: "built", Kind.DEPLOY: "deployed", Kind.STOP: "stopped"}
    last = [job for job in jobs if job.kind is not Kind.BUILD] or list(jobs)
    return "; ".join(f"{deeds[job.kind]} {job.name}: {job.sentence}".removesuffix(": ") for job in last)


def job_line(job: Job, base_url: str) -> str:
    """A job on one line, with the way to its log."""
    what = {Kind.BUILD: "build", Kind.DEPLOY: "deploy", Kind.STOP: "stop"}[job.kind]
    said = f" ({job.sentence})" if job.state is JobState.FAILED else ""
    return f"{what} {job.name} {job.state}{said}: {base_url}/jobs/{job.id}"
