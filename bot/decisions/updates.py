"""Updates of services, to what their tag is now, or what of the repository's is live: by hand or when due."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from bot.decisions import asking, deploying
from bot.decisions.decision import Decision, Refused
from bot.decisions.deploying import Wanted
from bot.decisions.desk import Desk
from bot.decisions.gates import Wish
from bot.decisions.plan import PlannedJob, preview_of
from bot.jobs import services, tasks, updates
from bot.store.tables import Environment, Release, ServiceRow
from config.errors import nearest
from config.repository import PREVIEW
from workers.contract.messages import Kind

# Besides locks and freeze windows: nothing of a commit goes out.
_HELD_BY = ("deployers", "freeze")


async def wanted(desk: Desk, place: str, service: str, actor: str, comment_id: int | None = None) -> Wanted:
    """A service of what is live in an environment, updated. Raises Refused and GitHubError."""
    async with desk.store.reading() as session:
        live = await tasks.live(session, desk.repository.id, place)
        if live is None:
            raise Refused(await tasks.nowhere(session, desk.repository.id, place))
        row = await session.get(ServiceRow, (live.environment_id, service))
    made = job(live, row, place, service)
    shown = PREVIEW if preview_of(place) else place
    holds = await deploying.held_by(desk, live, shown, _HELD_BY, gates=("confirm",))
    wish = Wish(place, live.sha, actor, comment_id=comment_id)
    return Wanted(wish, (made,), holds, f"environment/{place}")


def job(live: Release, row: ServiceRow | None, place: str, service: str) -> PlannedJob:
    """Pure: the job, which has no status: it says nothing of a commit. Raises Refused."""
    known = services.named(live.settings)
    if service not in known:
        there = f" It has {', '.join(known)}." if known else " Its file names none."
        raise Refused(f"{place} has no service {service}.{there}{nearest(service, known)}")
    if row is None or row.worker is None:
        raise Refused(f"{service} of {place} does not run: deploy {place} first")
    image, own = "", (live.settings.get(services.OWN) or {}).get(service)
    if own:
        image = (live.images or {}).get(own, "")
    elif "@" in known[service].image:
        raise Refused(f"{service} of {place} has its digest in the file: write another one there")
    return PlannedJob(
        Kind.UPDATE,
        service,
        context="",
        environment=place,
        spec=updates.told(row, live.settings, image),
    )


def due(environment: Environment, live: Release, row: ServiceRow, at: datetime) -> Decision:
    """Pure: the run of an update whose time has come. Raises Refused."""
    made = job(live, row, environment.name, row.name)
    return asking.due(f"updates {row.name} of {environment.name}", environment, live, made, at)


async def default_place(desk: Desk, service: str, own: str) -> str:
    """Where a service is updated whose environment nobody says. Raises Refused."""
    async with desk.store.reading() as session:
        return place_of(await tasks.all_live(session, desk.repository.id), service, own)


def place_of(places: Mapping[str, Mapping[str, object]], service: str, own: str) -> str:
    """Pure: the same, of what is live in each place. Raises Refused."""
    known = {place: services.named(settings) for place, settings in places.items()}
    none = "Nothing that is live has any."
    return asking.default_place(
        known, service, own, thing="service", none=none, say=lambda place: f"/update {place} {service}"
    )
