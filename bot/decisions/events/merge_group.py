"""A merge queue: what is required must be said of its commit, or the queue stalls."""

from __future__ import annotations

from gidgethub import sansio

from bot.decisions import plan
from bot.decisions.decision import Cause, Complaint, Decision
from bot.decisions.desk import Desk, bad_config
from bot.decisions.events.router import Router
from config.errors import ConfigError
from config.repository import PREVIEW

router = Router()


@router.on("merge_group", action="checks_requested")
async def requested(event: sansio.Event, desk: Desk) -> Decision:
    """Build the queue's commit, not merged yet. It is deployed nowhere, and the deploys' contexts say so."""
    group = event.data["merge_group"]
    sha, ref = group["head_sha"], group["head_ref"]
    try:
        config = await desk.config(sha)
    except ConfigError as error:
        return bad_config(sha, error)
    jobs = plan.merge_group(config, sha)
    said = "Not deployed from a merge queue"
    notes = tuple(
        Complaint(sha, plan.deploy_context(name), said, "success") for name in (*config.environments, PREVIEW)
    )
    cause = Cause("merge_group", f"merge_group:{desk.repository.id}:{sha}", ref, sha, "")
    if not jobs:
        nothing = Complaint(sha, "blacktree/build", "Nothing to build", "success")
        return Decision("ignored: nothing is to be built", notes=(*notes, nothing))
    return Decision(f"builds {sha[:7]} of the merge queue", cause, tuple(jobs), notes=notes)


@router.on("merge_group", action="destroyed")
async def destroyed(event: sansio.Event, _desk: Desk) -> Decision:
    return Decision(f"ignored: the merge group ended ({event.data.get('reason', 'for no reason told')})")
