"""The commands that there are: who may use each, and what it does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from bot.commands.grammar import Command
from bot.decision import Cause, Decision
from bot.events.desk import Desk
from bot.events.pull_request import preview
from bot.github.forge import PullHead


class Permission(StrEnum):
    """What a command's author must have on the repository."""

    WRITE = "write access"


@dataclass(frozen=True)
class Definition:
    """A command: its name, who may use it, what it does, and its effect."""

    name: str
    permission: Permission
    summary: str
    act: Callable[[Desk, Command, PullHead, Cause], Awaitable[Decision]]


async def _redeploy(desk: Desk, _command: Command, head: PullHead, cause: Cause) -> Decision:
    return await preview(desk, head, cause)


COMMANDS = {
    definition.name: definition
    for definition in (
        Definition("redeploy", Permission.WRITE, "build and start this pull request's head again", _redeploy),
    )
}
