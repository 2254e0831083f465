"""A time of a schedule builds the head of its branch and deploys it. The event is our own, not GitHub's."""

from __future__ import annotations

from gidgethub import sansio

from bot.decisions import plan
from bot.decisions.decision import Cause, Decision
from bot.decisions.desk import Desk, bad_config
from bot.decisions.events.router import Router
from config.errors import ConfigError

router = Router()


@router.on("schedule")
async def due(event: sansio.Event, desk: Desk) -> Decision:
    told = event.data["schedule"]
    default = desk.repository.default_branch
    environment, branch = told["environment"], told["branch"] or default
    sha = await desk.github.branch_head(desk.repository, branch)
    if sha is None:
        return Decision(f"ignored: there is no branch {branch}")
    try:
        config = await desk.config(sha, branch)
    except ConfigError as error:
        return bad_config(sha, error)
    if environment not in config.environments:
        return Decision(f"ignored: there is no environment {environment}")
    jobs = plan.deploy(config, environment, sha, branch, None, default)
    key = f"schedule:{desk.repository.id}:{told['cron']}:{environment}:{branch}:{told['at']}"
    cause = Cause("schedule", key, f"refs/heads/{branch}", sha, "")
    cause = desk.caused(cause, config)
    return Decision(f"runs {sha[:7]} of {branch}, as scheduled", cause, tuple(jobs))
