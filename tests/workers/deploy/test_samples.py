"""What a container used between two looks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from workers.deploy.samples import between
from workers.engine.engine import Container
from workers.engine.used import Used

CONTAINER = Container("c1", "shop", {"io.blacktree.release": "i.1.1"}, "running", 3, 0, False, None)
BEFORE = Used(cpu=10.0, memory=500, limit=1000, received=100, sent=50)


def test_a_sample_is_what_came_in_between_and_the_memory_of_now() -> None:
    sample = between(CONTAINER, 1.0, BEFORE, 21.0, Used(15.0, 400, 1000, 130, 90))
    assert sample
    assert (sample.seconds, sample.cpu, sample.memory, sample.limit) == (20.0, 5.0, 400, 1000)
    assert (sample.received, sample.sent, sample.restarts) == (30, 40, 3)
    assert (sample.whose.release, sample.whose.process) == ("i.1.1", "web")


@pytest.mark.parametrize("less", [{"cpu": 1.0}, {"received": 0}, {"sent": 0}])
def test_counts_that_went_back_are_of_another_life(less: dict[str, Any]) -> None:
    assert between(CONTAINER, 1.0, BEFORE, 21.0, replace(BEFORE, **less)) is None
