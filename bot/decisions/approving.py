"""Somebody says yes or no to a commit that waits for it, by a page or a program: /approve does the same."""

from __future__ import annotations

import dataclasses
import re

from sqlmodel import col, select

from bot.decisions import admission, deploying, forks, plan
from bot.decisions.decision import (
    Approve,
    Cause,
    Complaint,
    Decision,
    Deny,
    Refused,
    Thaw,
    Unwant,
    Want,
)
from bot.decisions.deploying import Wanted as Deploy
from bot.decisions.desk import Desk
from bot.decisions.freezes import frozen
from bot.decisions.gates import Gate
from bot.github.client import GitHubRefused
from bot.github.forge import PullHead
from bot.reports.texts import MOST_STATUS, shortened
from bot.store.tables import Pull, Wanted
from config.errors import ConfigError
from config.repository import PREVIEW
from workers.contract.messages import now

_MOST_WHY = 200  # characters


async def waiting(desk: Desk, sha: str) -> list[Wanted]:
    """What waits for an approval of this commit."""
    theirs = select(Wanted).where(Wanted.repository_id == desk.repository.id, Wanted.sha == sha)
    async with desk.store.reading() as session:
        return list((await session.exec(theirs.order_by(col(Wanted.id)))).all())


async def approve(desk: Desk, sha: str, actor: str, why: str, kind: str, key: str) -> Decision:
    """A fork's commit is built now; of any other the approval is kept, and what waited for it alone goes on.

    Raises Refused.
    """
    await _may(desk, actor)
    rows = await waiting(desk, sha)
    number = next((row.pull_number for row in rows if row.pull_number), 0) or await _pull_of(desk, sha)
    if not number and not rows:
        raise Refused(f"{sha[:7]} is the head of no open pull request, and nothing waits for it")
    head = await _head(desk, number, sha) if number else None
    approval = Approve(number, sha, actor)
    if head is None or not head.fork:
        goes = await going_on(desk, sha, actor, why, kind, key)
        return Decision(f"{actor} approves of {sha[:7]}", pull=head, effects=(approval,), further=goes)
    cause = Cause(kind, key, f"refs/pull/{number}/head", sha, actor, number)
    made = await forks.approved(desk, head, cause)
    if made.cause is None:
        raise Refused(made.reason.removeprefix("ignored: "))
    return dataclasses.replace(
        made, effects=(approval,), jobs=tuple(deploying.because(job, why) for job in made.jobs)
    )


async def going_on(
    desk: Desk, sha: str, approver: str, why: str, kind: str, key: str
) -> tuple[Decision, ...]:
    """What becomes of each deploy that waits for this approval, which is recorded with it."""
    held = [row for row in await waiting(desk, sha) if row.environment]
    return tuple([await _goes(desk, row, approver, why, kind, f"{key}:{row.environment}") for row in held])


async def _goes(desk: Desk, row: Wanted, approver: str, why: str, kind: str, key: str) -> Decision:
    """The deploy, if the approval was all that it lacked; else what else holds it, or overtook it."""
    place, number = row.environment, row.pull_number or None
    try:
        wanted = await deploy(desk, row)
    except (Refused, ConfigError) as error:
        overtaken = Unwant(place, number, row.sha)
        return Decision(f"{place} is not deployed: {error}", effects=(overtaken,))
    except GitHubRefused as error:  # the approval stands, whatever becomes of the deploy
        return Decision(f"{place} is not deployed: GitHub: {error}")
    if isinstance(wanted, Decision):
        return wanted
    found = await admission.holding(desk, wanted.wish, wanted.holds, approver)
    hard = [closed for closed in found if not closed.warning]
    if not hard:
        cause = Cause(kind, key, wanted.ref, wanted.sha, row.actor, number)
        jobs = tuple(deploying.because(job, why) for job in wanted.jobs)
        return Decision(f"deploys {wanted.sha[:7]} to {place}", cause, jobs)
    window = frozen(wanted.holds.get("freeze") or (), now())
    if window and [closed.gate for closed in hard] == [Gate.FREEZE] and row.ref.startswith("refs/heads/"):
        later = Thaw(place, row.ref, row.sha, row.actor, window.until)
        return Decision(
            f"{place} is deployed when nothing freezes it: {hard[0]}",
            effects=(Unwant(place, number, row.sha), later),
        )
    left = admission.why_held(hard)
    approved = not any(closed.gate is Gate.APPROVAL for closed in hard)
    said = f"approved by {approver}, and held by {left}" if approved else left
    still = Want(place, number, row.sha, row.ref, row.actor, said, approved)
    return Decision(f"{place} is still held by {'; '.join(map(str, hard))}", effects=(still,))


async def deploy(desk: Desk, row: Wanted) -> Deploy | Decision:
    """What was held, as it was wanted: the gates look at it once more. Raises Refused, ConfigError.

    What another branch than the default one wanted is decided about within half a minute.
    """
    if row.pull_number:
        head = await _head(desk, row.pull_number, row.sha)
        if plan.preview_of(row.environment):
            return await deploying.preview(desk, head, row.actor)
        return await deploying.head(desk, head, row.environment, row.actor, None)
    if row.ref.startswith(admission.RELEASE):
        number = int(row.ref.removeprefix(admission.RELEASE))
        return await deploying.release(desk, number, row.environment, row.actor)
    if not row.ref.startswith("refs/"):
        raise Refused("it is decided about again at its next turn")
    if row.ref != f"refs/heads/{desk.repository.default_branch}":
        again = Thaw(row.environment, row.ref, row.sha, row.actor, now())
        return Decision(f"{row.environment} is decided about again", effects=(again,))
    wanted = await deploying.branch(desk, row.environment, row.actor)
    if wanted.sha != row.sha:
        raise Refused(
            f"{desk.repository.default_branch} is at {wanted.sha[:7]} by now: that has its own turn"
        )
    return wanted


async def deny(desk: Desk, sha: str, actor: str, why: str) -> Decision:
    """Nothing of it is done: its status says who said so, and why. An approval may come all the same."""
    await _may(desk, actor)
    rows = await waiting(desk, sha)
    if not rows:
        raise Refused(f"nothing waits for an approval of {sha[:7]}")
    reason = " ".join(why.split())[:_MOST_WHY]
    said = f"Denied by {actor}" + (f": {reason}" if reason else "")
    notes = tuple(
        Complaint(sha, _context(row.environment), shortened(said, MOST_STATUS), "failure") for row in rows
    )
    number = next((row.pull_number for row in rows if row.pull_number), 0)
    head = await _head(desk, number, sha) if number else None
    told = f"{said}\n/approve {sha} builds it all the same" if head and head.fork else None
    return Decision(said, pull=head, waiting=told, notes=notes, effects=(Deny(sha, actor),))


def _context(environment: str) -> str:
    if not environment:
        return forks.CONTEXT
    return plan.deploy_context(PREVIEW if plan.preview_of(environment) else environment)


async def _may(desk: Desk, actor: str) -> None:
    """Raises Refused unless GitHub lets them write: theirs alone are the approvals that count."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*(\[bot\])?", actor) or not await desk.may_write(actor):
        raise Refused(
            f"an approval counts of whoever may write to {desk.repository.full_name} at GitHub, and {actor} "
            "may not: sign in with GitHub"
        )


async def _pull_of(desk: Desk, sha: str) -> int:
    """The open pull request whose head it is; 0 for none."""
    theirs = select(Pull.number).where(
        Pull.repository_id == desk.repository.id, Pull.head_sha == sha, col(Pull.open)
    )
    async with desk.store.reading() as session:
        return (await session.exec(theirs.limit(1))).first() or 0


async def _head(desk: Desk, number: int, sha: str) -> PullHead:
    head = await desk.github.pull(desk.repository, number)
    if not head.open:
        raise Refused(f"#{number} is closed")
    if head.sha != sha:
        raise Refused(f"the head of #{number} is {head.sha[:7]} by now: look at what has changed")
    return head
