"""The commands that hold, free, allow and end things."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlmodel import select

from bot.decisions import admission, answers, approving, forks, plan
from bot.decisions.commands.definition import Asked
from bot.decisions.decision import (
    Approve,
    CancelJobs,
    Decision,
    Extend,
    FreeLock,
    Maintain,
    Refused,
    TakeLock,
)
from bot.decisions.deploying import environment_of
from bot.decisions.desk import Desk
from bot.reports.texts import shortened
from bot.store.tables import Environment
from config.durations import seconds
from config.repository import PREVIEW
from workers.contract.messages import now

_WHOLE = 40  # characters of a SHA: of a shorter one an attacker may find a twin
_SHORT = 7
_MOST_EXTENSION = timedelta(days=30)
_MOST_LOCK = timedelta(days=365)
_MOST_TEXT = 500  # characters of what visitors are told
BACK_SOON = "We are working on this site. It will be back soon."
GLOBAL = "--global"
INFO = "--info"
FOR = "--for="


async def cancel(_desk: Desk, asked: Asked) -> Decision:
    sentence = f"Cancelled by {asked.author}"
    return asked.done(
        "everything that this pull request does is cancelled", CancelJobs(asked.head.number, sentence)
    )


async def stop(desk: Desk, asked: Asked) -> Decision:
    name = plan.preview_name(asked.head.number)
    return asked.runs(desk, tuple(plan.stop_preview(asked.head.number)), f"stopping {name}")


async def maintenance(desk: Desk, asked: Asked) -> Decision:
    """Visitors of an environment are told something instead of seeing the app, or see the app again."""
    name, switch, *words = asked.arguments
    if switch not in ("on", "off") or (words and switch == "off"):
        raise Refused("say /maintenance ENVIRONMENT on [text], or off")
    if name == PREVIEW:
        name = plan.preview_name(asked.head.number)
    effect = await maintained(desk, name, " ".join(words) or BACK_SOON if switch == "on" else "")
    return asked.done(f"{name} is {'in maintenance' if effect.text else 'open again'}", effect)


async def maintained(desk: Desk, name: str, text: str) -> Maintain:
    """What visitors of an environment are told; empty for the app. Raises Refused."""
    here = select(Environment.id).where(
        Environment.repository_id == desk.repository.id, Environment.name == name
    )
    async with desk.store.reading() as session:
        if (await session.exec(here)).first() is None:
            raise Refused(f"nothing was ever deployed to {name}")
    return Maintain(name, shortened(text, _MOST_TEXT))


async def extend(desk: Desk, asked: Asked) -> Decision:
    try:
        longer = timedelta(seconds=seconds(asked.arguments[0]))
    except ValueError as error:
        raise Refused(f"{asked.arguments[0]}: {error}") from None
    known = await desk.known_pull(asked.head.number)
    ends = known.expires_at if known and known.expires_at else now()
    until = min(max(ends, now()) + longer, now() + _MOST_EXTENSION)
    said = f"the preview stays until {until:%Y-%m-%d %H:%M} UTC"
    return asked.done(said, Extend(asked.head.number, until))


async def approve(desk: Desk, asked: Asked) -> Decision:
    """A fork's head is built now; for a protected environment the approval is kept, and what waits goes on.

    A whole commit that something waits for may be named from any pull request: a branch's, or a release's.
    """
    head, sha = asked.head, asked.arguments[0].lower()
    if len(sha) == _WHOLE and sha != head.sha and await _waits_elsewhere(desk, sha):
        return await _approved(desk, asked, Approve(0, sha, asked.author))
    if head.fork and len(sha) != _WHOLE:
        raise Refused(f"name the whole commit: /approve {head.sha}")
    if len(sha) < _SHORT or not head.sha.startswith(sha):
        raise Refused(f"the head is {head.sha}, and you approved {sha}: look at what has changed")
    approval = Approve(head.number, head.sha, asked.author)
    if not head.fork:
        return await _approved(desk, asked, approval)
    cause = asked.runs(desk, (), "").cause
    assert cause is not None, "runs() gives one"  # noqa: S101
    made = await forks.approved(desk, head, cause)
    if made.cause is None:
        raise Refused(made.reason)
    ran = asked.runs(desk, made.jobs, answers.accepted(head.sha), fork=True, effects=(approval,))
    return dataclasses.replace(ran, notes=made.notes, waiting=made.waiting)


async def _waits_elsewhere(desk: Desk, sha: str) -> bool:
    return any(row.environment and not row.pull_number for row in await approving.waiting(desk, sha))


async def _approved(desk: Desk, asked: Asked, approval: Approve) -> Decision:
    """The approval is kept; each deploy that waited for it alone has a run of its own."""
    cause = asked.runs(desk, (), "").cause
    assert cause is not None, "runs() gives one"  # noqa: S101
    goes = await approving.going_on(desk, approval.sha, asked.author, "", cause.kind, cause.key)
    said = "\n".join([f"{asked.author} approves of {approval.sha[:7]}", *(one.reason for one in goes)])
    return dataclasses.replace(asked.done(said, approval), further=goes)


async def lock(desk: Desk, asked: Asked) -> Decision:
    environment, reason = _place(asked)
    if INFO in asked.arguments:
        found = await admission.locks(desk, environment or None)
        what = environment or "this repository"
        return asked.done("\n".join(map(str, found)) or f"nothing locks {what}")
    if environment:
        environment_of(await desk.ruling(), environment)
    held = [one for one in await admission.locks(desk) if one.environment == environment]
    if held and held[0].owner != asked.author:
        raise Refused(f"{held[0]}; /unlock {environment or GLOBAL} frees it")
    what = environment or "every environment"
    ends = _ends(asked.arguments)
    wish = TakeLock(environment, asked.author, reason[:200], asked.head.number, ends)
    until = f" until {ends:%Y-%m-%d %H:%M} UTC" if ends else ""
    return asked.done(f"{what} is locked by {asked.author}{until}", wish)


async def unlock(desk: Desk, asked: Asked) -> Decision:
    environment, _ = _place(asked)
    if not any(one.environment == environment for one in await admission.locks(desk)):
        raise Refused(f"nothing locks {environment or 'every environment'}")
    return asked.done(f"{environment or 'every environment'} is free", FreeLock(environment))


def _ends(words: Sequence[str]) -> datetime | None:
    """When a lock is to end by itself. Raises Refused."""
    given = next((word.removeprefix(FOR) for word in words if word.startswith(FOR)), None)
    if given is None:
        return None
    try:
        return now() + min(timedelta(seconds=seconds(given)), _MOST_LOCK)
    except ValueError as error:
        raise Refused(f"{FOR}{given}: {error}") from None


def _place(asked: Asked) -> tuple[str, str]:
    """The environment that is meant, empty for all; and the reason."""
    words = [word for word in asked.arguments if word not in (GLOBAL, INFO) and not word.startswith(FOR)]
    if GLOBAL in asked.arguments:
        return "", " ".join(words)
    if not words and INFO not in asked.arguments:
        raise Refused(f"say which environment, or {GLOBAL}")
    return (words[0] if words else ""), " ".join(words[1:])
