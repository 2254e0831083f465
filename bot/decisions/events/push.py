"""A push to a branch or of a tag builds it, and deploys it where an environment wants that."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any

from gidgethub import sansio

from bot.decisions import plan
from bot.decisions.decision import Cause, Channels, Complaint, Decision, Effect
from bot.decisions.desk import Desk, bad_config, left_out, untouched
from bot.decisions.events.router import Router
from bot.decisions.events.tags import TAG, tagged
from bot.decisions.plan import PlannedJob
from bot.reports import texts
from config.errors import ConfigError
from config.repository import FILE
from config.repository import Repository as Config

router = Router()

BRANCH = "refs/heads/"
# https://docs.github.com/actions/managing-workflow-runs/skipping-workflow-runs
_SKIP = re.compile(r"\[(skip ci|ci skip|no ci|skip actions|actions skip)\]", re.IGNORECASE)
_SKIP_TRAILER = re.compile(r"^skip-checks:\s*true\s*$", re.IGNORECASE | re.MULTILINE)


@router.on("push")
async def pushed(event: sansio.Event, desk: Desk) -> Decision:
    push: dict[str, Any] = event.data
    ref: str = push["ref"]
    commit = push.get("head_commit") or {}
    if push["deleted"]:
        return Decision(f"ignored: {ref} was deleted")
    if skips(commit.get("message", "")):
        return Decision("ignored: the commit's message says to skip")
    if ref.startswith(TAG):
        return await tagged(desk, ref.removeprefix(TAG), _actor(push), commit.get("id"))
    if not ref.startswith(BRANCH):
        return Decision(f"ignored: {ref} is neither a branch nor a tag")
    return await _branch(desk, push, ref.removeprefix(BRANCH))


async def _branch(desk: Desk, push: dict[str, Any], branch: str) -> Decision:
    ref, before, sha = push["ref"], push["before"], push["after"]
    key = f"push:{desk.repository.id}:{ref}:{before}:{sha}:{push['repository'].get('pushed_at')}"
    cause = Cause("push", key, ref, sha, _actor(push))
    known = None if push.get("created") or push.get("forced") else before
    return await branch_moved(desk, branch, cause, known, moved_from=before)


async def branch_moved(
    desk: Desk, branch: str, cause: Cause, before: str | None, moved_from: str | None = None
) -> Decision:
    """Run a branch's commit; `before` is the one that it was at, None where all may have changed.

    Deliveries come in any order: a commit that is not the branch's head any more is superseded. What is
    read right after an event may be what was before it, so a head that is `moved_from` is no sign.
    """
    try:
        config = await desk.config(cause.sha, branch)
    except ConfigError as error:
        return bad_config(cause.sha, error)
    default = desk.repository.default_branch
    whole = plan.push(config, branch, default, cause.sha)
    unheard = await _unheard(desk, branch, cause.sha, whole)
    if not whole:
        told = _channels(config, branch, default)
        return Decision(f"ignored: no environment takes pushes to {branch}", notes=unheard, effects=told)
    if moved_from is not None and config.concurrency != "queue":
        head = await desk.github.branch_head(desk.repository, branch)
        if head not in (cause.sha, moved_from):
            return _overtaken(branch, cause.sha, head, whole)
    told = _channels(config, branch, default)
    touched = None
    if before is not None and plan.has_paths(config):
        touched = await desk.github.changed_files(desk.repository, before, cause.sha)
    jobs = await asyncio.to_thread(plan.push, config, branch, default, cause.sha, touched)
    notes = (*untouched(cause.sha, whole, jobs), *unheard, *await left_out(desk, cause.sha))
    if not jobs:
        return Decision("ignored: it changes nothing in the paths of an image", notes=notes, effects=told)
    ran, caused = f"runs {cause.sha[:7]} of {branch}", desk.caused(cause, config)
    return Decision(ran, caused, tuple(jobs), notes=notes, effects=told)


def _channels(config: Config, branch: str, default: str) -> tuple[Effect, ...]:
    """The channels that a default branch's file names."""
    named = config.notifications.channels
    said = {name: channel.model_dump(mode="json") for name, channel in named.items()}
    return (Channels(said),) if branch == default else ()


async def _unheard(desk: Desk, branch: str, sha: str, whole: Sequence[PlannedJob]) -> tuple[Complaint, ...]:
    """A word for each environment that only the commit's own file has take its branch."""
    default = desk.repository.default_branch
    if branch == default:
        return ()
    meant = [job for job in plan.push(await desk.file(sha), branch, default, sha) if job.environment]
    said = f"Not deployed: {default}'s {FILE} decides, and does not let {branch} reach it"
    return untouched(sha, meant, whole, said)


def _overtaken(branch: str, sha: str, head: str | None, whole: Sequence[PlannedJob]) -> Decision:
    if head is None:
        return Decision(f"ignored: {branch} was deleted")
    said = texts.superseded(head)
    notes = tuple(Complaint(sha, job.context, said, "error") for job in whole if job.context)
    return Decision(f"superseded: {branch} is at {head[:7]} by now", notes=notes)


def skips(message: str) -> bool:
    """Whether a commit's message asks for nothing to be run."""
    return bool(_SKIP.search(message) or _SKIP_TRAILER.search(message))


def _actor(push: dict[str, Any]) -> str:
    return str((push.get("sender") or {}).get("login", ""))
