"""Somebody asks at GitHub for the checks of a commit once more."""

from __future__ import annotations

from typing import Any

from gidgethub import sansio

from bot.decision import Cause, Decision
from bot.events.desk import Desk
from bot.events.pull_request import preview, ref_of
from bot.events.push import BRANCH, branch_moved
from bot.events.router import Router

router = Router()


@router.on("check_suite", action="rerequested")
async def suite(event: sansio.Event, desk: Desk) -> Decision:
    return await _again(event, desk, event.data["check_suite"], event.data["check_suite"])


@router.on("check_run", action="rerequested")
async def run(event: sansio.Event, desk: Desk) -> Decision:
    check = event.data["check_run"]
    return await _again(event, desk, check, check.get("check_suite") or {})


async def _again(
    event: sansio.Event, desk: Desk, check: dict[str, Any], suite_of: dict[str, Any]
) -> Decision:
    """Run the commit as a pull request's head, or as its branch's, if it still is that."""
    sha = check["head_sha"]
    when = check.get("updated_at") or check.get("completed_at") or event.delivery_id
    key = f"{event.event}:{desk.repository.id}:{check['id']}:{when}"
    actor = str((event.data.get("sender") or {}).get("login", ""))
    pulls = check.get("pull_requests") or suite_of.get("pull_requests") or []
    if pulls:
        head = await desk.github.pull(desk.repository, pulls[0]["number"])
        if head.sha != sha or not head.open:
            return Decision(f"ignored: {sha[:7]} is not the head of #{head.number} any more", pull=head)
        cause = Cause(f"{event.event} rerequested", key, ref_of(head.number), sha, actor, head.number)
        return await preview(desk, head, cause)
    branch = suite_of.get("head_branch")
    if not branch or await desk.github.branch_head(desk.repository, branch) != sha:
        return Decision(f"ignored: {sha[:7]} is not the head of a branch")
    return await branch_moved(
        desk, branch, Cause(f"{event.event} rerequested", key, BRANCH + branch, sha, actor), None
    )
