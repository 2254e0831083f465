"""What is asked of what is live, or comes by its schedule: a task, an update of a service."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime

from bot.decisions.admission import SCHEDULE
from bot.decisions.decision import Cause, Decision, Refused
from bot.decisions.plan import PlannedJob, preview_of
from bot.store.tables import Environment, Release
from config.errors import nearest


def due(what: str, environment: Environment, live: Release, job: PlannedJob, at: datetime) -> Decision:
    """Pure: the run of a job whose time has come; the same for the same time, whoever decides it."""
    key = f"{job.kind}:{environment.id}:{job.name}:{at.isoformat()}"
    fork = bool(live.settings.get("fork"))
    cause = Cause(SCHEDULE, key, f"environment/{environment.name}", live.sha, "", fork=fork)
    return Decision(f"{what}, as scheduled", cause, (job,))


def default_place(
    places: Mapping[str, Collection[str]],
    name: str,
    own: str,
    *,
    thing: str,
    none: str,
    say: Callable[[str], str],
) -> str:
    """Pure: where something is whose environment nobody says: `own`, the pull request's, goes first.

    `places`: what each environment has of that kind, `thing`; `none` is said where nothing has any, and
    `say` is the command that names an environment. Raises Refused where it is not clear.
    """
    having = [place for place, known in places.items() if name in known]
    if own in having:
        return own
    having = [place for place in having if preview_of(place) is None]
    if len(having) == 1:
        return having[0]
    if having:
        raise Refused(f"several environments have a {thing} {name}: say {say(having[0])}")
    known = sorted({one for there in places.values() for one in there})
    there = "" if known else f" {none}"
    raise Refused(f"there is no {thing} {name}.{there}{nearest(name, known)}")
