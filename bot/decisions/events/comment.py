"""Slash-commands in a pull request's comment. Only new comments count, and only people's."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from datetime import datetime
from difflib import get_close_matches

from gidgethub import sansio
from sqlmodel import select

from bot.decisions import patience
from bot.decisions.commands.definition import Asked, Definition, Permission
from bot.decisions.commands.grammar import Command, Unreadable, candidates, parse
from bot.decisions.commands.table import COMMANDS
from bot.decisions.decision import Decision, Refused
from bot.decisions.desk import Desk
from bot.decisions.events.router import Router
from bot.github.forge import PullHead
from bot.store.tables import CommandRow, CommandState, Pull
from config.errors import ConfigError

router = Router()

_SHA = re.compile(r"^[0-9a-f]{7,40}$")
_IMPATIENT = "too many commands from people who may not write here: try again in ten minutes"
_UNREADABLE = "this comment has too much markup to look for commands in: give them in one of their own"
_MOST_NEAR = 20  # words that are compared: each takes a fraction of a millisecond
_NEAR = 0.7  # below it a word is another bot's, and none of our business


@router.on("issue_comment", action="edited")
@router.on("issue_comment", action="deleted")
async def changed(_event: sansio.Event, _desk: Desk) -> Decision:
    return Decision("ignored: only a new comment gives commands")


@router.on("issue_comment", action="created")
async def commented(event: sansio.Event, desk: Desk) -> Decision:
    """Each of a comment's commands, decided on its own."""
    issue, comment = event.data["issue"], event.data["comment"]
    author = (comment["user"] or {}).get("login", "")
    if "pull_request" not in issue:
        return Decision("ignored: a comment on an issue, not on a pull request")
    if (comment["user"] or {}).get("type") == "Bot" or author == await desk.github.login():
        return Decision("ignored: a bot's comment")
    named = _ours(candidates(comment["body"] or ""))
    if not named:
        return Decision("ignored: a comment without a command")
    over = await _over(desk, author, issue["number"], comment["id"])
    if over > 0:
        return Decision(f"ignored: {author} may not write here, and gives too many commands")
    try:
        commands = await asyncio.to_thread(_commands, comment["body"])
        refusal = _IMPATIENT if over == 0 else ""
    except Unreadable:
        commands, refusal = [Command(named[0])], _UNREADABLE
    if not commands:
        return Decision("ignored: a comment without a command")
    head = await desk.github.pull(desk.repository, issue["number"])
    written_at = datetime.fromisoformat(comment["created_at"])
    asked = [
        Asked(command, head, author, comment["id"], written_at, place)
        for place, command in enumerate(commands)
    ]
    return asked[0].refused(refusal) if refusal else await _next(desk, asked)


async def _over(desk: Desk, author: str, number: int, comment_id: int) -> int:
    """How many comments beyond what a person without write access is answered; the first one is 0."""
    person = desk.patience.before(comment_id, desk.repository.id, author) - patience.PERSON
    pull = desk.patience.before(comment_id, desk.repository.id, number) - patience.PULL
    over = max(person, pull)
    return -1 if over >= 0 and await desk.may_write(author) else over


def _commands(comment: str) -> list[Command]:
    commands = list(dict.fromkeys(parse(comment)))
    ours = _ours([one.name for one in commands])
    return [one for one in commands if one.name in ours]


async def _next(desk: Desk, asked: list[Asked]) -> Decision:
    """The first of a comment's commands that is not done; the delivery comes again for the others."""
    known = await _known(desk, asked[0].comment_id)
    left = [one for one in asked if one.line not in known or _undone(known[one.line])]
    if not left:
        return Decision("ignored: its commands are done already")
    made = await decide(desk, left[0])
    if made.later is None and len(left) > 1:
        made = dataclasses.replace(made, later=0.0)
    queue = [one.heard(CommandState.ACCEPTED, "waits for its turn") for one in left[1:]]
    return dataclasses.replace(made, further=(*made.further, *(Decision("", heard=heard) for heard in queue)))


def _undone(row: CommandRow) -> bool:
    return row.state is CommandState.ACCEPTED and row.run_id is None


async def _known(desk: Desk, comment_id: int) -> dict[str, CommandRow]:
    async with desk.store.reading() as session:
        rows = (await session.exec(select(CommandRow).where(CommandRow.comment_id == comment_id))).all()
    return {row.line: row for row in rows}


async def decide(desk: Desk, asked: Asked) -> Decision:
    """What one command leads to: a run, an answer or a refusal. Raises GitHubError."""
    definition = COMMANDS.get(asked.command.name)
    if definition is None:
        nearest = get_close_matches(asked.command.name, COMMANDS, 1, _NEAR)[0]
        return asked.refused(f"there is no command /{asked.command.name}. Did you mean /{nearest}?")
    try:
        return await _act(desk, definition, asked)
    except (Refused, ConfigError) as refusal:
        return asked.refused(str(refusal))


async def _act(desk: Desk, definition: Definition, asked: Asked) -> Decision:
    needs_write = definition.permission is Permission.WRITE
    if needs_write and not await desk.may_write(asked.author):
        raise Refused(f"/{definition.name} needs {definition.permission}, which {asked.author} has not")
    if not asked.head.open and not definition.closed:
        raise Refused(f"#{asked.head.number} is closed")
    if definition.pinned:
        asked = _named(asked)
        announced = await desk.known_pull(asked.head.number)
        if problem := unsafe(asked.head, announced, asked.written_at, asked.named):
            raise Refused(problem)
    if not definition.least <= len(asked.arguments) <= definition.most:
        raise Refused(f"say {definition.form}")
    return await definition.act(desk, asked)


def _ours(names: list[str]) -> list[str]:
    """Those that are commands, or as near to one as a slip is."""
    strange = [name for name in names if name not in COMMANDS][:_MOST_NEAR]
    slips = [name for name in strange if get_close_matches(name, COMMANDS, 1, _NEAR)]
    return [name for name in names if name in COMMANDS or name in slips]


def _named(asked: Asked) -> Asked:
    """The command without the commit that it names at its end."""
    words = asked.arguments
    if not words or not _SHA.match(words[-1]):
        return asked
    command = Command(asked.command.name, words[:-1])
    return dataclasses.replace(asked, command=command, named=words[-1])


def unsafe(
    head: PullHead, announced: Pull | None, written_at: datetime, named: str | None = None
) -> str | None:
    """Why a command must not act on `head`: its author may have seen another one.

    `written_at` and the announcement are both by GitHub's clock, to the second.
    """
    if named is not None:
        if head.sha.startswith(named) and (not head.fork or named == head.sha):
            return None
        return f"the head is {head.sha}, and you named {named}"
    if head.fork:
        return f"#{head.number} comes from a fork: name the commit that you mean, {head.sha}"
    if announced is None or announced.announced_sha is None or announced.announced_at is None:
        return f"this head has not been announced yet; try again now that it is, or name it: {head.sha}"
    if announced.announced_sha != head.sha:
        return f"the head has moved to {head.sha[:7]}, which the comment did not show"
    if written_at <= announced.announced_at:
        return f"the head moved to {head.sha[:7]} after this was written"
    return None
