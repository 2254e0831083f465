"""`make bench ARGS=fairness`: 10,000 jobs on 50 workers, by the rules that the dispatcher has; waits and use.

A simulation: its time is not real, its order is that of `bot.jobs.turns`, who gets what that of `affinity`.
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import median

from bot.jobs import affinity, turns

RANKS = len(turns.PRIORITIES)
_SLOTS, _SECONDS, _COLDER = 50, 30.0, 10.0


@dataclass(frozen=True)
class Repository:
    """Pushes `jobs` at second `at`, all of one rank."""

    name: str
    jobs: int
    at: float
    rank: int


@dataclass(frozen=True, order=True)
class Queued:
    """A job in line."""

    turn: int
    number: int
    one: Repository = field(compare=False)
    since: float = field(compare=False)


class Line:
    """A pool's line: what the bot asks `turns` and `affinity`, without a store.

    `most`: jobs of one repository at once; any number if 0. `warm`: whether workers get what they are
    warm for rather than what is next.
    """

    def __init__(self, most: int = 0, *, warm: bool = False) -> None:
        self.clock = 0
        self.warm: dict[str, list[str]] = {}  # for each repository
        self._most, self._choosy = most, warm
        self._limits: dict[int, int] = {}
        self._used: Counter[int] = Counter()
        self._ids: dict[str, int] = {}
        self._jobs: list[Queued] = []
        self._kept: dict[int, list[Queued]] = defaultdict(list)
        self._last: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        self._passed: dict[int, float] = {}
        self._number = 0

    def __len__(self) -> int:
        return len(self._jobs) + sum(map(len, self._kept.values()))

    def join(self, one: Repository, at: float) -> int:
        """A job of this repository is queued; its number."""
        self._number += 1
        known = {rank: max(waiting) for rank, waiting in self._last[one.name].items() if waiting}
        turn = turns.turn(one.rank, self.clock, known, RANKS)
        self._last[one.name][one.rank].append(turn)
        self._limits[self._ids.setdefault(one.name, len(self._ids))] = self._most
        insort(self._jobs, Queued(turn, self._number, one, at))
        return self._number

    def next(self, worker: int = 0, at: float = 0.0) -> tuple[int, Repository, float]:
        """What a worker gets now: its number, whose it is, and since when it stood here. Else IndexError."""
        while self._is_full(first := self._jobs[0]):
            insort(self._kept[self._ids[first.one.name]], self._jobs.pop(0))
        job = self._jobs.pop(self._chosen(worker, at) if self._choosy else 0)
        if job is not first:
            self._passed.setdefault(first.number, at)
        self._used[self._ids[job.one.name]] += 1
        self._last[job.one.name][job.one.rank].remove(job.turn)
        self.clock = max(self.clock, turns.place(job.one.rank, job.turn, RANKS) + 1)
        return job.number, job.one, job.since

    def ended(self, one: Repository) -> None:
        """A job of its has: where it was at its limit, its next may go."""
        known = self._ids[one.name]
        self._used[known] -= 1
        if kept := self._kept[known]:
            insort(self._jobs, kept.pop(0))

    def _is_full(self, job: Queued) -> bool:
        return self._ids[job.one.name] in turns.full(self._used, self._limits)

    def _chosen(self, worker: int, at: float) -> int:
        """Where the job stands that this worker gets."""
        seen = [job for job in self._jobs[: 1 + affinity.LOOK] if not self._is_full(job)]
        known = [
            affinity.Candidate(str(job.number), job.one.rank, self.warm.get(job.one.name, ())) for job in seen
        ]
        passed = at - self._passed.get(seen[0].number, at)
        choice = affinity.chosen(known[0], known[1:], str(worker), passed)
        return self._jobs.index(seen[[one.job for one in known].index(choice)])


def simulated(
    repositories: Sequence[Repository],
    slots: int,
    seconds: float,
    most: int = 0,
    *,
    warm: bool = False,
    colder: float = 0.0,
) -> dict[str, list[float]]:
    """The seconds that each repository's jobs wait, where each job lasts `seconds` on a worker of one slot.

    One lasts `colder` seconds more where its worker is not warm for its repository.
    """
    coming = [(one.at, place, one) for place, one in enumerate(repositories)]
    heapq.heapify(coming)
    running: list[tuple[float, int, int, Repository]] = []
    free = deque(range(slots))
    line = Line(most, warm=warm)
    waits: dict[str, list[float]] = defaultdict(list)
    while coming or running:
        at = min(events[0][0] for events in (coming, running) if events)
        while running and running[0][0] <= at:
            _, _, worker, one = heapq.heappop(running)
            line.ended(one)
            free.append(worker)
        while coming and coming[0][0] <= at:
            one = heapq.heappop(coming)[2]
            for _ in range(one.jobs):
                line.join(one, at)
        with suppress(IndexError):
            while free:
                number, one, since = line.next(free[0], at)
                worker = free.popleft()
                warm_ones = line.warm.get(one.name, [])
                cold = str(worker) not in warm_ones
                line.warm[one.name] = affinity.after(warm_ones, str(worker))
                waits[one.name].append(at - since)
                heapq.heappush(running, (at + seconds + colder * cold, number, worker, one))
    return waits


def main() -> None:
    """Print the waits of a morning, three that push much and many that push little; and of many alike."""
    morning = [
        Repository("flood (2)", 5_000, 0, 2),
        Repository("previews (3)", 2_500, 0, 3),
        Repository("nightly (4)", 1_500, 0, 4),
        *(Repository(f"small {n} (2)", 5, 20.0 * n, 2) for n in range(150)),
        *(Repository(f"production {n} (1)", 1, 13.0 * n, 1) for n in range(250)),
    ]
    alike = [Repository(f"alike {n} (2)", 250, n, 2) for n in range(40)]
    print(f"{_SLOTS} slots; a job lasts {_SECONDS:g} s, and {_COLDER:g} s more where it is cold")
    for repositories in (morning, alike):
        for most, warm in ((0, False), (10, False), (0, True), (10, True)):
            waits = simulated(repositories, _SLOTS, _SECONDS, most, warm=warm, colder=_COLDER)
            limit = f"at most {most} jobs of one repository" if most else "no limit"
            _print(repositories, waits, f"{limit}, {'with' if warm else 'without'} affinity")


def _print(repositories: Sequence[Repository], waits: dict[str, list[float]], how: str) -> None:
    jobs = sum(len(times) for times in waits.values())
    groups: dict[str, list[float]] = defaultdict(list)
    for name, times in waits.items():
        groups[name.split()[0]] += times
    print(f"\n{jobs:,} jobs, {how}; seconds waited")
    print(f"{'':14}{'jobs':>8}{'median':>10}{'most':>10}")
    for name, times in groups.items():
        print(f"{name:14}{len(times):8,}{median(times):10,.0f}{max(times):10,.0f}")
    last = max(one.at + wait for one in repositories for wait in waits[one.name])
    used = jobs * _SECONDS / (_SLOTS * last)
    print(f"the last begins after {last:,.0f} s; work: {used:.0%} of the slots' time")


if __name__ == "__main__":
    main()
