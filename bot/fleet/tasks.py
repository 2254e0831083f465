"""The bot's side of a task that a worker claims: what it may know, as the release that it runs in does."""

from __future__ import annotations

from bot.decisions import plan
from bot.jobs import ending, images, services, specs, tasks
from bot.secrets.repositories import Secrets
from bot.store.database import Store
from bot.store.tables import Job, JobState, Release
from config.services import provided
from config.settings import Settings
from workers.contract.messages import Credentials, Failed, Fault

NOT_LIVE = "not_live"  # the reason of a task whose environment runs nothing


async def known(secrets: Secrets, settings: Settings, job: Job, release: Release) -> Credentials:
    """The secrets that a release's containers have, and what its images are read with.

    A stranger's has none. Raises ConfigError where no key opens one.
    """
    place, fork = job.environment or "", bool(release.settings.get("fork"))
    names = [] if fork else release.settings.get("secrets") or []
    own = await secrets.of(job.repository_id, names, place, preview=plan.is_preview(place))
    theirs = services.named(release.settings)
    generated = await secrets.services.of(release.environment_id, services.generated(theirs))
    env = {**provided(theirs, generated), **own}
    told = specs.credentials(job, settings, env=env, images=() if fork else images.of(release))
    return told.model_copy(update={"services": generated})  # to be masked in its log, as in a deploy's


async def ended_nowhere(store: Store, job: Job) -> str:
    """End a task that nobody has begun, since nothing is live where it was to run; why, for people."""
    async with store.transaction() as session:
        why = await tasks.nowhere(session, job.repository_id, job.environment or "")
        row = await session.get_one(Job, job.id)
        if row.state is JobState.QUEUED:
            sentence = f"Not run: {why}"
            await ending.failed(session, row, Failed(fault=Fault.USER, reason=NOT_LIVE, sentence=sentence))
    return why
