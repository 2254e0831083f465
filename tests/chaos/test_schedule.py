"""What happens when is the seed's alone."""

from __future__ import annotations

import pytest

from tests.chaos.schedule import LEASE, Break, Wish, acts


@pytest.mark.parametrize("seed", [1, 7, 4711])
def test_a_seed_gives_the_same_acts_again_in_their_order(seed: int) -> None:
    once = acts(seed, 60)
    assert once == acts(seed, 60)
    assert once != acts(seed + 1, 60)
    assert [act.at for act in once] == sorted(act.at for act in once)
    assert all(act.at < 60 for act in once)


def test_a_longer_time_begins_with_the_same_acts() -> None:
    short = acts(7, 20)
    assert [act for act in acts(7, 60) if act.at < 20] == short


def test_the_same_work_can_be_had_without_any_break() -> None:
    calm = acts(7, 60, ())
    assert calm == [act for act in acts(7, 60) if isinstance(act.what, Wish)]


def test_one_kind_of_break_can_be_had_alone() -> None:
    alone = acts(7, 60, [Break.CLOCK_JUMPS])
    assert {act.what for act in alone if isinstance(act.what, Break)} == {Break.CLOCK_JUMPS}
    assert [act for act in alone if isinstance(act.what, Wish)] == acts(7, 60, ())


def test_everything_happens_in_some_seed_and_what_is_frozen_is_so_for_longer_than_a_lease() -> None:
    several = [act for seed in range(20) for act in acts(seed, 60)]
    assert {act.what for act in several} == {*Break, *Wish}
    frozen = (Break.BOT_FROZEN, Break.WORKER_FROZEN, Break.QUEUE_HELD)
    assert all(act.lasts > LEASE for act in several if act.what in frozen)
