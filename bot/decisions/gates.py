"""Pure: whether a deploy may go, from what an environment asks for and what is the case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from bot.decisions.freezes import Frozen


class Gate(StrEnum):
    LOCK = "lock"
    DEPLOYERS = "deployers"
    REVIEW = "review"
    CHECKS = "checks"
    UP_TO_DATE = "up to date"
    ORDER = "order"
    APPROVAL = "approval"
    CONFIRM = "confirmation"
    FREEZE = "freeze"


@dataclass(frozen=True)
class Closed:
    """A gate that is not open: why, and what opens it. A `warning` holds nothing."""

    gate: Gate
    why: str
    opens: str
    warning: bool = False

    def __str__(self) -> str:
        return f"{self.gate}: {self.why}; {self.opens}"


@dataclass(frozen=True)
class Wish:
    """A deploy that somebody wants; `actor` is empty where nobody is known to, as for a schedule.

    `pull` is whose head it is, None for a branch's or an old release; `base` is the branch it is to go into.
    `unmerged` is a commit that the default branch has not, whether or not it has a pull request.
    """

    environment: str
    sha: str
    actor: str
    pull: int | None = None
    author: str = ""  # of the pull request
    base: str = ""
    comment_id: int | None = None
    scheduled: bool = False  # the default branch's file wants it
    unmerged: bool = False


@dataclass(frozen=True)
class Locked:
    """A lock as people are told of it."""

    environment: str
    owner: str
    reason: str
    since: datetime
    until: datetime | None = None

    def __str__(self) -> str:
        what = self.environment or "every environment"
        why = f": {self.reason}" if self.reason else ""
        ends = f" until {self.until:%Y-%m-%d %H:%M} UTC" if self.until else ""
        return f"{what} is locked by {self.owner} since {self.since:%Y-%m-%d %H:%M} UTC{ends}{why}"


@dataclass(frozen=True)
class Facts:
    """What is the case; a part that no gate of the environment asks for is left empty."""

    locks: Sequence[Locked] = ()
    reviewers: Sequence[str] = ()
    contexts: Mapping[str, str] = field(default_factory=dict)
    required: Sequence[str] = ()
    behind: int = 0
    base: str = ""
    ran_well: bool = True
    approvers: Sequence[str] = ()
    confirmed: bool = False
    frozen: Frozen | None = None


def closed(spec: Mapping[str, Any], wish: Wish, facts: Facts) -> list[Closed]:
    """The gates that hold `wish`, all of them; `spec` is the environment's part of the file."""
    gates = spec.get("gates") or {}
    found = [
        Closed(Gate.LOCK, str(lock), f"/unlock {lock.environment or '--global'} frees it")
        for lock in facts.locks
        if lock.owner != wish.actor
    ]
    if facts.frozen is not None:
        until = f"{facts.frozen.until:%Y-%m-%d %H:%M} UTC"
        found.append(
            Closed(Gate.FREEZE, f"{facts.frozen.reason} until {until}", "a rollback may go all the same")
        )
    deployers = spec.get("deployers") or []
    if deployers and not wish.scheduled and wish.actor not in deployers:
        who = f"{wish.actor} may not deploy here" if wish.actor else "who wants this is not known"
        found.append(Closed(Gate.DEPLOYERS, who, f"one of {', '.join(deployers)} may"))
    if gates.get("review") and (wish.pull is not None or wish.unmerged) and not facts.reviewers:
        found.append(Closed(Gate.REVIEW, "no review approves of this commit", "an approving review opens it"))
    found += _checks(gates, facts)
    found += _up_to_date(gates, facts)
    if (after := gates.get("after")) and not facts.ran_well:
        found.append(
            Closed(
                Gate.ORDER,
                f"{after} does not run this commit",
                f"deploy it to {after} first: /deploy {after}",
            )
        )
    if gates.get("approval") and not set(facts.approvers) - {wish.author or wish.actor}:
        who = "somebody else with write access"
        found.append(
            Closed(Gate.APPROVAL, "nobody has approved this commit", f"/approve {wish.sha} by {who} opens it")
        )
    if gates.get("confirm") and wish.comment_id is not None and not facts.confirmed:
        found.append(
            Closed(Gate.CONFIRM, "not confirmed yet", "a 👍 of yours on your command's comment confirms it")
        )
    return found


def _checks(gates: Mapping[str, Any], facts: Facts) -> list[Closed]:
    wanted = gates.get("checks") or []
    if wanted is True:
        wanted = facts.required or [name for name in facts.contexts if not name.startswith("blacktree/")]
    not_green = [
        f"{name} is {facts.contexts.get(name, 'not there yet')}"
        for name in wanted
        if facts.contexts.get(name) != "success"
    ]
    if not not_green:
        return []
    return [Closed(Gate.CHECKS, ", ".join(not_green), "it opens when they have succeeded")]


def _up_to_date(gates: Mapping[str, Any], facts: Facts) -> list[Closed]:
    how = gates.get("up_to_date", "off")
    if how == "off" or facts.behind == 0:
        return []
    why = f"{facts.behind} {'commit' if facts.behind == 1 else 'commits'} of {facts.base} are not in it"
    opens = {
        "warn": "merge the base branch to be sure",
        "require": "merge the base branch into it",
        "update": "the branch is being updated; give the command again when its new head is announced",
    }[how]
    return [Closed(Gate.UP_TO_DATE, why, opens, warning=how == "warn")]
