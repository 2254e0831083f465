"""Somebody asks at GitHub for the checks of a commit once more."""

from __future__ import annotations

from typing import Any

from gidgethub import sansio

from bot.decisions.decision import CancelJob, Cause, Decision
from bot.decisions.desk import Desk
from bot.decisions.events.pull_request import preview, ref_of
from bot.decisions.events.push import BRANCH, branch_moved
from bot.decisions.events.router import Router

router = Router()
CANCEL = "cancel"


@router.on("check_suite", action="rerequested")
async def suite(event: sansio.Event, desk: Desk) -> Decision:
    return await _again(event, desk, event.data["check_suite"], event.data["check_suite"])


@router.on("check_run", action="rerequested")
async def run(event: sansio.Event, desk: Desk) -> Decision:
    check = event.data["check_run"]
    return await _again(event, desk, check, check.get("check_suite") or {})


@router.on("check_run", action="requested_action")
async def pressed(event: sansio.Event, desk: Desk) -> Decision:
    """Cancel the job of a check run, by the button that it shows: see bot/reports/checks.py."""
    check, sender = event.data["check_run"], str((event.data.get("sender") or {}).get("login", ""))
    if event.data["requested_action"]["identifier"] != CANCEL:
        return Decision("ignored: a button of another kind")
    if not await desk.may_write(sender):
        return Decision(f"denied: {sender} has no write access")
    job = str(check["external_id"])
    return Decision(f"cancels job {job}", effects=(CancelJob(job, sender),))


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
