"""A pull request has a preview while it is open."""

from __future__ import annotations

from typing import Any

from gidgethub import sansio

from bot import plan
from bot.decision import Cause, Decision
from bot.events.desk import Desk, bad_config
from bot.events.forks import fork
from bot.events.push import skips
from bot.events.router import Router
from bot.github.forge import PullHead
from config.errors import ConfigError

router = Router()


@router.on("pull_request", action="opened")
@router.on("pull_request", action="synchronize")
@router.on("pull_request", action="reopened")
async def wanted(event: sansio.Event, desk: Desk) -> Decision:
    """Deliveries come in any order, so what counts is the head that GitHub has now."""
    number: int = event.data["pull_request"]["number"]
    head = await desk.github.pull(desk.repository, number)
    if not head.open:
        return Decision(f"ignored: #{number} is closed by now", pull=head)
    if skips(await desk.github.commit_message(desk.repository, head.sha)):
        return Decision("ignored: the commit's message says to skip", pull=head)
    cause = Cause(
        "pull_request", _key(event.data, head.sha), ref_of(number), head.sha, _actor(event.data), number
    )
    if head.fork:
        return await fork(desk, head, cause)
    return await preview(desk, head, cause)


@router.on("pull_request", action="closed")
async def closed(event: sansio.Event, desk: Desk) -> Decision:
    number: int = event.data["pull_request"]["number"]
    head = await desk.github.pull(desk.repository, number)
    if head.open:
        return Decision(f"ignored: #{number} is open again", pull=head)
    key = _key(event.data, f"{head.sha}:closed")
    cause = Cause("pull_request closed", key, ref_of(number), head.sha, _actor(event.data), number)
    return Decision(f"stops {plan.preview_name(number)}", cause, tuple(plan.stop_preview(number)), pull=head)


async def preview(desk: Desk, head: PullHead, cause: Cause) -> Decision:
    """Build the head and start its preview, for this `cause`."""
    try:
        config = await desk.config(head.sha)
    except ConfigError as error:
        return bad_config(head.sha, error, pull=head)
    jobs = plan.preview(config, head.number, head.sha)
    if not jobs:
        return Decision("ignored: the repository has no previews", pull=head)
    return Decision(f"runs {head.sha[:7]} of #{head.number}", cause, tuple(jobs), pull=head)


def ref_of(number: int) -> str:
    return f"refs/pull/{number}/head"


def _key(payload: dict[str, Any], what: str) -> str:
    """GitHub's time of the change tells a second cause from a second delivery of one."""
    pull = payload["pull_request"]
    return f"pull:{payload['repository']['id']}:{pull['number']}:{what}:{pull['updated_at']}"


def _actor(payload: dict[str, Any]) -> str:
    return str((payload.get("sender") or {}).get("login", ""))
