"""What becomes of a worker that the bot started: the table."""

from __future__ import annotations

import pytest

from bot.fleet.scaling.fates import Fate, Patience, Seen, fate
from bot.fleet.scaling.provider import Machine
from bot.store.tables import ScaledState

PATIENCE = Patience(boot=300, missing=25, lost=400, heard=10_000)
STARTING, WORKING, DRAINING, ENDING = ScaledState

TABLE = {
    "it is to come, and nothing is there": (Seen(STARTING, 1), Fate.BRING),
    "it is coming": (Seen(STARTING, 1, Machine.THERE), Fate.WAIT),
    "its place does not answer: it may be there": (Seen(STARTING, 1, answers=False), Fate.WAIT),
    "it was heard": (Seen(STARTING, 1, Machine.THERE, silent=0), Fate.ARRIVED),
    "it was heard, wherever it is": (Seen(STARTING, 1, silent=0), Fate.ARRIVED),
    "it ended before it was heard": (Seen(STARTING, 1, Machine.ENDED), Fate.FAILED),
    "it came and went": (Seen(STARTING, 1, Machine.THERE, silent=0, stopped=True), Fate.FAILED),
    "it was never heard": (Seen(STARTING, 301, Machine.THERE), Fate.FAILED),
    "it never came": (Seen(STARTING, 301), Fate.FAILED),
    "it works": (Seen(WORKING, 9_000, Machine.THERE, silent=3), Fate.WAIT),
    "its machine is held to be ended": (Seen(WORKING, 9, Machine.HELD, silent=3), Fate.DRAIN),
    "its machine is being ended": (Seen(WORKING, 9, Machine.LEAVING, silent=3), Fate.DRAIN),
    "it said goodbye": (Seen(WORKING, 9, Machine.THERE, silent=3, stopped=True), Fate.GONE),
    "its machine is not listed, but it is heard": (Seen(WORKING, 9, silent=3), Fate.WAIT),
    "its machine is not listed, nor is it heard": (Seen(WORKING, 99, silent=26), Fate.GONE),
    "its machine ended": (Seen(WORKING, 99, Machine.ENDED, silent=26), Fate.GONE),
    "it is silent, its place too": (Seen(WORKING, 99, silent=399, answers=False), Fate.WAIT),
    "it is silent for long": (Seen(WORKING, 999, Machine.THERE, silent=401), Fate.GONE),
    "it is silent for long, and has a release": (
        Seen(WORKING, 999, Machine.THERE, silent=401, serving=True), Fate.WAIT),
    "it drains, however long": (Seen(DRAINING, 9_999, Machine.THERE, silent=3), Fate.WAIT),
    "it has drained": (Seen(DRAINING, 9, Machine.THERE, silent=3, stopped=True), Fate.GONE),
    "it has drained, and its process has ended": (
        Seen(DRAINING, 9, Machine.ENDED, silent=3, stopped=True), Fate.GONE),
    "it drained, and its goodbye was lost": (Seen(DRAINING, 99, Machine.ENDED, silent=26), Fate.GONE),
    "nobody needs it": (Seen(ENDING, 1, Machine.THERE), Fate.END),
    "nobody needs what is held": (Seen(ENDING, 1, Machine.HELD), Fate.END),
    "what it left is cleaned up": (Seen(ENDING, 1, Machine.ENDED), Fate.END),
    "it is going": (Seen(ENDING, 1, Machine.LEAVING), Fate.WAIT),
    "it is gone": (Seen(ENDING, 1), Fate.FORGET),
    "nobody knows whether it is gone": (Seen(ENDING, 9_999, answers=False), Fate.WAIT),
    "its place is none of the pool's any more": (
        Seen(ENDING, 301, answers=False, known=False), Fate.FORGET),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLE, ids=str)
def test_what_becomes_of_it(case: str) -> None:
    seen, expected = TABLE[case]

    assert fate(seen, PATIENCE) is expected


@pytest.mark.parametrize("state", ScaledState)
def test_silence_is_held_against_nobody_while_nobody_could_be_heard(state: ScaledState) -> None:
    deaf = Patience(boot=300, missing=25, lost=400, heard=2)
    machine = Machine.THERE if state is not ENDING else None

    found = fate(Seen(state, 9_999, machine, silent=None), deaf)

    assert found in (Fate.WAIT, Fate.FORGET)
