"""What a command is, and what it gets to decide with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from bot.decisions.commands.grammar import Command
from bot.decisions.decision import Cause, Decision, Effect, Heard
from bot.decisions.desk import Desk
from bot.decisions.plan import PlannedJob
from bot.github.forge import PullHead
from bot.store.tables import CommandState


class Permission(StrEnum):
    """What a command's author must have on the repository."""

    ANYBODY = "anybody"
    WRITE = "write access"


@dataclass(frozen=True)
class Asked:
    """A command, who gave it, and the head that it was given for."""

    command: Command
    head: PullHead
    author: str
    comment_id: int
    written_at: datetime  # by GitHub's clock, to the second
    place: int  # of the command in its comment
    named: str | None = None  # the commit that it names

    @property
    def arguments(self) -> tuple[str, ...]:
        return self.command.arguments

    @property
    def line(self) -> str:
        return " ".join((f"/{self.command.name}", *self.arguments, *([self.named] if self.named else [])))

    def heard(self, state: CommandState, answer: str, sha: str | None = None) -> Heard:
        """This command with what became of it."""
        return Heard(
            self.head.number, self.comment_id, self.line, self.author, sha or self.head.sha, state, answer
        )

    def runs(
        self,
        desk: Desk,
        jobs: tuple[PlannedJob, ...],
        answer: str,
        *,
        ref: str | None = None,
        sha: str | None = None,
        fork: bool = False,
        effects: tuple[Effect, ...] = (),
    ) -> Decision:
        """The decision to run `jobs` for this command, of the head or of another commit."""
        cause = Cause(
            kind=f"command /{self.command.name}",
            key=f"comment:{desk.repository.id}:{self.comment_id}:{self.place}",
            ref=ref or f"refs/pull/{self.head.number}/head",
            sha=sha or self.head.sha,
            actor=self.author,
            pull_number=self.head.number,
            comment_id=self.comment_id,
            fork=fork,
        )
        heard = self.heard(CommandState.ACCEPTED, answer, sha)
        return Decision(answer, cause, jobs, pull=self.head, heard=heard, effects=effects)

    def done(self, answer: str, *effects: Effect) -> Decision:
        """The decision of a command that is at its end already."""
        heard = self.heard(CommandState.SUCCEEDED, answer)
        return Decision(answer.partition("\n")[0], pull=self.head, heard=heard, effects=effects)

    def refused(self, answer: str) -> Decision:
        heard = self.heard(CommandState.REFUSED, answer)
        return Decision(f"denied: {answer.partition(chr(10))[0]}", pull=self.head, heard=heard)


Act = Callable[[Desk, Asked], Awaitable[Decision]]


@dataclass(frozen=True)
class Definition:
    """A command: its name, its arguments, who may use it, what it does, and its effect.

    `pinned` ones act on the head, and so must be about the head that their author could see.
    """

    name: str
    usage: str
    permission: Permission
    summary: str
    act: Act
    least: int = 0  # arguments
    most: int = 0
    pinned: bool = False
    closed: bool = False  # whether it may be given on a closed pull request

    @property
    def form(self) -> str:
        return f"/{self.name} {self.usage}".rstrip()
