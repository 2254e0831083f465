"""What may have to do with an image that is built elsewhere and waited for: it is looked for at once."""

from __future__ import annotations

from gidgethub import sansio

from bot.decisions.decision import Decision, Wake
from bot.decisions.desk import Desk
from bot.decisions.events.router import Router

router = Router()


@router.on("check_run", action="created")
@router.on("check_run", action="completed")
@router.on("check_suite", action="completed")
@router.on("workflow_run", action="completed")
async def moved(event: sansio.Event, desk: Desk) -> Decision:  # noqa: ARG001
    sha = str(event.data[event.event]["head_sha"])
    return Decision(f"looks for what waits for {sha[:7]}", effects=(Wake(sha),))


@router.on("registry_package", action="published")
@router.on("registry_package", action="updated")
async def pushed(event: sansio.Event, desk: Desk) -> Decision:  # noqa: ARG001
    """Of which commit it is, its tag may tell or not."""
    return Decision("looks for what waits for an image", effects=(Wake(None),))
