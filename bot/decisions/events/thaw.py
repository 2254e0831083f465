"""The end of a freeze window: what it held is decided about as things are now. The event is our own."""

from __future__ import annotations

from gidgethub import sansio

from bot.decisions import plan
from bot.decisions.decision import Cause, Decision
from bot.decisions.desk import Desk, bad_config
from bot.decisions.events.pull_request import preview
from bot.decisions.events.push import BRANCH
from bot.decisions.events.router import Router
from bot.decisions.events.tags import TAG
from bot.decisions.plan import PlannedJob
from config.errors import ConfigError
from config.repository import Repository as Config

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
        return await preview(desk, head, Cause("thaw", key, ref, head.sha, _actor(told, head.sha), number))
    sha, name = await _commit(desk, ref)
    if sha is None:
        return Decision(f"ignored: {ref} is gone")
    branch = None if ref.startswith(TAG) else name
    try:
        config = await desk.config(sha, branch)
    except ConfigError as error:
        return bad_config(sha, error)
    jobs = _jobs(config, environment, branch, desk.repository.default_branch, name, sha)
    if not jobs:
        return Decision(f"ignored: {name} does not reach {environment} any more")
    cause = desk.caused(Cause("thaw", key, ref, sha, _actor(told, sha)), config)
    return Decision(f"runs {sha[:7]} of {name}: the freeze is over", cause, tuple(jobs))


def _jobs(
    config: Config, environment: str, branch: str | None, default: str, name: str, sha: str
) -> list[PlannedJob]:
    """The jobs of the ref for that one environment, as if it had been pushed now."""
    there = {key: place for key, place in config.environments.items() if key == environment}
    alone = config.model_copy(update={"environments": there})
    if branch is not None:
        return plan.push(alone, branch, default, sha)
    return plan.tag(alone, name, sha) or plan.release(alone, name, sha)


def _actor(told: dict[str, str], sha: str) -> str:
    """Who wanted what was held; nobody is known to want what the ref has moved to since."""
    return told.get("actor", "") if told.get("sha") == sha else ""


async def _commit(desk: Desk, ref: str) -> tuple[str | None, str]:
    if ref.startswith(TAG):
        name = ref.removeprefix(TAG)
        return await desk.github.tag_commit(desk.repository, name), name
    name = ref.removeprefix(BRANCH)
    return await desk.github.branch_head(desk.repository, name), name
