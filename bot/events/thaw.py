"""The end of a freeze window: what it held is decided about as things are now. The event is our own."""

from __future__ import annotations

from gidgethub import sansio

from bot import plan
from bot.decision import Cause, Decision
from bot.events.desk import Desk, bad_config
from bot.events.pull_request import preview
from bot.events.push import BRANCH
from bot.events.router import Router
from bot.events.tags import TAG
from config.errors import ConfigError

router = Router()


@router.on("thaw")
async def thawed(event: sansio.Event, desk: Desk) -> Decision:
    """Deploy the newest commit of the ref that was held last, to that one environment."""
    told = event.data["thaw"]
    ref, environment = told["ref"], told["environment"]
    key = f"thaw:{desk.repository.id}:{environment}:{told['until']}"
    if number := plan.preview_of(environment):
        head = await desk.github.pull(desk.repository, number)
        if not head.open:
            return Decision(f"ignored: #{number} is closed", pull=head)
        return await preview(desk, head, Cause("thaw", key, ref, head.sha, "", number))
    sha, name = await _commit(desk, ref)
    if sha is None:
        return Decision(f"ignored: {ref} is gone")
    try:
        config = await desk.config(sha)
    except ConfigError as error:
        return bad_config(sha, error)
    if environment not in config.environments:
        return Decision(f"ignored: {name} has no environment {environment}")
    jobs = plan.deploy(config, environment, sha, name, None)
    cause = desk.caused(Cause("thaw", key, ref, sha, ""), config)
    return Decision(f"runs {sha[:7]} of {name}: the freeze is over", cause, tuple(jobs))


async def _commit(desk: Desk, ref: str) -> tuple[str | None, str]:
    if ref.startswith(TAG):
        name = ref.removeprefix(TAG)
        return await desk.github.tag_commit(desk.repository, name), name
    name = ref.removeprefix(BRANCH)
    return await desk.github.branch_head(desk.repository, name), name
