"""Which job a worker gets: what it is warm for, for a moment, and nothing that matters less."""

from __future__ import annotations

import pytest

from bot.jobs.affinity import PATIENCE, WARM, Candidate, after, chosen

FIRST = Candidate("first", 2, {"other"})
MINE, WARMER = Candidate("warm", 2, {"me", "too"}), Candidate("warmer", 2, {"me", "too"})


@pytest.mark.parametrize(
    ("first", "others", "passed", "job"),
    [
        (FIRST, [], 0, "first"),
        (FIRST, [Candidate("cold", 2, {"other"}), Candidate("new", 2, ())], 0, "first"),
        (FIRST, [Candidate("cold", 2, {"other"}), MINE, WARMER], 0, "warm"),
        (FIRST, [MINE], PATIENCE / 2, "warm"),
        (FIRST, [MINE], PATIENCE + 0.1, "first"),
        (Candidate("first", 2, {"me", "too"}), [MINE], 0, "first"),
        (Candidate("first", 2, ()), [MINE], 0, "warm"),
        (Candidate("first", 1, {"other"}), [MINE], 0, "first"),
        (Candidate("first", 3, {"other"}), [MINE], 0, "warm"),
    ],
)
def test_a_worker_gets_what_it_is_warm_for(
    first: Candidate, others: list[Candidate], passed: float, job: str
) -> None:
    assert chosen(first, others, "me", passed) == job


def test_the_last_few_workers_are_warm() -> None:
    warm: list[str] = []
    for worker in ("a", "b", "a", *map(str, range(WARM - 1))):
        warm = after(warm, worker)
    assert warm == [*map(str, reversed(range(WARM - 1))), "a"]
