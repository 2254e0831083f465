"""The real parts, each started when a test first asks for it, and gone when the tests end; and a GitHub."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.github import Contract, GitHub
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


@pytest.fixture(scope="session")
def contract() -> Contract:
    """GitHub's published description. `make test` installs it; without it this is a failure."""
    found = Contract.find()
    assert found is not None, "GitHub's OpenAPI description is missing: run tests/machine/npm-ci"
    return found


@pytest.fixture
async def github(tmp_path: Path, contract: Contract) -> AsyncIterator[GitHub]:
    """A GitHub whose every request and answer is held to the published description."""
    before = len(contract.violations)
    async with GitHub.running(tmp_path / "github", contract=contract) as running:
        yield running
    assert contract.violations[before:] == []


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Each call: a TCP port of 127.0.0.1 on which nothing listens."""
    return waiting.free_port
