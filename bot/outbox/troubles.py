"""Pure: what goes wrong, and what is well again: told once each time that it turns."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bot.reports import happenings
from bot.store.tables import JobState
from workers.contract.messages import Kind

_FAILS = {
    "deploy": "deploy.failed",
    "crash": "crash",
    "backup": "backup.failed",
    "task": "task.failed",
    "approval": "approval.waiting",
    "webhook": "webhook.disabled",
}
_RECOVERS = {
    "deploy": "deploy.recovered",
    "crash": "crash.recovered",
    "backup": "backup.recovered",
    "task": "task.recovered",
}
_KINDS = {Kind.DEPLOY: "deploy", Kind.TASK: "task", Kind.BACKUP: "backup"}


@dataclass(frozen=True)
class Turn:
    """How a thing is now: wrong, for the `problem`, or without one well. A `silent` one is told to nobody."""

    kind: str
    environment: str
    name: str = ""  # of the task, of the service, of the commit
    problem: str = ""
    link: str = ""
    silent: bool = False

    @property
    def thing(self) -> str:
        """Which thing of its repository it is. What waits for an approval is a commit, wherever it goes."""
        place = "" if self.kind == "approval" else self.environment
        return ":".join((self.kind, place, self.name))


@dataclass(frozen=True)
class News:
    """What is told of a thing, to whoever wants this `event`."""

    event: str
    turn: Turn


def turns(kind: str, about: Mapping[str, Any]) -> list[Turn]:
    """The turns that a happening is."""
    if kind == happenings.TURN:
        return [Turn(**about)]
    return _of_job(about) if kind == "job" else []


def _of_job(job: Mapping[str, Any]) -> list[Turn]:
    kind, state = Kind(job["kind"]), JobState(job["state"])
    place, link = job["environment"] or "", f"/jobs/{job['id']}"
    if not state.final:
        return []
    if kind is Kind.STOP:
        gone = state is JobState.SUCCEEDED
        return [Turn(one, place, silent=True) for one in ("deploy", "crash")] if gone else []
    if kind not in _KINDS:
        return []
    turn = Turn(_KINDS[kind], place, "" if kind is Kind.DEPLOY else job["name"], "", link)
    if state is JobState.SUCCEEDED:
        return [turn, *([Turn("crash", place, "", "", link)] if kind is Kind.DEPLOY else [])]
    if state is JobState.FAILED or happenings.needs_failed(state, job["reason"]):
        where = f"{job['failed_step']}: " if job["failed_step"] else ""
        return [Turn(turn.kind, place, turn.name, f"{where}{job['sentence']}" or "it failed", link)]
    return []


def weighed(turned: Sequence[Turn], standing: Collection[str]) -> tuple[list[News], set[str]]:
    """What is told of these turns, oldest first, where this stands wrong; and what does after them.

    What stands wrong already is not told again, and what was never wrong does not recover.
    """
    told, wrong = [], set(standing)
    for turn in turned:
        was = turn.thing in wrong
        if turn.problem and not was:
            wrong.add(turn.thing)
            told.append(News(_FAILS[turn.kind], turn))
        elif not turn.problem and was:
            wrong.discard(turn.thing)
            if not turn.silent and turn.kind in _RECOVERS:
                told.append(News(_RECOVERS[turn.kind], turn))
    return told, wrong
