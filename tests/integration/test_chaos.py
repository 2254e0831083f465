"""One short seed of tests/chaos; `make chaos` lives through any, for as long as one likes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos.run import run
from tests.chaos.schedule import Break
from tests.chaos.town import Parts
from tests.parts.broker import Broker
from tests.parts.engine import Engine
from tests.parts.postgres import Postgres
from tests.parts.registry import Registry


@pytest.fixture
def parts(clean_engine: Engine, registry: Registry, postgres: Postgres, broker: Broker) -> Parts:
    name = f"chaos-{os.getpid()}"
    return Parts(broker, postgres, registry, clean_engine.client, os.environ["DOCKER_HOST"], name)


@pytest.mark.timeout(1200)  # it is waited for its quiet twice, and for what is to go
async def test_whatever_breaks_all_comes_to_its_right_end(parts: Parts, tmp_path: Path) -> None:
    outcome = await run(29, 10, tmp_path, parts, [one for one in Break if one is not Break.BROKER_WIPED])

    assert outcome.wrong == []
    assert outcome.deliveries > 5
