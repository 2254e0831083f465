"""A slash-command in a pull request's comment. Only new comments count, and only people's."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from gidgethub import sansio

from bot.commands.grammar import Command, parse
from bot.commands.table import COMMANDS, Definition
from bot.decision import Cause, Decision
from bot.events.desk import Desk
from bot.events.pull_request import ref_of
from bot.events.router import Router
from bot.github.forge import PullHead
from bot.store.tables import Pull

router = Router()


@router.on("issue_comment", action="created")
async def commented(event: sansio.Event, desk: Desk) -> Decision:
    issue, comment = event.data["issue"], event.data["comment"]
    author = (comment["user"] or {}).get("login", "")
    if "pull_request" not in issue:
        return Decision("ignored: a comment on an issue, not on a pull request")
    if (comment["user"] or {}).get("type") == "Bot" or author == await desk.github.login():
        return Decision("ignored: a bot's comment")
    known = [
        (command, COMMANDS[command.name]) for command in parse(comment["body"]) if command.name in COMMANDS
    ]
    if not known:
        return Decision("ignored: a comment without a command")
    command, definition = known[0]
    if refusal := await _refusal(desk, definition, author):
        return _refused(comment, refusal)
    head = await desk.github.pull(desk.repository, issue["number"])
    announced = await desk.known_pull(issue["number"])
    if problem := unsafe(head, announced, datetime.fromisoformat(comment["created_at"])):
        return _refused(comment, f"denied: {problem}", head)
    return await _act(desk, command, definition, head, comment)


async def _refusal(desk: Desk, definition: Definition, author: str) -> str | None:
    if await desk.github.may_write(desk.repository, author):
        return None
    return f"denied: /{definition.name} needs {definition.permission}, which {author} has not"


async def _act(
    desk: Desk, command: Command, definition: Definition, head: PullHead, comment: dict[str, Any]
) -> Decision:
    cause = Cause(
        kind=f"command /{command.name}",
        key=f"comment:{desk.repository.id}:{comment['id']}",
        ref=ref_of(head.number),
        sha=head.sha,
        actor=comment["user"]["login"],
        pull_number=head.number,
        comment_id=comment["id"],
    )
    decision = await definition.act(desk, command, head, cause)
    reaction = (comment["id"], "eyes" if decision.cause else "confused")
    return Decision(
        f"/{command.name}: {decision.reason}",
        decision.cause,
        decision.jobs,
        decision.pull,
        decision.complaint,
        reactions=(reaction,),
    )


def _refused(comment: dict[str, Any], reason: str, head: PullHead | None = None) -> Decision:
    return Decision(reason, pull=head, reactions=((comment["id"], "confused"),))


def unsafe(head: PullHead, announced: Pull | None, written_at: datetime) -> str | None:
    """Why a command must not act on `head`: its author may have seen another one.

    `written_at` and the announcement are both by GitHub's clock, to the second.
    """
    if not head.open:
        return f"#{head.number} is closed"
    if head.fork:
        return f"#{head.number} comes from a fork, which nobody has approved"
    if announced is None or announced.announced_sha is None or announced.announced_at is None:
        return "this head has not been announced yet; try again once its comment is there"
    if announced.announced_sha != head.sha:
        return f"the head has moved to {head.sha[:7]}, which the comment did not show"
    if written_at <= announced.announced_at:
        return f"the head moved to {head.sha[:7]} after this was written"
    return None
