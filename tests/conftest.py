"""The real parts, each started when a test first asks for it, and gone when the tests end."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.parts import waiting
from tests.parts.broker import Broker
from tests.parts.engine import Engine
from tests.parts.postgres import Postgres
from tests.parts.registry import Registry


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    with Broker.from_environment() as part:
        yield part


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    with Registry.from_environment() as part:
        yield part


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with Postgres.from_environment() as part:
        yield part


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    with Engine() as part:
        yield part


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Each call: a TCP port of 127.0.0.1 on which nothing listens."""
    return waiting.free_port
