"""Pure: what becomes of each worker that the bot started, by what the store, it and its provider say.

starting ─▶ working ─▶ draining ─▶ ending ─▶ forgotten. Each state is a row before anything is done about
it, and what it asks for is done again until it is seen to be done: so a bot may be killed between any two
of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from bot.fleet.scaling.provider import Machine
from bot.store.tables import ScaledState


class Fate(Enum):
    """What is done about it now."""

    WAIT = auto()
    BRING = auto()  # it is to come: the provider is told so, again
    ARRIVED = auto()  # its heartbeat was heard
    FAILED = auto()  # it ended, or was not heard in time
    DRAIN = auto()  # somebody else is about to end its machine
    GONE = auto()  # it drained, ended, or is silent for too long
    END = auto()  # nobody needs it: the provider is told so, again
    FORGET = auto()  # nothing of it is left


@dataclass(frozen=True)
class Seen:
    """What is known of one of them. Times are seconds."""

    state: ScaledState
    since: float  # it has been in this state
    machine: Machine | None = None
    answers: bool = True  # whether the place answers where its machine would be
    known: bool = True  # whether that place is one of the pool's at all
    silent: float | None = None  # since its last heartbeat of this life; None if there was none
    stopped: bool = False  # it said goodbye
    serving: bool = False  # it has releases, which would go with it


@dataclass(frozen=True)
class Patience:
    """How long, in seconds, nothing is held against a worker."""

    boot: float  # until it is heard
    missing: float  # without a heartbeat, where its machine is gone: a list may be late
    lost: float  # without a heartbeat, where its machine is there
    heard: float  # for which we could have heard it, by our own connection to the broker


def fate(seen: Seen, patience: Patience) -> Fate:
    match seen.state:
        case ScaledState.STARTING:
            return _starting(seen, patience)
        case ScaledState.WORKING:
            return _working(seen, patience)
        case ScaledState.DRAINING:
            return Fate.GONE if _over(seen, patience) else Fate.WAIT
        case ScaledState.ENDING:
            return _ending(seen, patience)


def _starting(seen: Seen, patience: Patience) -> Fate:
    if seen.silent is not None and not seen.stopped:
        return Fate.ARRIVED
    late = min(seen.since, patience.heard) > patience.boot
    if seen.stopped or seen.machine is Machine.ENDED or late:
        return Fate.FAILED
    return Fate.BRING if seen.machine is None and seen.answers else Fate.WAIT


def _working(seen: Seen, patience: Patience) -> Fate:
    if _over(seen, patience):
        return Fate.GONE
    return Fate.DRAIN if seen.machine in (Machine.HELD, Machine.LEAVING) else Fate.WAIT


def _over(seen: Seen, patience: Patience) -> bool:
    """Whether nothing runs there any more, or nothing that counts: its leases have ended."""
    if seen.stopped:
        return True
    silent = min(seen.silent if seen.silent is not None else seen.since, patience.heard)
    if seen.answers and seen.machine in (None, Machine.ENDED):
        return silent > patience.missing
    return silent > patience.lost and not seen.serving


def _ending(seen: Seen, patience: Patience) -> Fate:
    if not seen.answers:
        return Fate.FORGET if not seen.known and seen.since > patience.boot else Fate.WAIT
    if seen.machine is None:
        return Fate.FORGET
    return Fate.WAIT if seen.machine is Machine.LEAVING else Fate.END
