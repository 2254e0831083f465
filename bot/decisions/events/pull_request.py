"""A pull request has a preview while it is open, and wanted."""

from __future__ import annotations

import asyncio

from gidgethub import sansio
from sqlmodel import select

from bot.decisions import plan
from bot.decisions.decision import Cause, Decision
from bot.decisions.desk import Desk, bad_config, untouched
from bot.decisions.events.push import skips
from bot.decisions.events.router import Router
from bot.decisions.forks import fork
from bot.github.forge import PullHead
from bot.store.tables import Environment
from config.errors import ConfigError
from config.globs import glob
from config.repository import PREVIEW
from config.repository import Environment as Preview

router = Router()


@router.on("pull_request", action="opened")
@router.on("pull_request", action="synchronize")
@router.on("pull_request", action="reopened")
async def wanted(event: sansio.Event, desk: Desk) -> Decision:
    """Deliveries come in any order, so what counts is the head that GitHub has now."""
    head = await _head(event, desk)
    if not head.open:
        return Decision(f"ignored: #{head.number} is closed by now", pull=head)
    if skips(await desk.github.commit_message(desk.repository, head.sha)):
        return Decision("ignored: the commit's message says to skip", pull=head)
    return await preview(desk, head, _cause(event, head))


@router.on("pull_request", action="edited")
async def edited(event: sansio.Event, desk: Desk) -> Decision:
    if "base" not in (event.data.get("changes") or {}):
        return Decision("ignored: only its text was edited")
    return await wanted(event, desk)


@router.on("pull_request", action="ready_for_review")
@router.on("pull_request", action="converted_to_draft")
@router.on("pull_request", action="labeled")
@router.on("pull_request", action="unlabeled")
async def changed(event: sansio.Event, desk: Desk) -> Decision:
    """A draft's mark or a label may decide whether there is a preview; its code is the same."""
    head = await _head(event, desk)
    if not head.open:
        return Decision(f"ignored: #{head.number} is closed", pull=head)
    try:
        config = await desk.config(head.sha)
    except ConfigError as error:
        return bad_config(head.sha, error, pull=head)
    place = config.environments.get(PREVIEW)
    if place is None or (not place.labels if "label" in event.data else place.drafts):
        return Decision(f"ignored: {event.data['action']} changes nothing for a preview", pull=head)
    runs = await _runs(desk, head)
    if runs and why_not(place, head) is None:
        return Decision("ignored: its preview is there already", pull=head)
    return await preview(desk, head, _cause(event, head, event.data["action"]))


@router.on("pull_request", action="closed")
async def closed(event: sansio.Event, desk: Desk) -> Decision:
    head = await _head(event, desk)
    if head.open:
        return Decision(f"ignored: #{head.number} is open again", pull=head)
    return _stop(head, _cause(event, head, "closed"))


async def preview(desk: Desk, head: PullHead, cause: Cause) -> Decision:
    """Build the head and start its preview, for this `cause`; stop it where it is not wanted."""
    if head.fork:
        return await fork(desk, head, cause)
    try:
        config = await desk.config(head.sha)
        whole = plan.preview(config, head.number, head.sha)
    except ConfigError as error:
        return bad_config(head.sha, error, pull=head)
    unheard = await desk.unheard(head.sha)
    if not whole:
        meant = PREVIEW in (await desk.file(head.sha)).environments
        return Decision(
            "ignored: the repository has no previews", pull=head, waiting=unheard if meant else ""
        )
    if why := why_not(config.environments[PREVIEW], head):
        if await _runs(desk, head):
            return _stop(head, cause, why)
        notes = untouched(head.sha, whole, [], f"No preview: {why}")
        return Decision(f"ignored: {why}", pull=head, notes=notes, waiting="")
    touched = None
    if plan.has_paths(config):
        touched = await desk.github.changed_files(desk.repository, head.base, head.sha)
    jobs = await asyncio.to_thread(plan.preview, config, head.number, head.sha, touched)
    notes = untouched(head.sha, whole, jobs)
    if not jobs:
        reason = "ignored: it changes nothing in the paths of an image"
        return Decision(reason, pull=head, notes=notes, waiting="")
    reason = f"runs {head.sha[:7]} of #{head.number}"
    return Decision(reason, desk.caused(cause, config), tuple(jobs), head, waiting=unheard, notes=notes)


def why_not(place: Preview, head: PullHead) -> str | None:
    """Pure: why a pull request gets no preview; None if it gets one."""
    if head.draft and not place.drafts:
        return "drafts have no previews"
    if place.bases and not any(glob(pattern, head.base) for pattern in place.bases):
        return f"only pull requests into {' or '.join(place.bases)} have previews"
    if place.labels and not set(place.labels) & set(head.labels):
        return f"only pull requests labeled {' or '.join(place.labels)} have previews"
    return None


def ref_of(number: int) -> str:
    return f"refs/pull/{number}/head"


def _stop(head: PullHead, cause: Cause, why: str = "") -> Decision:
    reason = f"stops {plan.preview_name(head.number)}" + (f": {why}" if why else "")
    return Decision(reason, cause, tuple(plan.stop_preview(head.number)), pull=head, waiting="")


async def _runs(desk: Desk, head: PullHead) -> bool:
    """Whether a preview was made that has not been stopped."""
    here = select(Environment.stopped).where(
        Environment.repository_id == desk.repository.id,
        Environment.name == plan.preview_name(head.number),
    )
    async with desk.store.reading() as session:
        return (await session.exec(here)).first() is False


async def _head(event: sansio.Event, desk: Desk) -> PullHead:
    return await desk.github.pull(desk.repository, event.data["pull_request"]["number"])


def _cause(event: sansio.Event, head: PullHead, what: str = "") -> Cause:
    """GitHub's time of the change tells a second cause from a second delivery of one."""
    payload = event.data
    changed_at = payload["pull_request"]["updated_at"]
    told = ":".join(filter(None, [head.sha, head.base, what]))
    key = f"pull:{payload['repository']['id']}:{head.number}:{told}:{changed_at}"
    actor = str((payload.get("sender") or {}).get("login", ""))
    kind = f"pull_request {what}".strip()
    return Cause(kind, key, ref_of(head.number), head.sha, actor, head.number)
