"""A pool through a day of the simulation that `bench/scaling.py` prints."""

from __future__ import annotations

import pytest

from bench.scaling import EVERY, Provider, day, simulated
from config.pools import Pool

POOL = Pool(name="builders", kind="processes", min=0, max=20, slots=2, wait=30, cooldown=300)
BURST = [(100.0, 60.0)] * 40


def test_a_burst_that_fits_begins_as_soon_as_workers_are_there() -> None:
    found = simulated(POOL, Provider("quick", boot=5), BURST)

    assert len(found.waits) == len(BURST)
    assert max(found.waits) <= 5 + 3 * EVERY
    assert found.most == 20


def test_nobody_stays_for_longer_than_the_cool_down_after_a_burst() -> None:
    found = simulated(POOL, Provider("quick", boot=5), BURST)

    assert found.paid <= 40 * (5 + 60 + POOL.cooldown + 5 * EVERY)


def test_a_slow_provider_is_not_asked_for_more_and_more() -> None:
    found = simulated(POOL, Provider("slow", boot=600), [(100.0, 60.0)] * 6)

    assert found.most == 3
    assert max(found.waits) <= 600 + 3 * EVERY


def test_a_provider_that_was_away_is_asked_again_within_minutes_and_no_job_is_lost() -> None:
    found = simulated(POOL, Provider("away", boot=5, down=0, up=3_600), BURST)

    assert len(found.waits) == len(BURST)
    assert 3_500 <= max(found.waits) <= 3_600 + 300 + 10 * EVERY


@pytest.mark.parametrize("boot", [5, 90])
def test_a_day_costs_less_than_half_of_what_never_goes(boot: float) -> None:
    jobs = day()

    grown = simulated(POOL, Provider("grows", boot), jobs)
    always = simulated(POOL.model_copy(update={"min": 20}), Provider("always", boot), jobs)

    assert len(grown.waits) == len(always.waits) == len(jobs)
    assert grown.paid < always.paid / 2
