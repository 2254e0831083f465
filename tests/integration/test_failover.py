"""When one dies or is cut off, another goes on within seconds; `make bench ARGS=failover` has the medians."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.failover import Failover, failover
from tests.github import GitHub
from tests.parts.broker import Broker
from tests.parts.engine import Engine
from tests.parts.postgres import Postgres
from tests.parts.registry import Registry

LEASE = 20.0  # seconds: more than a busy machine needs for what does not wait for its end


@pytest.fixture
async def here(
    github: GitHub,
    tmp_path: Path,
    clean_engine: Engine,  # noqa: ARG001
    broker: Broker,
    registry: Registry,
    postgres: Postgres,
) -> AsyncIterator[Failover]:
    name = f"failover-{os.getpid()}"
    async with failover(tmp_path, github, broker, registry, postgres, name, LEASE) as ready:
        yield ready


# The bounds are those of a single try; what is promised is the median.


async def test_a_bot_that_is_killed_is_followed_and_no_webhook_is_refused(here: Failover) -> None:
    answers: Counter[int] = Counter()

    assert await here.bot_killed(answers) < LEASE

    assert set(answers) <= {200, 202}  # 200: it was kept, and its bot was killed before it had said so
    assert answers.total() > 20


async def test_a_worker_that_is_killed_loses_its_job_to_another_at_once(here: Failover) -> None:
    assert await here.worker_killed() < LEASE


async def test_a_worker_that_is_cut_off_is_fenced_and_replaced(here: Failover) -> None:
    assert await here.worker_cut_off() < LEASE + 30
