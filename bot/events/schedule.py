"""A time of a schedule builds the head of its branch and deploys it. The event is our own, not GitHub's."""

from __future__ import annotations

from gidgethub import sansio

from bot import plan
from bot.decision import Cause, Decision
from bot.events.desk import Desk, bad_config
from bot.events.router import Router
from config.errors import ConfigError

router = Router()


@router.on("schedule")
async def due(event: sansio.Event, desk: Desk) -> Decision:
    told = event.data["schedule"]
    environment, branch = told["environment"], told["branch"] or desk.repository.default_branch
    sha = await desk.github.branch_head(desk.repository, branch)
    if sha is None:
        return Decision(f"ignored: there is no branch {branch}")
    try:
        config = await desk.config(sha)
    except ConfigError as error:
        return bad_config(sha, error)
    if environment not in config.environments:
        return Decision(f"ignored: {branch} has no environment {environment}")
    jobs = plan.deploy(config, environment, sha, branch, None)
    key = f"schedule:{desk.repository.id}:{told['cron']}:{environment}:{branch}:{told['at']}"
    cause = Cause("schedule", key, f"refs/heads/{branch}", sha, "")
    cause = desk.caused(cause, config)
    return Decision(f"runs {sha[:7]} of {branch}, as scheduled", cause, tuple(jobs))
