"""Tasks that somebody asks for, by a command or through the API, and those whose time has come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bot.decisions import asking, deploying
from bot.decisions.decision import Decision, Refused
from bot.decisions.deploying import Wanted
from bot.decisions.desk import Desk
from bot.decisions.gates import Wish
from bot.decisions.plan import PlannedJob, preview_of
from bot.jobs import tasks
from bot.store.tables import Environment, Release
from config.errors import nearest
from config.repository import PREVIEW
from config.tasks import Task
from workers.contract.messages import Kind


@dataclass(frozen=True)
class WantedTask(Wanted):
    """As a deploy that is asked for; `fork`: it runs in what is a stranger's."""

    fork: bool = False


async def wanted(desk: Desk, name: str, place: str, actor: str, comment_id: int | None = None) -> WantedTask:
    """A task of what is live in an environment. Raises Refused and GitHubError."""
    async with desk.store.reading() as session:
        live = await tasks.live(session, desk.repository.id, place)
        if live is None:
            raise Refused(await tasks.nowhere(session, desk.repository.id, place))
        before = await tasks.unfinished(session, desk.repository.id, place, name)
    task = named(live, name, place)
    if why := tasks.hindered(task, name, before):
        raise Refused(why)
    shown = PREVIEW if preview_of(place) else place
    holds = await deploying.held_by(desk, live, shown, ("deployers",), gates=("confirm",))
    wish = Wish(place, live.sha, actor, comment_id=comment_id)
    fork = bool(live.settings.get("fork"))
    return WantedTask(wish, (job(name, task, place, live),), holds, f"environment/{place}", fork=fork)


def named(live: Release, name: str, place: str) -> Task:
    """A task of the release that is live. Raises Refused, with the nearest, where it names no such."""
    known = tasks.named(live.settings)
    if name not in known:
        there = f" It has {', '.join(known)}." if known else " Its file names none."
        raise Refused(f"{place} has no task {name}.{there}{nearest(name, known)}")
    return known[name]


def job(name: str, task: Task, place: str, live: Release) -> PlannedJob:
    """Pure. It has no status: it says nothing of a commit."""
    return PlannedJob(Kind.TASK, name, context="", environment=place, spec=tasks.spec(task, live))


def due(environment: Environment, live: Release, name: str, task: Task, at: datetime) -> Decision:
    """Pure: the run of a task whose time has come."""
    made = job(name, task, environment.name, live)
    return asking.due(f"runs {name} in {environment.name}", environment, live, made, at)


def default_place(places: Mapping[str, Mapping[str, Any]], name: str, own: str) -> str:
    """Pure: where a task runs whose environment nobody says. `places`: the settings of what is live in each.

    Raises Refused where that is not clear.
    """
    known = {place: tasks.named(settings) for place, settings in places.items()}
    none = "Nothing that is live names any."
    return asking.default_place(
        known, name, own, thing="task", none=none, say=lambda place: f"/run {name} {place}"
    )
