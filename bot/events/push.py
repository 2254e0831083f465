"""A push to a branch builds it and deploys it where an environment wants that branch."""

from __future__ import annotations

import re
from typing import Any

from gidgethub import sansio

from bot import plan
from bot.decision import Cause, Decision
from bot.events.desk import Desk, bad_config
from bot.events.router import Router
from config.errors import ConfigError

router = Router()

BRANCH = "refs/heads/"
# https://docs.github.com/actions/managing-workflow-runs/skipping-workflow-runs
_SKIP = re.compile(r"\[(skip ci|ci skip|no ci)\]", re.IGNORECASE)
_SKIP_TRAILER = re.compile(r"^skip-checks:\s*true\s*$", re.IGNORECASE | re.MULTILINE)


@router.on("push")
async def pushed(event: sansio.Event, desk: Desk) -> Decision:
    push: dict[str, Any] = event.data
    ref, sha = push["ref"], push["after"]
    if push["deleted"]:
        return Decision(f"ignored: {ref} was deleted")
    if not ref.startswith(BRANCH):
        return Decision(f"ignored: {ref} is not a branch")
    if skips((push.get("head_commit") or {}).get("message", "")):
        return Decision("ignored: the commit's message says to skip")
    branch = ref.removeprefix(BRANCH)
    try:
        config = await desk.config(sha)
    except ConfigError as error:
        return bad_config(sha, error)
    jobs = plan.push(config, branch, desk.repository.default_branch, sha)
    if not jobs:
        return Decision(f"ignored: no environment takes pushes to {branch}")
    key = f"push:{desk.repository.id}:{ref}:{push['before']}:{sha}:{push['repository'].get('pushed_at')}"
    cause = Cause("push", key, ref, sha, (push.get("sender") or {}).get("login", ""))
    return Decision(f"runs {sha[:7]} of {branch}", cause, tuple(jobs))


def skips(message: str) -> bool:
    """Whether a commit's message asks for nothing to be run."""
    return bool(_SKIP.search(message) or _SKIP_TRAILER.search(message))
