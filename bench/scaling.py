"""`make bench ARGS=scaling`: a day of a pool, by the rules that the scaler has; waits, use, most workers.

A simulation: its time is not real, its decisions are those of `bot.fleet.scaling.decision`. It looks every
few seconds, as the scaler does; a worker takes a while to come, and its provider may be slow, or fail.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean, quantiles

from bot.fleet.scaling.decision import Demand, Past, Supply, decide
from config.pools import Pool

EVERY = 3.0  # seconds between two looks
FIRST_WAIT, LONGEST_WAIT = 5.0, 300.0  # as bot/fleet/scaling/rows.py has them


@dataclass(frozen=True)
class Provider:
    """Whose workers are there after `boot` seconds; it refuses from second `down` to `up`."""

    name: str
    boot: float
    down: float = -1
    up: float = -1


@dataclass
class Worker:
    """From when on it works; the seconds at which its slots are free again."""

    begins: float
    ends: list[float] = field(default_factory=list)
    asked: float = 0

    def busy(self, at: float) -> int:
        return sum(end > at for end in self.ends)


@dataclass
class Figures:
    """Of one run."""

    waits: list[float] = field(default_factory=list)
    worked: float = 0  # seconds of slots
    paid: float = 0  # likewise, whether used or not
    most: int = 0


def simulated(pool: Pool, provider: Provider, coming: Sequence[tuple[float, float]]) -> Figures:
    """`coming` has for each job the second at which it is queued, and how many it lasts."""
    figures, at = Figures(), 0.0
    later, line = deque(sorted(coming)), deque[tuple[float, float]]()
    workers: list[Worker] = []
    lasted: deque[float] = deque(maxlen=50)
    surplus: float | None = None
    retry, failures = 0.0, 0
    while later or line or workers:
        while later and later[0][0] <= at:
            line.append(later.popleft())
        for worker in (one for one in workers if one.begins <= at):
            while line and worker.busy(at) < pool.slots:
                since, seconds = line.popleft()
                worker.ends.append(at + seconds)
                lasted.append(seconds)
                figures.waits.append(at - since)
                figures.worked += seconds
        there = [one for one in workers if one.begins <= at]
        idle = [one for one in there if not one.busy(at)]
        demand = Demand(
            len(line),
            at - line[0][0] if line else 0,
            sum(one.busy(at) for one in there),
            fmean(lasted) if lasted else None,
        )
        supply = Supply(working=len(there), coming=len(workers) - len(there), idle=len(idle))
        past = Past(None if surplus is None else at - surplus, "it fails" if retry > at else "", retry - at)
        decided = decide(pool, demand, supply, past)
        surplus = (at if surplus is None else surplus) if decided.surplus else None
        if decided.start and provider.down <= at < provider.up:
            retry, failures = at + min(FIRST_WAIT * 2**failures, LONGEST_WAIT), failures + 1
        elif decided.start:
            workers += [Worker(at + provider.boot, asked=at) for _ in range(decided.start)]
            failures = 0
        for worker in idle[: decided.drain]:
            figures.paid += (at - worker.asked) * pool.slots
            workers.remove(worker)
        figures.most = max(figures.most, len(workers))
        at += EVERY
        if not (later or line) and pool.min and not any(one.busy(at) for one in workers):
            break
    figures.paid += sum((at - worker.asked) * pool.slots for worker in workers)
    return figures


def day(seed: int = 7) -> list[tuple[float, float]]:
    """Eight hours: some jobs each minute, a burst of 60 each hour, one of 300 in the fifth."""
    chance = random.Random(seed)
    hours = 8
    jobs = [(chance.uniform(0, hours * 3600), chance.uniform(20, 180)) for _ in range(60 * hours)]
    for hour in range(hours):
        size = 300 if hour == 4 else 60
        jobs += [(hour * 3600 + 900 + chance.uniform(0, 20), chance.uniform(20, 180)) for _ in range(size)]
    return jobs


SCENES: list[tuple[str, Pool, Provider]] = [
    (name, Pool.model_validate({"name": "builders", "kind": "processes", "slots": 2, **pool}), provider)
    for name, pool, provider in (
        ("processes, from zero", {"max": 40}, Provider("processes", 3)),
        ("always 40 (nothing scales)", {"min": 40, "max": 40}, Provider("processes", 3)),
        ("EC2, from zero", {"max": 40, "cooldown": 600}, Provider("EC2", 90)),
        ("EC2, two stay", {"min": 2, "max": 40, "cooldown": 600}, Provider("EC2", 90)),
        ("EC2, slow: 10 minutes", {"max": 40, "cooldown": 600, "boot": 900}, Provider("EC2", 600)),
        ("EC2, away for an hour", {"max": 40, "cooldown": 600}, Provider("EC2", 90, 14_400, 18_000)),
    )
]


def main() -> None:
    """Print the day for each scene."""
    jobs = day()
    print(f"{len(jobs):,} jobs in 8 hours, bursts of 60 and 300, 20 to 180 s each; 2 slots a worker, wait=30")
    print(f"{'':28}{'median wait':>12}{'p95':>8}{'most':>8}{'workers':>9}{'used':>7}")
    for name, pool, provider in SCENES:
        found = simulated(pool, provider, jobs)
        cuts = quantiles(found.waits, n=20)
        print(
            f"{name:28}{cuts[9]:10,.0f} s{cuts[18]:6,.0f} s{max(found.waits):6,.0f} s{found.most:9}"
            f"{found.worked / found.paid:7.0%}"
        )
        assert len(found.waits) == len(jobs), "a job was lost"


if __name__ == "__main__":
    main()
