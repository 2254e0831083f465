"""A tag that is followed: its time has come, and then: where it is another image, that is deployed.

Both events are our own, not GitHub's.
"""

from __future__ import annotations

from gidgethub import sansio

from bot.decisions import plan
from bot.decisions.admission import SCHEDULE
from bot.decisions.decision import Cause, Decision
from bot.decisions.desk import Desk, bad_config
from bot.decisions.events.router import Router
from bot.decisions.plan import PlannedJob
from bot.jobs import following, releases, tasks
from bot.jobs.services import STAY
from config.errors import ConfigError
from config.repository import PREVIEW
from config.tags import Names
from workers.contract.messages import Kind

_HOLDS = {"gates", "deployers", "freeze"}  # as the default branch says it now

router = Router()


@router.on("follow")
async def due(event: sansio.Event, desk: Desk) -> Decision:
    """Ask the registry what the tag is."""
    name, at = event.data["follow"]["image"], event.data["follow"]["at"]
    default = desk.repository.default_branch
    sha = await desk.head(default)
    if sha is None:
        return Decision(f"ignored: there is no branch {default}")
    try:
        config = await desk.ruling()
    except ConfigError as error:
        return bad_config(sha, error)
    image = config.images.get(name)
    if image is None or image.follow is None:
        return Decision(f"ignored: {name} is not followed any more")
    live = []
    async with desk.store.reading() as session:
        for place, said in config.environments.items():
            runs = place != PREVIEW and name in config.images_of(said)
            if runs and await tasks.live(session, desk.repository.id, place) is not None:
                live.append(place)
    if not live:
        return Decision(f"ignored: no environment runs {name}")
    job = plan.followed(config, name, Names(sha, default, branch=default, default_branch=default), live)
    cause = Cause(SCHEDULE, f"{following.KEY}{desk.repository.id}:{name}:{at}", f"follow/{name}", sha, "")
    return Decision(f"looks what {job.spec['awaits']} is", cause, (job,))


@router.on("followed")
async def changed(event: sansio.Event, desk: Desk) -> Decision:
    """What is live, with the image that the tag is now: nothing else changes."""
    told = event.data["followed"]
    name, place, reference = told["image"], told["environment"], told["reference"]
    async with desk.store.reading() as session:
        live = await tasks.live(session, desk.repository.id, place)
        before = await releases.job(session, live)
    try:
        said = (await desk.ruling()).environments.get(place)
    except ConfigError as error:
        return Decision(f"not run: {error}")
    spec = following.moved(live, name, reference) if live and said else None
    if live is None or said is None or spec is None:
        return Decision(f"unchanged: {place} runs what {told['tag']} is")
    why = following.why(told["tag"], following.images(live, name)[name], reference)
    job = PlannedJob(
        Kind.DEPLOY,
        place,
        plan.deploy_context(place),
        place,
        spec={**spec, **said.model_dump(mode="json", include=_HOLDS), STAY: True, "why": why},
        pool=before.pool if before else None,
        attempts=before.attempts if before else None,
    )
    key = f"followed:{told['job']}:{place}"
    cause = Cause(SCHEDULE, key, f"environment/{place}", live.sha, "")
    return Decision(f"deploys to {place}: {why}", cause, (job,))
