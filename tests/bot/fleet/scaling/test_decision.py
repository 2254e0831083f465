"""How many workers a pool is to have: the table, and what is said of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.fleet.scaling.decision import Demand, Past, Supply, decide
from config.pools import Pool

POOL = Pool(name="builders", kind="processes", min=0, max=4, slots=2, wait=30, cooldown=300)
LEAST = POOL.model_copy(update={"min": 1})
LONG, NOW = Past(surplus=301), Past(surplus=1)


def waiting(jobs: int, oldest: float = 1, running: int = 0, lasts: float | None = 60) -> Demand:
    return Demand(waiting=jobs, oldest=oldest, running=running, lasts=lasts)


# pool, demand, supply, past ▸ wanted, start, drain
TABLE = {
    "nothing at all": (POOL, Demand(), Supply(), Past(), (0, 0, 0)),
    "the least is there for nothing": (LEAST, Demand(), Supply(), Past(), (1, 1, 0)),
    "one job wants one worker": (POOL, waiting(1), Supply(), Past(), (1, 1, 0)),
    "two jobs share a worker's two slots": (POOL, waiting(2), Supply(), Past(), (1, 1, 0)),
    "three want two": (POOL, waiting(3), Supply(), Past(), (2, 2, 0)),
    "no more than the most": (POOL, waiting(100), Supply(), Past(), (4, 4, 0)),
    "none where there may be none": (
        POOL.model_copy(update={"max": 0}), waiting(9), Supply(), Past(), (0, 0, 0)),
    "what is on its way counts": (POOL, waiting(3), Supply(coming=2), Past(), (2, 0, 0)),
    "jobs that run keep their slots": (POOL, waiting(2, running=2), Supply(working=1), Past(), (2, 1, 0)),
    "free slots take what waits": (POOL, waiting(1, running=1), Supply(working=1), Past(), (1, 0, 0)),
    "short jobs share a slot until the target": (POOL, waiting(8, lasts=5), Supply(), Past(), (1, 1, 0)),
    "but not once the target is missed": (POOL, waiting(8, oldest=31, lasts=5), Supply(), Past(), (4, 4, 0)),
    "a job of unknown length is a long one": (POOL, waiting(4, lasts=None), Supply(), Past(), (2, 2, 0)),
    "others' slots are taken first": (POOL, waiting(4), Supply(others=3), Past(), (1, 1, 0)),
    "and may be enough": (POOL, waiting(3), Supply(others=3), Past(), (0, 0, 0)),
    "who leaves does no more, and has its place until it is gone": (
        POOL, waiting(8), Supply(working=1, leaving=2), Past(), (4, 1, 0)),
    "one too many stays for a while": (POOL, Demand(), Supply(working=1, idle=1), NOW, (0, 0, 0)),
    "and then goes": (POOL, Demand(), Supply(working=1, idle=1), LONG, (0, 0, 1)),
    "all that are too many go at once": (POOL, Demand(), Supply(working=3, idle=3), LONG, (0, 0, 3)),
    "but for the least": (LEAST, Demand(), Supply(working=3, idle=3), LONG, (1, 0, 2)),
    "who has a job does not": (
        POOL, Demand(running=1), Supply(working=3, idle=1), LONG, (1, 0, 1)),
    "who serves a release does not": (POOL, Demand(), Supply(working=2, idle=0, bound=2), LONG, (2, 0, 0)),
    "who works does not go for one who is on its way": (
        POOL, waiting(2), Supply(working=1, coming=1, idle=1), LONG, (1, 0, 0)),
    "who is over the limit does not stay for a while": (
        POOL.model_copy(update={"max": 1}), Demand(), Supply(working=3, idle=3), NOW, (0, 0, 3)),
    "after a failure nobody is started for a while": (
        POOL, waiting(3), Supply(), Past(trouble="no disk", retry=9), (2, 0, 0)),
    "and then is": (POOL, waiting(3), Supply(), Past(trouble="no disk", retry=0), (2, 2, 0)),
    "nobody is started where nobody says what there is": (
        POOL, waiting(3), Supply(), Past(unseen="no answer"), (2, 0, 0)),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLE, ids=str)
def test_what_is_wanted(case: str) -> None:
    pool, demand, supply, past, (wanted, start, drain) = TABLE[case]

    decided = decide(pool, demand, supply, past)

    assert (decided.wanted, decided.start, decided.drain) == (wanted, start, drain), decided.reason


@pytest.mark.parametrize(
    ("demand", "supply", "past", "sentence"),
    [
        (Demand(), Supply(), Past(), "nothing waits or runs"),
        (waiting(1, oldest=4), Supply(), Past(), "1 job waits, the oldest for 4 s; 1 more to start"),
        (
            waiting(9, oldest=40, running=2),
            Supply(working=1, coming=1),
            Past(),
            "9 jobs wait, the oldest for 40 s, 2 run; 6 would be needed, 4 is the most; 2 more to start; "
            "1 on the way",
        ),
        (
            Demand(running=1),
            Supply(working=3, idle=2),
            Past(surplus=100),
            "1 runs; 2 too many, to go in 200 s if that stays",
        ),
        (Demand(), Supply(working=2, idle=2), LONG, "nothing waits or runs; 2 to go"),
        (
            waiting(2, oldest=3),
            Supply(),
            Past(trouble="there is no group", retry=12),
            "2 jobs wait, the oldest for 3 s; none can be started, tried again in 12 s: there is no group",
        ),
        (
            waiting(1, oldest=3),
            Supply(),
            Past(unseen="no answer"),
            "1 job waits, the oldest for 3 s; none is started while it is not known which there are: "
            "no answer",
        ),
        (
            Demand(),
            Supply(working=1, bound=1, others=6),
            Past(),
            "workers that are not scaled have 6 slots; 1 stay with what they serve",
        ),
    ],
)
def test_why_in_a_sentence(demand: Demand, supply: Supply, past: Past, sentence: str) -> None:
    assert decide(POOL, demand, supply, past).reason == sentence


@given(
    demand=st.builds(
        Demand,
        waiting=st.integers(0, 10**6),
        oldest=st.floats(0, 10**6),
        running=st.integers(0, 10**3),
        lasts=st.none() | st.floats(0, 10**5),
    ),
    supply=st.builds(
        Supply,
        working=st.integers(0, 9),
        coming=st.integers(0, 9),
        leaving=st.integers(0, 9),
        idle=st.integers(0, 9),
        bound=st.integers(0, 9),
        others=st.integers(0, 99),
    ),
    past=st.builds(Past, surplus=st.none() | st.floats(0, 10**4)),
)
def test_a_pool_stays_within_its_bounds_and_nobody_busy_goes(
    demand: Demand, supply: Supply, past: Past
) -> None:
    decided = decide(LEAST, demand, supply, past)

    there = supply.working + supply.coming
    assert LEAST.min <= decided.wanted <= LEAST.max
    assert decided.start == 0 or there + supply.leaving + decided.start <= LEAST.max
    assert decided.drain <= supply.idle
    assert not (decided.start and decided.drain)
    assert decided.drain == 0 or there - decided.drain >= decided.wanted
