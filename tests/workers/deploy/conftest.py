"""Deploys take long: those that can work with an engine in nobody's way (tests/sharing.py says which)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import sharing
from tests.parts.dockerd import Dockerd, here
from tests.parts.engine import Engine


@pytest.fixture(scope="module", autouse=True)
def engine(engine: Engine, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """The machine's, or this process's own."""
    if sharing.need(request.node.nodeid) is sharing.MACHINE:
        yield engine
        return
    own: Dockerd = request.getfixturevalue("own_dockerd")
    with here(own) as part:
        yield part
