"""Who is next: what matters goes first, nobody's many jobs hold up another's one, and nothing starves."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.fairness import Line, Repository, simulated
from bot.jobs import turns
from bot.jobs.turns import AHEAD, PRIORITIES

RANKS = len(PRIORITIES)


@pytest.mark.parametrize(
    ("cause", "places", "builds", "rank"),
    [
        ("push", {"production"}, True, 1),
        ("push", {"staging"}, True, 2),
        ("push", {"staging", "production"}, True, 1),
        ("push", set(), True, 2),
        ("pull_request", {"pr-7"}, True, 3),
        ("pull_request", {"pr-7"}, False, 3),
        ("pull_request", {"pr-x"}, True, 2),
        ("schedule", {"production"}, True, 4),
        ("command", {"staging"}, False, 0),
        ("command", {"production"}, False, 0),
    ],
)
def test_what_a_job_is_for_gives_its_rank(cause: str, places: set[str], builds: bool, rank: int) -> None:
    assert turns.rank(PRIORITIES, turns.words(cause, places, builds=builds)) == rank


def test_what_no_priority_names_comes_last_where_there_is_no_star() -> None:
    assert turns.rank(["production"], {"staging"}) == 1


def at(rank: int, place: int, *, behind: bool = True) -> int:
    """The turn of a place."""
    return 2 * (place - AHEAD * (RANKS - rank)) + behind


@pytest.mark.parametrize(
    ("rank", "clock", "last", "turn"),
    [
        (2, 0, {}, at(2, 0, behind=False)),
        (2, 100, {}, at(2, 100, behind=False)),
        (4, 100, {}, at(4, 100, behind=False)),
        # Behind the repository's own that matter as much or more, never behind what matters less.
        (2, 100, {2: at(2, 110)}, at(2, 111)),
        (2, 100, {1: at(1, 120), 2: at(2, 110)}, at(2, 121)),
        (1, 100, {2: at(2, 110), 4: 500}, at(1, 100, behind=False)),
        # One that has waited while the clock went on keeps its place, newcomers come after it.
        (2, 100, {2: at(2, 50)}, at(2, 100)),
    ],
)
def test_a_turn_is_where_the_pool_is_or_behind_the_repositorys_own(
    rank: int, clock: int, last: dict[int, int], turn: int
) -> None:
    assert turns.turn(rank, clock, last, RANKS) == turn
    assert turns.place(rank, turn, RANKS) >= clock


def test_of_two_at_the_same_place_the_one_that_stands_alone_goes_first() -> None:
    assert at(2, 7, behind=False) < at(2, 7) < at(2, 8, behind=False)


@pytest.mark.parametrize(
    ("offered", "in_line", "clock"),
    [
        ([], [], 0),
        ([], [40, 41], 40),
        ([39], [40], 40),
        ([39], [], 40),
        # What was put back, or waits for a worker that is away, stands far behind what the pool has come to.
        ([5000], [3, 5001], 5001),
        # What stood between was cancelled.
        ([10], [21], 21),
    ],
)
def test_a_clock_that_starts_anew_is_past_what_is_offered_or_where_the_line_begins(
    offered: list[int], in_line: list[int], clock: int
) -> None:
    assert turns.clock(offered, in_line) == clock


@pytest.mark.parametrize(
    ("slots", "running", "offered", "more"),
    [(0, 0, 0, 2), (0, 0, 2, 0), (4, 0, 0, 6), (4, 4, 0, 2), (4, 4, 2, 0), (4, 1, 5, 0), (2, 5, 0, 2)],
)
def test_a_queue_holds_what_is_taken_soon_and_a_few(
    slots: int, running: int, offered: int, more: int
) -> None:
    assert turns.more(slots, running, offered) == more


def test_five_hundred_jobs_of_one_delay_anothers_one_by_at_most_one_job() -> None:
    many = Repository("many", jobs=500, at=0, rank=2)
    one = Repository("one", jobs=1, at=10, rank=2)
    waits = simulated([many, one], slots=1, seconds=60)
    assert max(waits["one"]) <= 60
    assert len(waits["many"]) == 500


def test_what_matters_more_overtakes_and_what_waits_is_not_overtaken_for_ever() -> None:
    preview = Repository("preview", jobs=1, at=0.5, rank=3)
    floods = [Repository(f"production-{n}", jobs=300, at=0, rank=1) for n in range(2)]
    late = Repository("late", jobs=1, at=500, rank=1)
    waits = simulated([*floods, preview, late], slots=1, seconds=10)
    assert max(waits["late"]) <= 20, "the next or the one after"
    assert max(waits["preview"]) <= 10 * 2 * (2 * AHEAD + 2), "as many places as it stands behind, of two"


def test_a_push_in_every_jobs_time_of_another_leaves_half_of_the_pool_to_who_came_before() -> None:
    many = Repository("many", jobs=100, at=0, rank=2)
    pushes = [Repository("other", jobs=1, at=60.0 * n + 1, rank=2) for n in range(300)]
    assert max(simulated([many, *pushes], slots=1, seconds=60)["many"]) <= 60 * 2 * 100


def test_a_push_in_every_jobs_time_of_ever_another_still_leaves_a_place_in_each_round() -> None:
    many = Repository("many", jobs=100, at=0, rank=2)
    pushes = [Repository(f"push {n}", jobs=1, at=60.0 * n + 1, rank=2) for n in range(300)]
    assert simulated([many, *pushes], slots=1, seconds=60)["many"][9] <= 60 * 60


def test_what_matters_less_is_not_kept_out_by_one_after_another_that_matters_more() -> None:
    preview = Repository("preview", jobs=1, at=0.5, rank=3)
    pushes = [Repository(f"production {n}", jobs=1, at=10.0 * n, rank=1) for n in range(300)]
    waits = simulated([preview, *pushes], slots=1, seconds=10)
    assert max(waits["preview"]) <= 10 * (2 * AHEAD + 2)


REPOSITORIES = [Repository(f"{n} {rank}", jobs=1, at=0, rank=rank) for n in range(3) for rank in range(RANKS)]


@given(st.lists(st.one_of(st.none(), st.sampled_from(REPOSITORIES)), max_size=200), st.data())
def test_nobody_starves_whatever_comes(moves: list[Repository | None], data: st.DataObject) -> None:
    """Each waits for no more than have a place before its own: one of each repository and rank in each place.

    None is an offer. In the end one comes for each that is offered, whichever would hold up the others most.
    """
    line, came, passed = Line(), {}, 0
    ours = line.join(data.draw(st.sampled_from(REPOSITORIES)), at=0)
    for one in moves:
        if one is not None:
            came[line.join(one, at=0)] = one
        elif len(line) and line.next()[0] == ours:
            return
        else:
            passed += 1
    most = passed + len(line) + len(REPOSITORIES) * (AHEAD * RANKS + 1)
    eager = data.draw(st.lists(st.sampled_from(REPOSITORIES), min_size=1, max_size=5))
    for number in range(most):
        line.join(eager[number % len(eager)], at=0)
        if line.next()[0] == ours:
            return
    pytest.fail(f"it still waits when {most} others were offered")


@pytest.mark.parametrize(
    ("limits", "most"), [((0, 0), 0), ((3, 0), 3), ((0, 2), 2), ((3, 2), 2), ((2, 3), 2)]
)
def test_a_repositorys_own_limit_only_lowers_the_instances(limits: tuple[int, int], most: int) -> None:
    assert turns.most(*limits) == most


@pytest.mark.parametrize(
    ("used", "limits", "taken"),
    [
        ({}, {}, ["a1", "a2", "b1", "a3"]),
        ({}, {1: 2}, ["a1", "a2", "b1"]),
        ({1: 1}, {1: 2, 2: 1}, ["a1", "b1"]),
        ({1: 2}, {1: 2}, ["b1"]),
        ({1: 5, 2: 1}, {1: 2, 2: 1}, []),
        ({1: 5}, {1: 0}, ["a1", "a2", "b1", "a3"]),
    ],
)
def test_whoever_is_at_its_limit_is_passed_over_and_keeps_nobody_back(
    used: dict[int, int], limits: dict[int, int], taken: list[str]
) -> None:
    line = [("a1", 1), ("a2", 1), ("b1", 2), ("a3", 1)]
    counted = Counter(used)

    assert turns.within(line, counted, limits) == taken
    assert sum(counted.values()) == sum(used.values()) + len(taken)
