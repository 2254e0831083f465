"""These tests are in nobody's way: they work with the engine that is this process's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.parts.dockerd import Dockerd, here
from tests.parts.engine import Engine


@pytest.fixture(scope="module")
def engine(own_dockerd: Dockerd) -> Iterator[Engine]:
    with here(own_dockerd) as part:
        yield part
