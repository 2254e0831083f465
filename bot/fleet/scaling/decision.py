"""Pure: how many workers a pool is to have, and why.

Jobs that run keep their slots. For those that wait, so many slots are wanted that the last of them begins
within the pool's target: jobs that are short beside it may share a slot, one after another; others need
one each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from config.pools import Pool


@dataclass(frozen=True)
class Demand:
    """What the jobs of a pool ask for."""

    waiting: int = 0  # that could begin now
    oldest: float = 0  # seconds that the first of them has waited
    running: int = 0  # where workers take jobs: who leaves ends its own
    lasts: float | None = None  # seconds that a job lasts, by the last ones; None if nobody knows


@dataclass(frozen=True)
class Supply:
    """Workers that there are."""

    working: int = 0  # ours that take jobs
    coming: int = 0  # ours that were started and not heard yet
    leaving: int = 0  # ours that drain, or end
    idle: int = 0  # of those that work: without a job, and without a release that would go with them
    bound: int = 0  # of those that work: with such a release
    others: int = 0  # slots of workers that somebody else runs in this pool


@dataclass(frozen=True)
class Past:
    """What the pool went through."""

    surplus: float | None = None  # seconds for which there have been more workers than wanted
    trouble: str = ""  # why none could be started, for people; empty if nothing is wrong
    retry: float = 0  # seconds until it is tried again
    unseen: str = ""  # why nobody says which machines there are, for people; empty if somebody does


@dataclass(frozen=True)
class Decision:
    """How many workers are wanted, what follows, and why, for people."""

    wanted: int
    start: int = 0
    drain: int = 0
    surplus: bool = False
    reason: str = ""


def decide(pool: Pool, demand: Demand, supply: Supply, past: Past) -> Decision:
    """What is to be done now. It is asked again every few seconds."""
    needed = math.ceil(max(0, slots(pool, demand) - supply.others) / pool.slots)
    wanted = max(min(max(needed, pool.min), pool.max), min(supply.bound, pool.max))
    there = supply.working + supply.coming
    room = max(0, pool.max - there - supply.leaving)
    start = 0 if past.retry > 0 or past.unseen else min(max(0, wanted - there), room)
    surplus = there > wanted
    # Who is over the limit does not stay for a while.
    over = there > pool.max or (past.surplus is not None and past.surplus >= pool.cooldown)
    drain = min(max(0, supply.working - wanted), supply.idle) if surplus and over else 0
    notes = _notes(pool, supply, past, wanted, needed, start, drain)
    return Decision(wanted, start, drain, surplus, "; ".join([_load(demand, supply), *notes]))


def slots(pool: Pool, demand: Demand) -> int:
    """The slots that are wanted for what runs and what waits."""
    lasts = demand.lasts if demand.lasts is not None else pool.wait
    share = 1.0 if demand.oldest >= pool.wait else min(1.0, lasts / pool.wait)
    return demand.running + math.ceil(demand.waiting * share)


def _load(demand: Demand, supply: Supply) -> str:
    told = []
    if demand.waiting:
        some = "1 job waits" if demand.waiting == 1 else f"{demand.waiting} jobs wait"
        told.append(f"{some}, the oldest for {demand.oldest:.0f} s")
    if demand.running:
        told.append("1 runs" if demand.running == 1 else f"{demand.running} run")
    if supply.others:
        told.append(f"workers that are not scaled have {supply.others} slots")
    return ", ".join(told) or "nothing waits or runs"


def _notes(
    pool: Pool, supply: Supply, past: Past, wanted: int, needed: int, start: int, drain: int
) -> list[str]:
    there = supply.working + supply.coming
    notes = []
    if needed > pool.max:
        notes.append(f"{needed} would be needed, {pool.max} is the most")
    elif needed < pool.min:
        notes.append(f"{pool.min} is the least")
    elif supply.bound > needed:
        notes.append(f"{supply.bound} stay with what they serve")
    if start:
        notes.append(f"{start} more to start")
    elif there < wanted and past.unseen:
        notes.append(f"none is started while it is not known which there are: {past.unseen}")
    elif there < wanted and past.trouble:
        notes.append(f"none can be started, tried again in {past.retry:.0f} s: {past.trouble}")
    elif there < wanted:
        notes.append("those that leave make room first")
    if supply.coming:
        notes.append(f"{supply.coming} on the way")
    if drain:
        notes.append(f"{drain} to go")
    elif there > wanted and past.surplus is not None and past.surplus >= pool.cooldown:
        notes.append(f"{there - wanted} too many, none of them idle")
    elif there > wanted:
        left = pool.cooldown - (past.surplus or 0)
        notes.append(f"{there - wanted} too many, to go in {left:.0f} s if that stays")
    return notes
