"""The commands that do something to what is live: run a task of it, update a service of it."""

from __future__ import annotations

from bot.decisions import plan, tasks, updates
from bot.decisions.commands.definition import Asked
from bot.decisions.commands.deploys import gated
from bot.decisions.decision import Decision, Refused
from bot.decisions.desk import Desk
from bot.jobs.tasks import all_live
from config.repository import PREVIEW


async def run(desk: Desk, asked: Asked) -> Decision:
    """`/run nightly`, or `/run nightly production`."""
    name, *places = asked.arguments
    own = plan.preview_name(asked.head.number)
    async with desk.store.reading() as session:
        live = await all_live(session, desk.repository.id)
    place = _place(places[0] if places else tasks.default_place(live, name, own), own)
    wanted = await tasks.wanted(desk, name, place, asked.author, asked.comment_id)
    return await gated(desk, asked, wanted, f"running {name} in {place}", fork=wanted.fork)


async def update(desk: Desk, asked: Asked) -> Decision:
    """`/update db`, or `/update production db`."""
    *places, name = asked.arguments
    own = plan.preview_name(asked.head.number)
    place = _place(places[0] if places else await updates.default_place(desk, name, own), own)
    wanted = await updates.wanted(desk, place, name, asked.author, asked.comment_id)
    fork = bool(wanted.jobs[0].spec.get("fork"))
    return await gated(desk, asked, wanted, f"updating {name} of {place}", fork=fork)


def _place(place: str, own: str) -> str:
    place = own if place == PREVIEW else place
    if plan.is_preview(place) and place != own:
        raise Refused(f"{place} is another pull request's: say it there")
    return place
