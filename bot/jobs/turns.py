"""Pure: who is next in a pool. Each job gets a turn when it is queued, and the lowest goes first.

Self-clocked fair queueing (Golestani, INFOCOM 1994): a repository's jobs stand one place after another, and
whoever comes new stands where the pool is now, which is past every place that was offered. So 500 jobs of one
delay one of another's by one, and nobody starves: each offer brings the pool on, and who comes later stands
behind what waits. What matters more stands some places further ahead, and is overtaken by what has waited for
longer than that.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

AHEAD = 8  # places by which each rank stands ahead of the next
ROLLBACK, PREVIEW, SCHEDULE, ANY = "rollback", "preview", "schedule", "*"
PRIORITIES = (ROLLBACK, "production", ANY, PREVIEW, SCHEDULE)
SPARE = 2  # offers more than there are free slots: the next is there before the bot has heard of the slot


_PREVIEW = re.compile(r"pr-\d+")


def words(cause: str, places: Collection[str], *, builds: bool) -> set[str]:
    """What a job is for, in the words of priorities: the environments `places`, or what stands for them.

    `builds`: whether an image is built for them first. What needs none brings back, or on, what is there.
    """
    if cause == SCHEDULE:
        return {SCHEDULE}
    named = {PREVIEW if _PREVIEW.fullmatch(place) else place for place in places}
    return named if builds or PREVIEW in named else {ROLLBACK, *named}


def rank(priorities: Sequence[str], words: Collection[str]) -> int:
    """How much a job matters, 0 the most: the best place that one of its words has in `priorities`."""
    places = {word: place for place, word in enumerate(priorities)}
    other = places.get(ANY, len(priorities))
    return min((places.get(word, other) for word in words), default=other)


def turn(rank: int, clock: int, last: Mapping[int, int], ranks: int) -> int:
    """The turn of a job that is queued now: two for each place, the first for whoever has none in line yet.

    `clock` is the place that the pool has come to; `last` the last turn that its repository's queued jobs
    have, for each rank; `ranks` how many ranks there are.
    """
    behind = [place(one, turn, ranks) + 1 for one, turn in last.items() if one <= rank]
    return 2 * (max([clock, *behind]) - ahead(rank, ranks)) + bool(behind)


def place(rank: int, turn: int, ranks: int) -> int:
    """Where a turn stands without what its rank is ahead."""
    return turn // 2 + ahead(rank, ranks)


def clock(offered: Iterable[int], in_line: Iterable[int]) -> int:
    """The place that a pool has come to, as its jobs tell: past what is offered, or where its line begins.

    `offered` are the places of what is offered or runs. What was put back, or waits for a worker that is
    away, stands `in_line` at a place long past: then those count.
    """
    return max([*(place + 1 for place in offered), min(in_line, default=0)])


def ahead(rank: int, ranks: int) -> int:
    return AHEAD * max(0, ranks - rank)


def most(*limits: int) -> int:
    """How many jobs a repository may have at once, by limits of which 0 is none; 0 for any number."""
    return min(filter(None, limits), default=0)


def full(used: Mapping[int, int], limits: Mapping[int, int]) -> set[int]:
    """The repositories that have as many jobs as they may. `used`: how many each has, by its id."""
    return {one for one, jobs in used.items() if limits.get(one) and jobs >= limits[one]}


def within(next_ones: Iterable[tuple[str, int]], used: Counter[int], limits: Mapping[int, int]) -> list[str]:
    """Of jobs with their repositories, in their order, those that no limit keeps back; they are used now."""
    taken = []
    for job, repository in next_ones:
        if repository not in full(used, limits):
            used[repository] += 1
            taken.append(job)
    return taken


def more(slots: int, running: int, offered: int) -> int:
    """How many offers a pool's queue may have more: what its workers take soon, and a few."""
    return max(0, max(0, slots - running) + SPARE - offered)
